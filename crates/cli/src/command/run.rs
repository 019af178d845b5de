//! `gamut run`.

use std::mem::ManuallyDrop;
use std::process::ExitCode;

use gamut_engine::client::{Attached, Client, ClientError, Starter};
use gamut_engine::{CreateOptions, Engine, Force};
use gamut_plan::cell::StartError;
use gamut_plan::launch as plan;

use crate::args::Context;
use crate::attached::{self, Ending, Joint, SignalsTo};
use crate::command::{pod, start};
use crate::convert::{DetachKeys, parse_detach_keys};
use crate::error::Failure;
use crate::exit::Stage;
use crate::fetch;
use crate::terminal;
use crate::trace::Trace;
use crate::workload::{Surroundings, WorkloadArgs};
use gamut_plan::request::{AfterExit, RunRequest};

/// Run a command in a new container
///
/// The image is pulled if it is not here. The exit status is that of the command; 125 if the
/// engine failed, 126 if the command cannot be run, 127 if it is not there.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "gamut run [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub struct Args {
    /// Leave the container in the background and print its id
    #[arg(short, long, conflicts_with = "streams")]
    pub detach: bool,

    #[command(flatten)]
    pub attach: AttachArgs,

    /// Keys that let go of the container
    #[arg(long, value_name = "KEYS", value_parser = parse_detach_keys)]
    pub detach_keys: Option<DetachKeys>,

    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,

    /// Print the launch plan and run nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print how long each phase of the start took
    #[arg(long)]
    pub trace: bool,

    #[command(flatten)]
    pub workload: WorkloadArgs,
}

/// Which streams to attach to.
#[derive(Debug, clap::Args)]
pub struct AttachArgs {
    /// Attach to stdin, stdout or stderr
    #[arg(
        short = 'a',
        long = "attach",
        value_enum,
        value_name = "STREAM",
        ignore_case = true
    )]
    pub streams: Vec<Stream>,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// The streams of the container that end at the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl Attachment {
    /// None of them.
    pub const NONE: Self = Self {
        stdin: false,
        stdout: false,
        stderr: false,
    };
}

impl Args {
    /// Docker's rule: without `-a` output is attached, and input with `-i`; with it, the named.
    pub fn attachment(&self) -> Attachment {
        if self.detach {
            return Attachment::NONE;
        }
        let streams = &self.attach.streams;
        if streams.is_empty() {
            return Attachment {
                stdin: self.workload.process.interactive,
                stdout: true,
                stderr: true,
            };
        }
        Attachment {
            stdin: streams.contains(&Stream::Stdin),
            stdout: streams.contains(&Stream::Stdout),
            stderr: streams.contains(&Stream::Stderr),
        }
    }

    /// The request, with the life of its standard input decided.
    pub fn request(&self, surroundings: &Surroundings) -> Result<RunRequest, Failure> {
        let mut request = self.workload.request(surroundings)?;
        request.process.stdin_once = request.process.stdin_open && !self.detach;
        Ok(request)
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut trace = Trace::new(args.trace, context.began_ns);
    let mut request = args.request(&Surroundings::of_process())?;
    let attachment = args.attachment();
    if request.process.tty && attachment.stdin && !terminal::is_terminal(std::io::stdin()) {
        return Err(Failure::NotATerminal);
    }
    trace.mark("arguments read");
    let mut keeper = if args.dry_run {
        None
    } else {
        Some(context.keeper()?)
    };
    // Never closed: the kernel does that at the end of the process, and quicker.
    let mut engine = ManuallyDrop::new(context.engine()?);
    if request.pod.is_some() {
        pod::place::check(&engine, &request, args.dry_run)?;
    }
    let source = fetch::source(
        &mut engine,
        &request,
        args.workload.quiet(),
        &args.workload.general.registry,
    )?;
    trace.mark("image found");
    if request.pod.is_some() {
        pod::place::enter(&mut engine, &mut request)?;
    }
    let options = CreateOptions {
        terminal_size: terminal::window_size(std::io::stdout()).map(|s| (s.rows, s.columns)),
        trace: if args.trace {
            plan::Trace::On
        } else {
            plan::Trace::Off
        },
        keeper: None,
        pod: None,
    };
    let Some(keeper) = &mut keeper else {
        let created = engine
            .plan_only(&request, &source, options)
            .map_err(Failure::engine)?;
        let text =
            serde_json::to_string_pretty(&created.plan).map_err(|e| Failure::Output(e.into()))?;
        return print_line(&text);
    };
    for named in &request.requires {
        start::start(&mut engine, named)?;
    }
    let cidfile = args.workload.reserve_cidfile()?;
    let options = CreateOptions {
        keeper: Some(keeper),
        ..options
    };
    let created = engine
        .create(&request, &source, options)
        .map_err(Failure::engine)?;
    trace.mark("container recorded");
    cidfile.write(&created.id)?;
    warn(&created.warnings);
    let session = Session {
        args: &args,
        request: &request,
        attachment,
        id: &created.id,
    };
    session.start(&mut engine, keeper, trace)
}

/// One run, from the made container on.
struct Session<'a> {
    args: &'a Args,
    request: &'a RunRequest,
    attachment: Attachment,
    id: &'a str,
}

impl Session<'_> {
    fn start(
        &self,
        engine: &mut Engine,
        keeper: &mut Client,
        mut trace: Trace,
    ) -> Result<ExitCode, Failure> {
        let attached = self.attachment.stdin || self.attachment.stdout || self.attachment.stderr;
        let removes = self.request.after_exit == AfterExit::Remove;
        let keys = self.args.detach_keys.clone().unwrap_or_default();
        let joint = Joint {
            stdin: self.attachment.stdin,
            stdout: self.attachment.stdout,
            stderr: self.attachment.stderr,
            tty: self.request.process.tty,
            signals: if self.args.sig_proxy {
                SignalsTo::Workload
            } else {
                SignalsTo::Nobody
            },
            detach_keys: Some(&keys),
        };
        let signals = if attached {
            Some(attached::watch_signals(&joint)?)
        } else {
            None
        };
        let client = Starter {
            attached: attached.then_some(Attached::with_input(self.attachment.stdin)),
            removes: removes && attached,
        };
        let started = match engine.start(self.id, keeper, client) {
            Ok(started) => started,
            Err(error) => {
                if removes {
                    let _ = engine.remove(self.id, Force::Yes);
                }
                return Err(start_failed(error));
            }
        };
        warn(&started.warnings);
        trace.mark("started");
        trace.show(&started.trace);
        let Some(signals) = signals else {
            // Nobody waits for this command any more but the user's shell.
            print_line(self.id)?;
            let _ = engine.repair_in_passing();
            return Ok(ExitCode::SUCCESS);
        };
        // The program runs, and there is time.
        if removes {
            engine.prepare_removal();
        }
        match attached::run(keeper, joint, &signals) {
            Ok(Ending::Detached) => Ok(ExitCode::SUCCESS),
            Ok(Ending::Exited(exit)) => {
                if removes {
                    engine
                        .hand_over_removal(self.id, keeper)
                        .map_err(Failure::engine)?;
                }
                Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(255)))
            }
            Err(failure) => {
                // The keeper died, and its workload with it.
                let _ = engine.container(self.id);
                if removes {
                    let _ = engine.remove(self.id, Force::Yes);
                }
                Err(failure)
            }
        }
    }
}

/// A start that failed is about the workload's command only if that could not be run.
pub(crate) fn start_failed(error: ClientError) -> Failure {
    let about_command = matches!(
        &error,
        ClientError::Start(
            StartError::ProgramNotFound { .. }
                | StartError::InterpreterNotFound { .. }
                | StartError::ProgramNotRunnable { .. }
        )
    );
    let stage = if about_command {
        Stage::Command
    } else {
        Stage::Engine
    };
    Failure::Engine {
        stage,
        fault: Box::new(error),
    }
}

/// What the user should know and that is no failure.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Prints a line of the result.
pub(crate) fn print_line(text: &str) -> Result<ExitCode, Failure> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{text}").map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
