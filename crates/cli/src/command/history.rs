//! `gamut history`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::format::{ListFormat, Row};
use crate::human;
use crate::view::{Width, local_time};
use gamut_engine::history::Step;
use gamut_engine::record;

/// Show how an image came to be
#[derive(Debug, clap::Args)]
pub struct Args {
    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Sizes and dates for people
    #[arg(
        short = 'H',
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true",
        value_name = "BOOL"
    )]
    pub human: bool,

    /// Do not shorten ids and commands
    #[arg(long)]
    pub no_trunc: bool,

    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// Name or id
    pub image: String,
}

const TABLE: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const MACHINE_TABLE: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const QUIET: &str = "{{.ID}}";
const TITLES: [(&str, &str); 7] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
    ("Tags", "TAGS"),
];
/// Docker's width of a command.
const COMMAND_LETTERS: usize = 45;

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let (default, titles) = match (args.quiet, args.human) {
        (true, _) => (QUIET, &[][..]),
        (false, true) => (TABLE, &TITLES[..]),
        (false, false) => (MACHINE_TABLE, &TITLES[..]),
    };
    let format = match (&args.format, args.quiet) {
        (None, true) => Some(QUIET),
        (format, _) => format.as_deref(),
    };
    let format = ListFormat::parse(format, default, titles)?;
    let steps = context
        .engine()?
        .history(&args.image)
        .map_err(Failure::engine)?;
    let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
    let rows: Vec<Row> = steps.iter().map(|step| row(step, &args, now_ns)).collect();
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn row(step: &Step, args: &Args, now_ns: i64) -> Row {
    let width = match args.no_trunc {
        true => Width::Full,
        false => Width::Cut,
    };
    let command = step.created_by.replace('\t', " ");
    let size = match args.human {
        true => human::decimal_size(step.size_bytes),
        false => step.size_bytes.to_string(),
    };
    let missing = || "<missing>".to_owned();
    let unknown = || "N/A".to_owned();
    let since = |then| human::ago(then, now_ns);
    Row::new(
        [
            (
                "ID",
                step.id
                    .as_ref()
                    .map_or_else(missing, |id| width.id(&id.to_string())),
            ),
            ("CreatedSince", step.created_ns.map_or_else(unknown, since)),
            (
                "CreatedAt",
                step.created_ns.map_or_else(unknown, local_time),
            ),
            (
                "CreatedBy",
                match width {
                    Width::Full => command,
                    Width::Cut => human::ellipsis(&command, COMMAND_LETTERS),
                },
            ),
            ("Size", size),
            ("Comment", step.comment.clone()),
            ("Tags", step.tags.join(", ")),
        ],
        BTreeMap::new(),
    )
}
