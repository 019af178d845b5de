//! `gamut kernel ls`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use gamut_engine::kernel::shelf::{Kept, Origin};

use crate::args::Context;
use crate::error::Failure;
use crate::format::{ListFormat, Row};
use crate::human;
use crate::view::local_time;

/// List the kernels that are kept for guests
///
/// The one that guests boot for which none is named has a `*`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Only ids
    #[arg(short, long, conflicts_with = "format")]
    pub quiet: bool,

    /// Ids in full
    #[arg(long)]
    pub no_trunc: bool,
}

const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.Release}}\t{{.Form}}\t{{.Origin}}\t{{.CreatedSince}}\t{{.Size}}\t{{.Used}}";
const TITLES: [(&str, &str); 12] = [
    ("ID", "KERNEL ID"),
    ("Name", "NAME"),
    ("Release", "RELEASE"),
    ("Form", "FORM"),
    ("Origin", "ORIGIN"),
    ("Source", "SOURCE"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Bytes", "BYTES"),
    ("Used", "USED"),
];
const SHORT_ID_DIGITS: usize = 12;

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = match args.quiet {
        true => Some("{{.ID}}"),
        false => args.format.as_deref(),
    };
    let list = ListFormat::parse(format, TABLE, &TITLES)?;
    let engine = context.engine()?;
    let kept = engine.kernels().map_err(Failure::engine)?;
    // The host's own and what is not usable are not in this list.
    let used = engine.find_kernel(None).ok().map(|found| found.file);
    let rows: Vec<Row> = kept
        .iter()
        .rev()
        .map(|kept| {
            let is_used = used.as_ref() == Some(&engine.kernel_file(kept));
            let mark = if is_used { "*" } else { "" };
            row(kept, mark, args.no_trunc)
        })
        .collect();
    list.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn row(kept: &Kept, mark: &str, full_ids: bool) -> Row {
    let (origin, source) = match &kept.origin {
        Origin::Built { source, .. } => ("built", source.clone()),
        Origin::Imported { path } => ("imported", path.display().to_string()),
    };
    let id = match full_ids {
        true => kept.id.clone(),
        false => kept.id.chars().take(SHORT_ID_DIGITS).collect(),
    };
    let created_ns = i64::try_from(kept.created_ns).unwrap_or(i64::MAX);
    let now_ns = i64::try_from(gamut_engine::record::now_ns()).unwrap_or(i64::MAX);
    let fields = [
        ("ID", id),
        ("Name", kept.name.clone()),
        ("Release", kept.release.clone()),
        ("Form", kept.form.words().to_owned()),
        ("Origin", origin.to_owned()),
        ("Source", source),
        ("Digest", kept.digest.clone()),
        ("CreatedSince", human::ago(created_ns, now_ns)),
        ("CreatedAt", local_time(created_ns)),
        ("Size", human::decimal_size(kept.size_bytes)),
        ("Bytes", kept.size_bytes.to_string()),
        ("Used", mark.to_owned()),
    ];
    Row::new(fields, BTreeMap::new())
}
