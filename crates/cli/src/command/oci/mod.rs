//! `gamut oci`: the container room under runc's command line, a file per command. The binary
//! called as `gamut-oci` begins here, too.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod kill;
mod list;
mod log;
mod pause;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use gamut_container::oci::{CgroupDriver, Console, Create, Keyring, OciError, Runtime};
use gamut_spec::Fault;

use crate::error::Failure;
use crate::trace::Trace;

/// The name under which the binary is an OCI runtime.
pub const PROGRAM_NAME: &str = "gamut-oci";

/// Make and run containers from OCI bundles, with runc's command line
///
/// Podman, containerd, Docker and CRI-O take it in runc's place: link `gamut-oci` to this program
/// and name it as their runtime.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true, args_override_self = true)]
pub struct Args {
    /// Directory of the containers' states; without one, /run/gamut-oci for root, and for others
    /// gamut-oci in $XDG_RUNTIME_DIR
    #[arg(long = "root", id = "oci-root", value_name = "DIR")]
    root: Option<PathBuf>,

    /// Write errors and warnings to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Form of the log: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,

    /// Same as --log-level debug
    #[arg(long = "debug", id = "oci-debug")]
    debug: bool,

    /// Print where the time went, phase by phase
    #[arg(long = "trace", id = "oci-trace")]
    trace: bool,

    /// Have control groups made by systemd: cgroupsPath is slice:prefix:name
    #[arg(long)]
    systemd_cgroup: bool,

    /// Taken and not used: containers run with what the caller may do
    #[arg(long, value_name = "WHETHER")]
    rootless: Option<String>,

    /// Print the version
    #[arg(short = 'v', long = "version", id = "oci-version")]
    version: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What is done to a container.
#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Checkpoint(Box<checkpoint::Args>),
    Create(create::Args),
    Delete(delete::Args),
    Events(events::Args),
    Exec(Box<exec::Args>),
    Features(features::Args),
    Kill(kill::Args),
    List(list::Args),
    Pause(pause::Args),
    Ps(ps::Args),
    Restore(Box<restore::Args>),
    Resume(resume::Args),
    Run(run::Args),
    Spec(spec::Args),
    Start(start::Args),
    State(state::Args),
    Update(Box<update::Args>),
}

/// Whether a process of this command will be inside a container before it is another program: it
/// must not lead to this one's file.
#[must_use]
pub fn enters_a_container(words: &[OsString]) -> bool {
    let mut words = words.iter().skip(1);
    words.next().is_some_and(|word| word == "oci")
        && words.any(|word| word == "create" || word == "run" || word == "exec")
}

/// Carries it out. What goes wrong is said here, to the log and on standard error, with runc's
/// status 1.
pub fn run(args: Args, began_ns: u64) -> Result<ExitCode, Failure> {
    if args.version {
        let version = env!("CARGO_PKG_VERSION");
        let spec = gamut_container::oci::SPEC_VERSION;
        return super::run::print_line(&format!("{PROGRAM_NAME} version {version}\nspec: {spec}"));
    }
    let log = Rc::new(log::Log::new(
        args.log.as_deref(),
        &args.log_format,
        if args.debug {
            log::Debug::Shown
        } else {
            log::Debug::Hidden
        },
    ));
    let Some(command) = args.command else {
        return Ok(log.fail(&OciFailure::Usage("no command is given")));
    };
    let root = args.root.unwrap_or_else(state::root);
    let mut runtime = Runtime::new(&root);
    if args.debug {
        let log = Rc::clone(&log);
        runtime = runtime.telling(Box::new(move |text| log.debug(text)));
    }
    let trace = Rc::new(RefCell::new(Trace::new(args.trace, began_ns)));
    if args.trace {
        trace.borrow_mut().mark("arguments read");
        let trace = Rc::clone(&trace);
        let watch = move |phase: &str, at_ns| trace.borrow_mut().mark_at(phase, at_ns);
        runtime = runtime.watched(Box::new(watch));
    }
    let context = Context {
        runtime: &runtime,
        log: &log,
        cgroups: if args.systemd_cgroup {
            CgroupDriver::Systemd
        } else {
            CgroupDriver::Cgroupfs
        },
        trace: &trace,
    };
    log.debug(&format!("containers are in {}", root.display()));
    let done = match command {
        Command::Checkpoint(args) => checkpoint::run(&args, &context),
        Command::Create(args) => create::run(args, &context),
        Command::Delete(args) => delete::run(&args, &context),
        Command::Events(args) => events::run(&args, &context),
        Command::Exec(args) => exec::run(*args, &context),
        Command::Features(_) => features::run(),
        Command::Kill(args) => kill::run(&args, &context),
        Command::List(args) => list::run(&args, &context),
        Command::Pause(args) => pause::run(&args, &context),
        Command::Ps(args) => ps::run(&args, &context),
        Command::Restore(args) => restore::run(*args, &context),
        Command::Resume(args) => resume::run(&args, &context),
        Command::Run(args) => run::run(args, &context),
        Command::Spec(args) => spec::run(&args),
        Command::Start(args) => start::run(&args, &context),
        Command::State(args) => state::run(&args, &context),
        Command::Update(args) => update::run(&args, &context),
    };
    trace.borrow_mut().mark("command over");
    trace.borrow_mut().show(&[]);
    Ok(done.unwrap_or_else(|failure| log.fail(&failure)))
}

/// What every command is told.
struct Context<'a> {
    runtime: &'a Runtime,
    log: &'a log::Log,
    /// For a container that is made; another's is in its record.
    cgroups: CgroupDriver,
    trace: &'a RefCell<Trace>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum OciFailure {
    #[error(transparent)]
    Oci(#[from] OciError),
    #[error("{0}")]
    Usage(&'static str),
    #[error("{0}")]
    Argument(String),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl OciFailure {
    fn hint(&self) -> Option<String> {
        match self {
            OciFailure::Oci(error) => error.hint(),
            OciFailure::Usage(_) | OciFailure::Argument(_) | OciFailure::Output(_) => None,
        }
    }
}

type Done = Result<ExitCode, OciFailure>;

const SUCCESS: Done = Ok(ExitCode::SUCCESS);

/// What `create` and `run` have in common.
#[derive(Debug, clap::Args)]
struct BundleArgs {
    /// The bundle's directory; the current one if none is given
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,

    /// A socket that takes the terminal's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// A socket that takes a descriptor of the first process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,

    /// Write the first process's id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Taken and not used: the root is always changed by pivot_root(2), on any file system
    #[arg(long)]
    no_pivot: bool,

    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,

    /// How many more descriptors than the standard streams the process inherits
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
}

impl BundleArgs {
    fn options(&self, without_socket: Console, context: &Context<'_>) -> Create {
        Create {
            bundle: self.bundle.clone(),
            console: console(self.console_socket.as_deref(), without_socket),
            pid_file: self.pid_file.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            preserved_fds: self.preserve_fds.saturating_add(listening()),
            listening_fds: listening(),
            keyring: if self.no_new_keyring {
                Keyring::Callers
            } else {
                Keyring::New
            },
            cgroups: context.cgroups,
        }
    }
}

/// The terminal's place without a socket: who goes on in the background can have none.
fn console_of_caller(detach: bool) -> Console {
    if detach {
        Console::None
    } else {
        Console::Caller
    }
}

fn console(socket: Option<&Path>, without: Console) -> Console {
    socket.map_or(without, |path| Console::Socket(path.to_owned()))
}

/// Whether this host has control groups of version 2 and no others.
fn on_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// How many sockets a service manager handed over: sd_listen_fds(3). They are kept, as well.
fn listening() -> u32 {
    let listening = std::env::var("LISTEN_FDS").ok();
    listening.and_then(|n| n.parse().ok()).unwrap_or(0)
}
