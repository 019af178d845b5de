//! `--format`: Go templates (pkg.go.dev/text/template) over JSON, as far as Docker's users use
//! them: fields, pipelines, variables, `if`, `range`, `with`, and Docker's own functions.
//!
//! The template is the user's; the data is not: nothing in it can make the engine panic, recurse
//! without bound or run for ever. `lexer` → `parser` → `eval`, with the functions in `builtin`.

mod ast;
mod builtin;
mod error;
mod eval;
mod lexer;
mod list;
mod number;
mod object;
mod parser;
mod printf;
mod text;
mod token;
mod value;

use serde_json::Value;

pub use error::{TemplateError, TemplateProblem};
pub use list::{ListError, ListFormat, Row};
pub use object::ObjectFormat;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    source: String,
    nodes: Vec<ast::Node>,
}

impl Template {
    /// Parses `source`. An error says where it is and what is wrong.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let nodes = lexer::lex(source)
            .and_then(|tokens| parser::parse(&tokens))
            .map_err(|found| found.locate(source))?;
        Ok(Self {
            source: source.to_owned(),
            nodes,
        })
    }

    /// What the template makes of `data`.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        self.locate(eval::run(&self.nodes, data, None, eval::Mode::Data))
    }

    /// What the template makes of a row, whose labels `.Label "key"` reaches.
    pub fn render_row(&self, row: &Row) -> Result<String, TemplateError> {
        self.locate(eval::run(
            &self.nodes,
            &row.fields,
            Some(&row.labels),
            eval::Mode::Data,
        ))
    }

    /// Renders with functions that pass their text through, so that a template for rows makes
    /// its own heading out of the columns' titles.
    fn render_heading(&self, titles: &Value) -> Result<String, TemplateError> {
        self.locate(eval::run(&self.nodes, titles, None, eval::Mode::Heading))
    }

    fn locate(&self, result: Result<String, error::Found>) -> Result<String, TemplateError> {
        result.map_err(|found| found.locate(&self.source))
    }
}

#[cfg(test)]
mod tests;
