//! `gamut pod stats`.

use std::process::ExitCode;
use std::time::Duration;

use gamut_engine::{Engine, View};

use super::which;
use crate::args::Context;
use crate::command::stats::{Manner, watch};
use crate::error::Failure;
use crate::format::ListFormat;
use crate::view::{Width, stats};
use crate::which::is_live;

/// Show what the containers of pods use
///
/// Without names: of all that run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of all pods
    #[arg(short, long, conflicts_with_all = ["latest", "pods"])]
    pub all: bool,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Of the pod made last
    #[arg(short, long, conflicts_with = "pods")]
    pub latest: bool,

    /// Once, not again and again
    #[arg(long)]
    pub no_stream: bool,

    /// Leave what was shown before on the screen
    #[arg(long)]
    pub no_reset: bool,

    /// Names or ids
    #[arg(value_name = "POD")]
    pub pods: Vec<String>,
}

/// Podman's.
const INTERVAL: Duration = Duration::from_secs(5);

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ListFormat::parse(args.format.as_deref(), stats::POD_TABLE, &stats::TITLES)?;
    let mut engine = context.engine()?;
    let manner = Manner {
        format,
        width: Width::Cut,
        interval: (!args.no_stream).then_some(INTERVAL),
        no_reset: args.no_reset,
    };
    watch(&mut engine, &manner, |engine| selected(&args, engine))
}

/// The containers of the pods that are named, or those of all that run.
fn selected(args: &Args, engine: &mut Engine) -> Result<Vec<View>, Failure> {
    let pods = if args.latest {
        vec![which::latest(engine)?]
    } else if args.pods.is_empty() {
        engine.pods().map_err(Failure::engine)?
    } else {
        let found = args.pods.iter().map(|name| engine.pod(name));
        found.collect::<Result<_, _>>().map_err(Failure::engine)?
    };
    let is_named = args.latest || !args.pods.is_empty();
    let containers = pods.into_iter().flat_map(|pod| pod.containers);
    Ok(containers.filter(|one| is_named || is_live(one)).collect())
}
