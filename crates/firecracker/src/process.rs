//! One instance as a process: what its command line says, until its machine has ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gamut_spec::{Fault, Kind};
use serde_json::Value;

use crate::api::Api;
use crate::controller::Controller;
use crate::http::server::{Handler, Outlook, Server};
use crate::log::Module;
use crate::machine::{Backend, MachineError, Outcome};
use crate::metrics::MetricsError;
use crate::model::{FullConfig, Level, Logger, Metrics};
use crate::resources::error::ControlError;

/// The longest name of an instance.
pub const ID_BYTES_MAX: usize = 64;
/// The longest configuration file.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// The command line.
#[derive(Debug)]
pub struct Options {
    pub id: String,
    /// `None`: no API.
    pub api_socket: Option<PathBuf>,
    pub config_file: Option<PathBuf>,
    /// A file with the metadata service's document.
    pub metadata: Option<PathBuf>,
    pub logger: Logger,
    pub metrics: Option<PathBuf>,
    /// The longest body of a request.
    pub body_bytes_max: usize,
    /// `None`: the same.
    pub mmds_bytes_max: Option<usize>,
}

/// Why the process ends before its machine has, or without one.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("invalid instance id `{0}`")]
    Id(String),
    #[error("cannot open the log")]
    Log(#[source] io::Error),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is larger than {CONFIG_BYTES_MAX} bytes", path.display())]
    Large { path: PathBuf },
    #[error("`{}` is not what it should be", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("Failed to open the API socket at: {}. Check that it is not already used.", path.display())]
    SocketInUse { path: PathBuf },
    #[error("cannot listen at `{}`", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot serve the API")]
    Serve(#[source] io::Error),
    #[error("Building VMM configured from cmdline json failed: {0}")]
    Configure(#[source] ControlError),
    #[error("the machine stopped: {0}")]
    Stopped(String),
}

impl Fault for ProcessError {
    fn kind(&self) -> Kind {
        match self {
            Self::Id(_) | Self::Json { .. } | Self::Large { .. } | Self::Configure(_) => {
                Kind::Invalid
            }
            Self::SocketInUse { .. } => Kind::Conflict,
            _ => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Id(_) => Some(format!("1 to {ID_BYTES_MAX} letters, digits and hyphens")),
            Self::SocketInUse { path } => Some(format!(
                "if no process uses it, remove `{}`",
                path.display()
            )),
            Self::Configure(ControlError::Start(crate::resources::error::StartError::Machine(
                MachineError { hint, .. },
            ))) => hint.clone(),
            _ => None,
        }
    }
}

/// Is an instance until its machine has ended.
///
/// # Errors
/// Why it could not be one.
pub fn run(options: Options, backend: Box<dyn Backend>) -> Result<(), ProcessError> {
    check_id(&options.id)?;
    let mmds_bytes_max = options.mmds_bytes_max.unwrap_or(options.body_bytes_max);
    let mut controller = Controller::new(&options.id, backend, mmds_bytes_max);
    controller
        .log
        .configure(options.logger)
        .map_err(ProcessError::Log)?;
    let greeting = format!("Running {} v{}", crate::APPLICATION, crate::API_VERSION);
    controller
        .log
        .line(Level::Info, Module::Firecracker, &greeting);
    if let Some(metrics_path) = options.metrics {
        controller.metrics.configure(Metrics {
            metrics_path,
            ..Metrics::default()
        })?;
    }
    let metadata = options.metadata.as_deref().map(read_metadata).transpose()?;
    let config = options
        .config_file
        .as_deref()
        .map(read_config)
        .transpose()?;
    // Bound before the machine is built: who waits for the name may connect from then on.
    let server = match &options.api_socket {
        Some(path) => Some(bind(path, options.body_bytes_max)?),
        None => None,
    };
    match config {
        Some(config) => controller.configure(config, metadata),
        None => metadata.map_or(Ok(()), |document| fill_metadata(&mut controller, document)),
    }
    .map_err(ProcessError::Configure)?;
    serve(server, Api::new(controller))
}

fn fill_metadata(controller: &mut Controller, document: Value) -> Result<(), ControlError> {
    controller
        .handle(crate::action::Action::PutMmds(document))
        .map(drop)
}

fn serve(server: Option<Server>, mut api: Api) -> Result<(), ProcessError> {
    match server {
        Some(mut server) => server.run(&mut api).map_err(ProcessError::Serve)?,
        None => wait(&mut api)?,
    }
    match api.into_outcome() {
        Some(Outcome::Failed(reason)) => Err(ProcessError::Stopped(reason)),
        Some(Outcome::Shutdown) | None => Ok(()),
    }
}

/// Without an API.
fn wait(api: &mut Api) -> Result<(), ProcessError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    while api.wake() == Outlook::GoOn {
        let Some(ended) = api.waits_for() else {
            return Ok(());
        };
        let left = api
            .alarm()
            .map(|alarm| alarm.saturating_duration_since(std::time::Instant::now()))
            .and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(ended, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(ProcessError::Serve(errno.into())),
        }
    }
    Ok(())
}

fn bind(path: &Path, body_bytes_max: usize) -> Result<Server, ProcessError> {
    Server::bind(path, body_bytes_max).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ProcessError::SocketInUse {
            path: path.to_owned(),
        },
        _ => ProcessError::Socket {
            path: path.to_owned(),
            source,
        },
    })
}

fn check_id(id: &str) -> Result<(), ProcessError> {
    let is_good = (1..=ID_BYTES_MAX).contains(&id.len())
        && id
            .chars()
            .all(|letter| letter == '-' || letter.is_alphanumeric());
    if is_good {
        Ok(())
    } else {
        Err(ProcessError::Id(id.to_owned()))
    }
}

fn read_config(path: &Path) -> Result<FullConfig, ProcessError> {
    read_json(path)
}

fn read_metadata(path: &Path) -> Result<Value, ProcessError> {
    read_json(path)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ProcessError> {
    let path = path.to_owned();
    let read = |path: &Path| -> io::Result<Option<Vec<u8>>> {
        use io::Read as _;
        let mut bytes = Vec::new();
        let file = fs::File::open(path)?;
        file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= CONFIG_BYTES_MAX).then_some(bytes))
    };
    match read(&path) {
        Ok(Some(bytes)) => {
            serde_json::from_slice(&bytes).map_err(|source| ProcessError::Json { path, source })
        }
        Ok(None) => Err(ProcessError::Large { path }),
        Err(source) => Err(ProcessError::Read { path, source }),
    }
}
