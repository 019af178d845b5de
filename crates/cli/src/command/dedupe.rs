//! `gamut system dedupe`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::format::{ListFormat, Row};
use crate::human;

/// Keep files once that several layers have
///
/// Where the file system lets files share their blocks: xfs and btrfs. All layers are read for it; what
/// runs is not disturbed. What df and du say stays the same, because both count shared blocks for
/// every file; the file system has more room.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

const TABLE: &str = "{{.Layers}}\t{{.Files}}\t{{.Size}}";
const TITLES: [(&str, &str); 4] = [
    ("Layers", "LAYERS"),
    ("Files", "FILES KEPT ONCE"),
    ("Size", "SIZE"),
    ("Bytes", "BYTES"),
];

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ListFormat::parse(args.format.as_deref(), TABLE, &TITLES)?;
    let engine = context.engine()?;
    let shared = engine.share_files().map_err(Failure::engine)?;
    let row = Row::new(
        [
            ("Layers", shared.layers.to_string()),
            ("Files", shared.files.to_string()),
            ("Size", human::decimal_size(shared.bytes)),
            ("Bytes", shared.bytes.to_string()),
        ],
        BTreeMap::new(),
    );
    format.write(&[row], &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}
