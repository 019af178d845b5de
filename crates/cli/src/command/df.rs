//! `gamut system df`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::format::{ListFormat, Row};
use crate::human;
use crate::listing::life;
use crate::view::usage::{self, DETAIL_TITLES};
use gamut_engine::usage::DiskUsage;
use gamut_engine::{Engine, record};

/// Show what images, containers and volumes take on disk
///
/// Blocks on disk are counted, as du(1) does. Reclaimable is what `gamut system prune -a --volumes`
/// and removing unused volumes would give back. Cache is what pulls have left: downloads that go on
/// where they were, and content that no image has.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Each image, container, volume and download
    #[arg(short, long)]
    pub verbose: bool,

    /// Every byte of the store's directory, with what it belongs to
    #[arg(long, conflicts_with = "verbose")]
    pub explain: bool,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let usage = engine.disk_usage().map_err(Failure::engine)?;
    let format = args.format.as_deref();
    let mut output = io::stdout().lock();
    if args.explain {
        return explain(&usage, format, &mut output);
    }
    if args.verbose {
        return verbose(&engine, &usage, format, &mut output);
    }
    ListFormat::parse(format, usage::TABLE, &usage::TITLES)?
        .write(&usage::summary(&usage), &mut output)?;
    Ok(ExitCode::SUCCESS)
}

/// The largest first.
fn explain(
    usage: &DiskUsage,
    format: Option<&str>,
    output: &mut impl Write,
) -> Result<ExitCode, Failure> {
    let titles = [&DETAIL_TITLES[..], &[usage::BELONGS_TO]].concat();
    let list = ListFormat::parse(format, usage::PIECES, &titles)?;
    let mut pieces = usage.pieces.clone();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.usage.allotted_bytes));
    let rows: Vec<Row> = pieces.iter().map(usage::piece).collect();
    list.write(&rows, output)?;
    if matches!(list, ListFormat::Table { .. }) {
        writeln!(output, "\n{}", usage::total(&pieces)).map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Docker's four tables; with `--format` the rows of all.
fn verbose(
    engine: &Engine,
    usage: &DiskUsage,
    format: Option<&str>,
    output: &mut impl Write,
) -> Result<ExitCode, Failure> {
    let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
    let containers = usage.containers.iter().map(|container| {
        let command = engine.summary(&container.view).command;
        usage::container(container, &command, life(&container.view), now_ns)
    });
    let cache_bytes = usage.cache.iter().map(|one| one.bytes).sum();
    let parts: [(String, &str, Vec<Row>); 4] = [
        (
            "Images space usage:".to_owned(),
            usage::IMAGES,
            usage
                .images
                .iter()
                .map(|image| usage::image(image, now_ns))
                .collect(),
        ),
        (
            "Containers space usage:".to_owned(),
            usage::CONTAINERS,
            containers.collect(),
        ),
        (
            "Local Volumes space usage:".to_owned(),
            usage::VOLUMES,
            usage.volumes.iter().map(usage::volume).collect(),
        ),
        (
            format!("Cache usage: {}", human::precise_size(cache_bytes)),
            usage::CACHE,
            usage.cache.iter().map(usage::cache).collect(),
        ),
    ];
    for (index, (title, table, rows)) in parts.iter().enumerate() {
        let list = ListFormat::parse(format, table, &DETAIL_TITLES)?;
        if matches!(list, ListFormat::Table { .. }) {
            let gap = if index == 0 { "" } else { "\n" };
            writeln!(output, "{gap}{title}\n").map_err(Failure::Output)?;
        }
        list.write(rows, output)?;
    }
    Ok(ExitCode::SUCCESS)
}
