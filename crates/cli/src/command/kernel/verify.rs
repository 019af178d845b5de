//! `gamut kernel verify`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use gamut_engine::kernel::needs::Weight;
use gamut_engine::kernel::shelf::Verified;

use crate::args::Context;
use crate::error::Failure;
use crate::format::{ListFormat, Row};

/// Read kernels again, and say what they lack for guests
///
/// Fails if one is not what was kept, or lacks something without which no guest runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// table, json, a Go template, or `table TEMPLATE`, for what is lacking
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Names or ids; all if there is none
    #[arg(value_name = "KERNEL")]
    pub kernels: Vec<String>,
}

const TABLE: &str = "{{.Kernel}}\t{{.Option}}\t{{.Weight}}\t{{.Purpose}}";
const TITLES: [(&str, &str); 5] = [
    ("Kernel", "KERNEL"),
    ("ID", "KERNEL ID"),
    ("Option", "LACKS"),
    ("Weight", "IS"),
    ("Purpose", "FOR"),
];

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let list = ListFormat::parse(args.format.as_deref(), TABLE, &TITLES)?;
    let engine = context.engine()?;
    let wanted = match args.kernels.is_empty() {
        true => {
            let all = engine.kernels().map_err(Failure::engine)?;
            all.into_iter().map(|kept| kept.id).collect()
        }
        false => args.kernels.clone(),
    };
    let mut rows = Vec::new();
    let mut is_good = true;
    for wanted in &wanted {
        match engine.verify_kernel(wanted) {
            Ok(verified) => {
                is_good &= is_enough(&verified);
                say(&verified);
                rows.extend(lacking(&verified));
            }
            Err(error) => {
                is_good = false;
                Failure::engine(error).say();
            }
        }
    }
    // Nothing lacks: a heading alone would say that something is listed.
    if !rows.is_empty() || args.format.is_some() {
        list.write(&rows, &mut io::stdout().lock())?;
    }
    match is_good {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn is_enough(verified: &Verified) -> bool {
    let mut lacks = verified.lacks.iter().flatten();
    !lacks.any(|lack| lack.weight == Weight::Needed)
}

/// A line for each that is whole, on standard error: standard output has the list.
fn say(verified: &Verified) {
    let name = &verified.kept.name;
    let words = match &verified.lacks {
        None => "is whole; what it has is not known, because its configuration is not",
        Some(lacks) if lacks.is_empty() => "is whole, and lacks nothing",
        Some(_) if is_enough(verified) => "is whole, and lacks nothing that is needed",
        Some(_) => "is whole, but no guest would run on it",
    };
    let _ = writeln!(io::stderr(), "{name} {words}");
}

fn lacking(verified: &Verified) -> impl Iterator<Item = Row> {
    verified.lacks.iter().flatten().map(|lack| {
        let weight = match lack.weight {
            Weight::Needed => "needed",
            Weight::Wanted => "wanted",
        };
        let fields = [
            ("Kernel", verified.kept.name.clone()),
            ("ID", verified.kept.id.clone()),
            ("Option", lack.option.clone()),
            ("Weight", weight.to_owned()),
            ("Purpose", lack.purpose.to_owned()),
        ];
        Row::new(fields, BTreeMap::new())
    })
}
