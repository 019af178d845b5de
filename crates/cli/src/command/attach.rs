//! `gamut attach`.

use std::process::ExitCode;

use gamut_engine::client::Attached;
use gamut_engine::record;
use gamut_plan::launch::{Stdin, Terminal};

use crate::args::Context;
use crate::attached::{self, Ending, Joint, SignalsTo};
use crate::convert::{DetachKeys, parse_detach_keys};
use crate::error::Failure;
use crate::which::One;

/// Attach to the streams of a running container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keys that let go of the container
    #[arg(long, value_name = "KEYS", value_parser = parse_detach_keys)]
    pub detach_keys: Option<DetachKeys>,

    /// Do not attach to standard input
    #[arg(long)]
    pub no_stdin: bool,

    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,

    #[command(flatten)]
    pub one: One,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let name = args.one.name(&mut engine)?;
    let view = engine.container(&name).map_err(Failure::engine)?;
    let plan = record::read_plan(&engine.container_dirs(&view.row.id)).map_err(Failure::engine)?;
    let mut keeper = engine.connect(&view.row.id).map_err(Failure::engine)?;
    let keys = args.detach_keys.clone().unwrap_or_default();
    let joint = Joint {
        stdin: !args.no_stdin && plan.streams.stdin != Stdin::Closed,
        stdout: true,
        stderr: true,
        tty: plan.streams.terminal != Terminal::None,
        signals: if args.sig_proxy {
            SignalsTo::Workload
        } else {
            SignalsTo::Nobody
        },
        detach_keys: Some(&keys),
    };
    let signals = attached::watch_signals(&joint)?;
    keeper
        .attach(Attached::with_input(joint.stdin))
        .map_err(Failure::engine)?;
    match attached::run(&mut keeper, joint, &signals)? {
        Ending::Detached => Ok(ExitCode::SUCCESS),
        Ending::Exited(exit) => Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(255))),
    }
}
