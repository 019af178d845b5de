//! `gamut oci list`.

use std::io::Write;

use super::state::{Shown, shown};
use super::{Context, Done, SUCCESS};

/// List the containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Form of the list: table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,

    /// Only ids
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let containers = context.runtime.containers()?;
    let rows: Vec<Shown> = containers.iter().map(shown).collect();
    let mut out = std::io::stdout().lock();
    if args.quiet {
        for row in &rows {
            writeln!(out, "{}", row.id)?;
        }
    } else if args.format == "json" {
        let text = serde_json::to_string(&rows).map_err(std::io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        write!(out, "{}", table(&rows))?;
    }
    SUCCESS
}

/// Columns as wide as their longest word and three blanks, as runc's.
fn table(rows: &[Shown]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let mut lines = vec![header];
    lines.extend(rows.iter().map(|row| {
        [
            row.id.clone(),
            row.pid.to_string(),
            row.status.name().to_owned(),
            row.bundle.clone(),
            row.created.clone(),
            row.owner.clone(),
        ]
    }));
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).max(9) + 3);
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(widths) {
            text += &format!("{cell:<width$}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
