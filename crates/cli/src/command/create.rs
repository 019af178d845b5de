//! `gamut create`.

use std::process::ExitCode;

use gamut_engine::CreateOptions;

use crate::args::Context;
use crate::command::pod;
use crate::command::run::{AttachArgs, print_line, warn};
use crate::error::Failure;
use crate::fetch;
use crate::workload::{Surroundings, WorkloadArgs};

/// Make a container without starting it
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "gamut create [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub struct Args {
    #[command(flatten)]
    pub attach: AttachArgs,
    #[command(flatten)]
    pub workload: WorkloadArgs,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut request = args.workload.request(&Surroundings::of_process())?;
    let mut engine = context.engine()?;
    if request.pod.is_some() {
        pod::place::check(&engine, &request, false)?;
    }
    let source = fetch::source(
        &mut engine,
        &request,
        args.workload.quiet(),
        &args.workload.general.registry,
    )?;
    if request.pod.is_some() {
        pod::place::enter(&mut engine, &mut request)?;
    }
    let cidfile = args.workload.reserve_cidfile()?;
    let created = engine
        .create(&request, &source, CreateOptions::default())
        .map_err(Failure::engine)?;
    cidfile.write(&created.id)?;
    warn(&created.warnings);
    print_line(&created.id)
}
