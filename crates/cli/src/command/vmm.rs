//! `gamut vmm`: one virtual machine under Firecracker's API and command line. The binary called as
//! `firecracker` begins here, too.

use std::path::PathBuf;
use std::process::ExitCode;

use gamut_firecracker::http::BODY_BYTES_MAX;
use gamut_firecracker::kvm::{Confinement, Kvm};
use gamut_firecracker::model::{Level, LevelError, Logger};
use gamut_firecracker::process::{self, Options, ProcessError};
use gamut_spec::{Fault, Kind};

use crate::error::{self, Failure};

/// The name under which the binary is Firecracker.
pub const PROGRAM_NAME: &str = "firecracker";
/// Firecracker's status for a command line that it does not understand.
pub const STATUS_ARGUMENTS: u8 = 153;
/// For a value that makes no sense.
const STATUS_CONFIGURATION: u8 = 152;
/// For everything else.
const STATUS_FAILURE: u8 = 1;

/// Run one virtual machine, with Firecracker's API and command line
///
/// What drives Firecracker takes it in its place: link `firecracker` to this program.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// Unix socket of the API
    #[arg(long, value_name = "PATH", default_value = "/run/firecracker.socket")]
    api_sock: PathBuf,

    /// Name of the instance: up to 64 letters, digits and hyphens
    #[arg(long, value_name = "ID", default_value = "anonymous-instance")]
    id: String,

    /// Configure and start the machine from this JSON file
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// Serve no API; the configuration file is all
    #[arg(long, requires = "config_file")]
    no_api: bool,

    /// Fill the metadata service with this JSON file
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    /// Write the log to this file or FIFO instead of standard output
    #[arg(long, value_name = "FILE")]
    log_path: Option<PathBuf>,

    /// What is worth a line: off, error, warning, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,

    /// Only lines of modules whose path begins so: firecracker, firecracker::api_server, vmm
    #[arg(long, value_name = "PATH")]
    module: Option<String>,

    /// Show the level in each line
    #[arg(long)]
    show_level: bool,

    /// Show in each line where it comes from
    #[arg(long)]
    show_log_origin: bool,

    /// Write metrics to this file or FIFO
    #[arg(long, value_name = "FILE")]
    metrics_path: Option<PathBuf>,

    /// The longest body of a request, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = BODY_BYTES_MAX)]
    http_api_max_payload_size: usize,

    /// The longest document of the metadata service, in bytes [default: as of a request]
    #[arg(long, value_name = "BYTES")]
    mmds_size_limit: Option<usize>,

    /// Let the machine's threads ask anything of the kernel; not recommended
    #[arg(long)]
    no_seccomp: bool,

    /// Refused: the filters are built in
    #[arg(long, value_name = "FILE", conflicts_with = "no_seccomp")]
    seccomp_filter: Option<PathBuf>,

    /// Refused: there is no device that measures the boot
    #[arg(long)]
    boot_timer: bool,

    /// Refused: devices are on virtio-mmio
    #[arg(long)]
    enable_pci: bool,

    /// Refused: there are no snapshots
    #[arg(long)]
    snapshot_version: bool,

    /// Refused: there are no snapshots
    #[arg(long, value_name = "FILE")]
    describe_snapshot: Option<PathBuf>,

    /// Taken and not used
    #[arg(long, value_name = "MICROSECONDS")]
    start_time_us: Option<u64>,

    /// Taken and not used
    #[arg(long, value_name = "MICROSECONDS")]
    start_time_cpu_us: Option<u64>,

    /// Taken and not used
    #[arg(long, value_name = "MICROSECONDS")]
    parent_cpu_time_us: Option<u64>,

    /// Print the version
    #[arg(long = "version", id = "vmm-version")]
    version: bool,
}

/// Why there is no instance.
#[derive(Debug, thiserror::Error)]
enum VmmFailure {
    #[error("`{0}` is not there")]
    Refused(&'static str),
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

impl Fault for VmmFailure {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) | Self::Level(_) => Kind::Invalid,
            Self::Process(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused("--seccomp-filter") => {
                Some("leave it out: each thread has a filter that fits".to_owned())
            }
            Self::Refused(_) => Some("leave it out".to_owned()),
            Self::Level(_) => {
                Some("it can be Error, Warning, Info, Debug, Trace or Off".to_owned())
            }
            Self::Process(error) => error.hint(),
        }
    }
}

impl VmmFailure {
    /// Firecracker's number.
    fn status(&self) -> u8 {
        match self {
            Self::Refused(_) => STATUS_ARGUMENTS,
            Self::Level(_) => STATUS_CONFIGURATION,
            Self::Process(_) => STATUS_FAILURE,
        }
    }
}

/// Carries it out. What goes wrong is said here, with Firecracker's exit status.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.version {
        let (application, version) = (
            gamut_firecracker::APPLICATION,
            gamut_firecracker::API_VERSION,
        );
        let own = env!("CARGO_PKG_VERSION");
        return super::run::print_line(&format!("{application} v{version}\n\ngamut {own}"));
    }
    Ok(match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error::say(&failure);
            ExitCode::from(failure.status())
        }
    })
}

fn serve(args: Args) -> Result<(), VmmFailure> {
    refuse(&args)?;
    let confinement = if args.no_seccomp {
        Confinement::Free
    } else {
        Confinement::Filtered
    };
    let level = args.level.as_deref().map(str::parse::<Level>).transpose()?;
    let options = Options {
        id: args.id,
        api_socket: (!args.no_api).then_some(args.api_sock),
        config_file: args.config_file,
        metadata: args.metadata,
        logger: Logger {
            log_path: args.log_path,
            level,
            show_level: args.show_level.then_some(true),
            show_log_origin: args.show_log_origin.then_some(true),
            module: args.module,
        },
        metrics: args.metrics_path,
        body_bytes_max: args.http_api_max_payload_size,
        mmds_bytes_max: args.mmds_size_limit,
    };
    Ok(process::run(options, Box::new(Kvm::new(confinement)))?)
}

/// What Firecracker has and this has not.
fn refuse(args: &Args) -> Result<(), VmmFailure> {
    let flags = [
        (args.seccomp_filter.is_some(), "--seccomp-filter"),
        (args.boot_timer, "--boot-timer"),
        (args.enable_pci, "--enable-pci"),
        (args.snapshot_version, "--snapshot-version"),
        (args.describe_snapshot.is_some(), "--describe-snapshot"),
    ];
    match flags.into_iter().find(|(is_given, _)| *is_given) {
        Some((_, flag)) => Err(VmmFailure::Refused(flag)),
        None => Ok(()),
    }
}
