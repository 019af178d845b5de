//! `gamut restart`.

use std::process::ExitCode;

use gamut_plan::request::{Signal, StopTimeout};

use crate::args::Context;
use crate::command::start;
use crate::convert::{parse_signal, parse_stop_timeout};
use crate::error::Failure;
use crate::several;
use crate::which::{self, Missing, Which};

/// Stop containers and start them again
#[derive(Debug, clap::Args)]
#[command(mut_arg("all", |all| all.short('a')))]
pub struct Args {
    /// Signal to send first
    #[arg(short, long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub signal: Option<Signal>,

    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short, long = "timeout", visible_alias = "time", value_name = "SECONDS", value_parser = parse_stop_timeout, allow_hyphen_values = true)]
    pub timeout: Option<StopTimeout>,

    /// Of all or of those of a filter, only what runs
    #[arg(long)]
    pub running: bool,

    #[command(flatten)]
    pub which: Which,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let signal = args.signal.map(|signal| i32::from(signal.0));
    let mut engine = context.engine()?;
    let only_running = args.running;
    let meant = |view: &_| !only_running || which::is_live(view);
    let names = args.which.names(&mut engine, Missing::Error, meant)?;
    several::each(&names, |name| {
        let view = engine.container(name).map_err(Failure::engine)?;
        if view.row.auto_remove {
            return Err(Failure::Unsupported {
                flag: "restart of a container that `--rm` removes when it stops",
            });
        }
        engine
            .stop(&view.row.id, signal, args.timeout)
            .map_err(Failure::engine)?;
        start::start(&mut engine, &view.row.id)?;
        engine.tell_of_container(&view.row, "restart", []);
        Ok(Some(name.to_owned()))
    })
}
