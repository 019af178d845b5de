//! `gamut diff`.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Context;
use crate::error::Failure;
use crate::table;
use crate::which;
use gamut_engine::diff::{Change, ChangeKind};

/// List what a container has changed of its image's files
///
/// A was added, C changed, D deleted. Of an image, what its top layer changes; of two images, what
/// the first has made of the second.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// json, for one object with the three lists
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// The container made last
    #[arg(short, long)]
    pub latest: bool,

    /// A container or an image, by name or id
    #[arg(
        value_name = "CONTAINER|IMAGE",
        required_unless_present = "latest",
        conflicts_with = "latest"
    )]
    pub object: Option<String>,

    /// The image that it is compared with
    #[arg(value_name = "IMAGE")]
    pub other: Option<String>,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Json,
}

/// Podman's form.
#[derive(Debug, Default, Serialize)]
struct Lists {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deleted: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let object = match &args.object {
        Some(object) => object.clone(),
        None => which::latest(&mut engine)?,
    };
    let changes = engine
        .diff(&object, args.other.as_deref())
        .map_err(Failure::engine)?;
    let text = match args.format {
        None => changes.iter().map(line).collect(),
        Some(Format::Json) => json(&changes),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn line(change: &Change) -> String {
    let letter = match change.kind {
        ChangeKind::Modified => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    format!(
        "{letter} {}\n",
        table::visible(&change.path.to_string_lossy())
    )
}

fn json(changes: &[Change]) -> String {
    let mut lists = Lists::default();
    for change in changes {
        let list = match change.kind {
            ChangeKind::Modified => &mut lists.changed,
            ChangeKind::Added => &mut lists.added,
            ChangeKind::Deleted => &mut lists.deleted,
        };
        list.push(change.path.to_string_lossy().into_owned());
    }
    // Cannot fail: there is nothing in it but texts.
    serde_json::to_string_pretty(&lists).unwrap_or_default() + "\n"
}
