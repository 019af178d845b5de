//! `gamut pod top`.

use std::process::ExitCode;

use super::which;
use crate::args::Context;
use crate::command::top;
use crate::error::Failure;
use crate::which::is_live;

/// List the processes of a pod
///
/// By the host's ps(1), with its numbers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of the pod made last; then all words are options of ps
    #[arg(short, long)]
    pub latest: bool,

    /// The pod, and what ps(1) is given instead of -ef
    #[arg(
        value_name = "POD [OPTION...]",
        required_unless_present = "latest",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let mut options = args.words;
    let pod = match args.latest {
        true => which::latest(&mut engine)?,
        // clap requires one.
        false => engine.pod(&options.remove(0)).map_err(Failure::engine)?,
    };
    let mut pids = Vec::new();
    for one in pod.containers.iter().filter(|one| is_live(one)) {
        pids.extend(engine.processes(&one.row.id).map_err(Failure::engine)?);
    }
    if pids.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    top::print(&pids, &options)
}
