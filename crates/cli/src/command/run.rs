//! `gamut run`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{DetachKeys, parse_detach_keys};
use crate::error::Failure;
use crate::terminal;
use crate::workload::{Surroundings, WorkloadArgs};
use gamut_plan::request::RunRequest;

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
pub fn run(args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    let request = args.request(&Surroundings::of_process())?;
    let attachment = args.attachment();
    if request.process.tty && attachment.stdin && !terminal::is_terminal(std::io::stdin()) {
        return Err(Failure::NotATerminal);
    }
    Err(Failure::NotBuilt("run"))
}
