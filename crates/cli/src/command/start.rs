//! `gamut start`.

use std::process::ExitCode;

use gamut_engine::client::{Attached, Client, Starter};
use gamut_engine::{Engine, View, record};
use gamut_plan::launch::{Stdin, Terminal};

use crate::args::Context;
use crate::attached::{self, Ending, Joint, SignalsTo};
use crate::command::run::{print_line, start_failed, warn};
use crate::convert::{DetachKeys, parse_detach_keys};
use crate::error::Failure;
use crate::exit::Verb;
use crate::which::{self, Missing, Which};

/// Start stopped containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Attach to output and pass signals on
    #[arg(short, long)]
    pub attach: bool,

    /// Attach to standard input
    #[arg(short, long)]
    pub interactive: bool,

    /// Keys that let go of the container
    #[arg(long, value_name = "KEYS", value_parser = parse_detach_keys)]
    pub detach_keys: Option<DetachKeys>,

    /// Pass signals on to the process, with --attach
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,

    #[command(flatten)]
    pub which: Which,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let names = args
        .which
        .names(&mut engine, Missing::Error, |view| !which::is_live(view))?;
    if args.attach || args.interactive {
        let [one] = names.as_slice() else {
            return Err(Failure::Unsupported {
                flag: "--attach with several containers",
            });
        };
        return attached_start(&args, &mut engine, one);
    }
    let mut failure = None;
    for named in &names {
        match start(&mut engine, named) {
            Ok(()) => drop(print_line(named)?),
            Err(error) => {
                if let Some(earlier) = failure.replace(error) {
                    earlier.report(Verb::Attached);
                }
            }
        }
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Starts one in the background.
pub(super) fn start(engine: &mut Engine, named: &str) -> Result<(), Failure> {
    let view = engine.container(named).map_err(Failure::engine)?;
    // Docker's: to start what runs is no error.
    if view.status.is_live() {
        return Ok(());
    }
    start_required(engine, &view)?;
    let mut keeper = Client::spawn().map_err(Failure::engine)?;
    engine.remount(&view).map_err(Failure::engine)?;
    let started = engine
        .start(&view.row.id, &mut keeper, Starter::default())
        .map_err(Failure::engine)?;
    warn(&started.warnings);
    Ok(())
}

/// Starts those that a container needs, and those that they need: who was made later needs who was made
/// before, so that it ends.
fn start_required(engine: &mut Engine, view: &View) -> Result<(), Failure> {
    if let Some(pod) = &view.row.pod {
        engine.prepare_pod(&pod.id).map_err(Failure::engine)?;
    }
    for id in engine
        .summary(view)
        .request
        .iter()
        .flat_map(|request| &request.requires)
    {
        start(engine, id)?;
    }
    Ok(())
}

fn attached_start(args: &Args, engine: &mut Engine, named: &str) -> Result<ExitCode, Failure> {
    let view = engine.container(named).map_err(Failure::engine)?;
    let plan = record::read_plan(&engine.container_dirs(&view.row.id)).map_err(Failure::engine)?;
    let tty = plan.streams.terminal != Terminal::None;
    let running = view.status.is_live();
    if !running {
        start_required(engine, &view)?;
    }
    let mut keeper = if running {
        engine.connect(&view.row.id).map_err(Failure::engine)?
    } else {
        Client::spawn().map_err(Failure::engine)?
    };
    let keys = args.detach_keys.clone().unwrap_or_default();
    let joint = Joint {
        stdin: args.interactive && plan.streams.stdin != Stdin::Closed,
        stdout: true,
        stderr: true,
        tty,
        signals: if args.sig_proxy {
            SignalsTo::Workload
        } else {
            SignalsTo::Nobody
        },
        detach_keys: Some(&keys),
    };
    let signals = attached::watch_signals(&joint)?;
    let attached = Attached::with_input(joint.stdin);
    if running {
        keeper.attach(attached).map_err(Failure::engine)?;
    } else {
        let client = Starter {
            attached: Some(attached),
            removes: false,
        };
        engine.remount(&view).map_err(Failure::engine)?;
        let started = engine
            .start(&view.row.id, &mut keeper, client)
            .map_err(start_failed)?;
        warn(&started.warnings);
    }
    match attached::run(&mut keeper, joint, &signals)? {
        Ending::Detached => Ok(ExitCode::SUCCESS),
        Ending::Exited(exit) => Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(255))),
    }
}
