//! `start`: containerd wants the address of the shim for a container. A pod's containers share one, so
//! there may be one already; else it is started here, with its listening socket as standard input.

use std::fmt::Write as _;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prost::Message;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::arguments::Arguments;
use crate::error::ShimError;
use crate::info::{print, read_input};
use crate::message::Any;
use crate::message::bootstrap::{BootstrapParams, BootstrapResult};
use crate::message::options::{self, Options};
use crate::stats::{Version, host_version};

/// Where sockets are, unless containerd (2.3) says otherwise.
pub const SOCKETS: &str = "/run/containerd/s";
/// The variable with the address that events are sent to.
pub const EVENTS: &str = "TTRPC_ADDRESS";
/// Has glibc's allocator use one arena for all threads: each further one would keep pages for itself.
pub const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "1");
/// Annotations whose value makes containers share a shim; the first that is there counts. runc's shim has a
/// name of its own for the first.
const GROUPS: [&str; 2] = [
    "io.containerd.gamut.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// How containerd asked, which is how it is answered.
enum Asked {
    /// A `BootstrapParams` (2.3).
    Bootstrap(BootstrapParams),
    /// The runtime's options, or nothing.
    Options(Option<Any>),
}

impl Asked {
    /// Both messages begin with a string as field 1: here an id, there a type's name.
    fn read(bytes: &[u8], id: &str) -> Result<Asked, ShimError> {
        match BootstrapParams::decode(bytes) {
            Ok(parameters) if !bytes.is_empty() && parameters.instance_id == id => {
                Ok(Asked::Bootstrap(parameters))
            }
            _ => {
                let any = Any::decode(bytes)?;
                Ok(Asked::Options((!any.type_url.is_empty()).then_some(any)))
            }
        }
    }

    fn options(&self) -> Result<Options, ShimError> {
        match self {
            Asked::Options(any) => Options::unpack(any.as_ref()),
            Asked::Bootstrap(parameters) => {
                let mut values = parameters
                    .extensions
                    .iter()
                    .filter_map(|extension| extension.value.as_ref());
                Options::unpack(values.find(|any| any.name() == options::NAME))
            }
        }
    }

    fn answer(&self, result: &BootstrapResult) -> Result<Vec<u8>, ShimError> {
        Ok(match self {
            Asked::Bootstrap(_) => result.encode_to_vec(),
            Asked::Options(_) => serde_json::to_vec(result)?,
        })
    }
}

/// Carries out `start`, in the bundle.
///
/// # Errors
/// No socket can be made there, or no process.
pub fn start(arguments: &Arguments) -> Result<(), ShimError> {
    let bundle = arguments.bundle()?;
    let asked = Asked::read(&read_input()?, &arguments.id)?;
    let directory = match &asked {
        Asked::Bootstrap(parameters) if !parameters.socket_dir.is_empty() => {
            PathBuf::from(&parameters.socket_dir)
        }
        _ => PathBuf::from(SOCKETS),
    };
    let config_path = bundle.join("config.json");
    let config =
        std::fs::read(&config_path).map_err(|source| ShimError::file(config_path, source))?;
    let group = group(&config, &arguments.id);
    let path = socket_path(&directory, arguments, &group);
    let address = format!("unix://{}", path.display());
    if let Some(listener) = listen(&path)? {
        let shim = command(arguments, &bundle, &path, &asked);
        let spawned = spawn(shim, &bundle, listener, &asked.options()?);
        if spawned.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        spawned?;
    }
    // For a containerd before 1.7, and for whoever looks.
    let note = bundle.join("address");
    std::fs::write(&note, &address).map_err(|source| ShimError::file(note, source))?;
    print(&asked.answer(&BootstrapResult {
        version: 3,
        address,
        protocol: "ttrpc".to_owned(),
    })?)
}

/// What the container shares a shim by: its pod's id, or its own.
fn group(config: &[u8], id: &str) -> String {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    GROUPS
        .iter()
        .find_map(|name| config["annotations"][name].as_str())
        .unwrap_or(id)
        .to_owned()
}

/// The socket of a group: the same for whoever asks for the same group of the same containerd.
#[must_use]
pub fn socket_path(directory: &Path, arguments: &Arguments, group: &str) -> PathBuf {
    let named = Path::new(&arguments.address)
        .join(&arguments.namespace)
        .join(format!("gamut-{group}"));
    let digest = Sha256::digest(named.as_os_str().as_encoded_bytes());
    let name = digest.iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    directory.join(name)
}

/// Listens at `path`; `None`: a shim does already.
fn listen(path: &Path) -> Result<Option<UnixListener>, ShimError> {
    let at = |source| ShimError::file(path, source);
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(at)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Ok(None);
            }
            // Of a shim that was killed.
            std::fs::remove_file(path).map_err(at)?;
            UnixListener::bind(path)
        }
        other => other,
    };
    let listener = listener.map_err(at)?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(at)?;
    Ok(Some(listener))
}

/// The shim, as it is called.
fn command(arguments: &Arguments, bundle: &Path, socket: &Path, asked: &Asked) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(crate::PROGRAM_NAME);
    command.args(["-namespace", &arguments.namespace, "-id", &arguments.id]);
    command.args(["-address", &arguments.address]);
    command.arg("-socket").arg(socket);
    command.current_dir(bundle).env(ARENAS.0, ARENAS.1);
    if let Asked::Bootstrap(parameters) = asked
        && !parameters.ttrpc_address.is_empty()
    {
        command.env(EVENTS, &parameters.ttrpc_address);
    }
    command.process_group(0);
    command
}

/// Starts the shim. It must not hold what containerd reads until its end, which is our standard output.
fn spawn(
    mut command: Command,
    bundle: &Path,
    listener: UnixListener,
    options: &Options,
) -> Result<(), ShimError> {
    command.stdin(OwnedFd::from(listener));
    command.stdout(Stdio::null());
    command.stderr(log(bundle)?);
    let child = command.spawn().map_err(|source| ShimError::Spawn {
        program: crate::PROGRAM_NAME.into(),
        source,
    })?;
    place(child.id(), &options.shim_cgroup);
    Ok(())
}

/// containerd's FIFO for our words, if it is there.
fn log(bundle: &Path) -> Result<Stdio, ShimError> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(bundle.join("log"), flags, Mode::empty()) {
        Ok(fifo) => Ok(Stdio::from(File::from(fifo))),
        Err(_) => Ok(Stdio::null()),
    }
}

/// Makes the shim a little more likely to be killed for memory than containerd, which is our parent, and puts
/// it into the control group that the user names. Neither is worth a container that does not start.
fn place(pid: u32, group: &str) {
    let parent = rustix::process::getppid().map_or(1, |parent| parent.as_raw_nonzero().get());
    if let Ok(score) = std::fs::read_to_string(format!("/proc/{parent}/oom_score_adj")) {
        let score: i32 = score.trim().parse().unwrap_or(0);
        let score = (score + 1).min(1000).to_string();
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score);
    }
    if group.is_empty() {
        return;
    }
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = match host_version() {
        Version::V2 => vec![root.to_owned()],
        Version::V1 => std::fs::read_dir(root)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default(),
    };
    for hierarchy in hierarchies {
        let processes = hierarchy
            .join(group.trim_start_matches('/'))
            .join("cgroup.procs");
        if processes.exists() {
            let _ = std::fs::write(processes, pid.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_containers_are_one_group() {
        let config = br#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#;
        assert_eq!(group(config, "c"), "pod");
        assert_eq!(group(b"{}", "c"), "c");
        let arguments = Arguments {
            namespace: "k8s.io".to_owned(),
            address: "/run/containerd/containerd.sock".to_owned(),
            ..Arguments::default()
        };
        let path = |group| socket_path(Path::new(SOCKETS), &arguments, group);
        assert_eq!(path("pod"), path("pod"));
        assert_ne!(path("pod"), path("c"));
        let length = path("pod").as_os_str().len();
        assert!(length < 108, "fits into a socket's address: {length}");
    }

    #[test]
    fn both_ways_of_asking_are_told_apart() {
        let parameters = BootstrapParams {
            instance_id: "c".to_owned(),
            namespace: "n".to_owned(),
            ..BootstrapParams::default()
        };
        let asked = Asked::read(&parameters.encode_to_vec(), "c").unwrap();
        assert!(matches!(asked, Asked::Bootstrap(_)));
        let given = Options {
            binary_name: "crun".to_owned(),
            ..Options::default()
        };
        let any = Any::pack(options::NAME, &given);
        let asked = Asked::read(&any.encode_to_vec(), "c").unwrap();
        assert_eq!(asked.options().unwrap(), given);
        let asked = Asked::read(b"", "c").unwrap();
        assert!(matches!(asked, Asked::Options(None)));
    }

    #[test]
    fn a_socket_is_reused_while_somebody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = listen(&path).unwrap();
        assert!(listener.is_some());
        assert!(listen(&path).unwrap().is_none());
        drop(listener);
        assert!(listen(&path).unwrap().is_some(), "of a dead shim");
    }
}
