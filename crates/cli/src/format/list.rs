//! `--format` of commands that list: a table, JSON lines, or a template for each row.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Map, Value};

use super::{Template, TemplateError};
use crate::table;

/// One row: its columns by their template names, as text, and its labels.
#[derive(Debug, Clone)]
pub struct Row {
    pub(super) fields: Value,
    pub(super) labels: BTreeMap<String, String>,
}

impl Row {
    /// A row of `(template name, text)`.
    pub fn new(
        fields: impl IntoIterator<Item = (&'static str, String)>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let fields: Map<String, Value> = fields
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Value::String(text)))
            .collect();
        Self {
            fields: Value::Object(fields),
            labels,
        }
    }

    /// The row with control characters made visible: what a stranger's label says must not
    /// steer the terminal.
    fn for_terminal(&self) -> Self {
        let mut row = self.clone();
        if let Value::Object(fields) = &mut row.fields {
            for text in fields.values_mut() {
                if let Value::String(text) = text
                    && text.contains(char::is_control)
                {
                    *text = table::visible(text);
                }
            }
        }
        for label in row.labels.values_mut() {
            *label = table::visible(label);
        }
        row
    }
}

/// How a list is printed.
#[derive(Debug, Clone)]
pub enum ListFormat {
    /// Columns under a heading.
    Table { template: Template, titles: Value },
    /// One object a line.
    Json,
    /// The template's text for each row, and a newline.
    Rows(Template),
}

impl ListFormat {
    /// `format` as given to `--format`: nothing or `table` is the command's own `default` table,
    /// `table TEMPLATE` another, `json` JSON lines, anything else a template for each row.
    /// `titles` are `(template name, heading)`. In a list's format `\t` and `\n` need no quotes.
    pub fn parse(
        format: Option<&str>,
        default: &str,
        titles: &[(&str, &str)],
    ) -> Result<Self, TemplateError> {
        let format = format.unwrap_or("table").trim();
        let template = match format {
            "json" => return Ok(Self::Json),
            "table" => Some(default),
            other => other
                .strip_prefix("table")
                .filter(|rest| rest.starts_with([' ', '\t', '\\']))
                .map(str::trim),
        };
        let unescape = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
        let Some(template) = template else {
            return Template::parse(&unescape(format)).map(Self::Rows);
        };
        let titles: Map<String, Value> = titles
            .iter()
            .map(|(name, title)| ((*name).to_owned(), Value::from(*title)))
            .collect();
        Ok(Self::Table {
            template: Template::parse(&unescape(template))?,
            titles: Value::Object(titles),
        })
    }

    /// Prints `rows`. A table without rows still has its heading.
    pub fn write(&self, rows: &[Row], output: &mut impl Write) -> Result<(), ListError> {
        match self {
            Self::Json => {
                for row in rows {
                    writeln!(output, "{}", row.fields)?;
                }
            }
            Self::Rows(template) => {
                for row in rows {
                    writeln!(output, "{}", template.render_row(row)?)?;
                }
            }
            Self::Table { template, titles } => {
                let mut text = template.render_heading(titles)?;
                for row in rows {
                    text.push('\n');
                    text.push_str(&template.render_row(&row.for_terminal())?);
                }
                text.push('\n');
                output.write_all(table::align(&text).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Why a list could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}
