//! `cp`: files between a container and the host, as tar archives from one to the other.
//!
//! What is meant by a path is Docker's: a source that ends in `/.` is a directory's content; a
//! destination that is a directory takes the source into it, one that is not there gives it a new
//! name. A path in a container is resolved by the kernel with the container's root for `/`. A
//! container that runs shows what is mounted in it; one that does not, its volumes and binds.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use gamut_plan::Phase;
use gamut_plan::launch::LaunchPlan;
use gamut_spec::{Fault, Kind};
use gamut_store::extract::{ExtractError, Owner, extract};
use gamut_store::tar::{self, IdMap, Produced, TarError};
use gamut_store::unpack::Warning;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::place::{Ending, Place};
use crate::{record, roots};

/// Why something could not be copied.
#[derive(Debug, Error)]
pub enum CopyError {
    #[error("there is no `{0}`")]
    NotFound(String),
    #[error("`{0}` is no directory")]
    NotDirectory(String),
    #[error("`{source_path}` is a directory, and `{target}` is none")]
    DirectoryOverFile { source_path: String, target: String },
    #[error("the directory of `{0}` does not exist")]
    NoParent(String),
    #[error("cannot open `{path}`: {errno}")]
    Open { path: String, errno: Errno },
    #[error("nothing can be copied into `{0}` while its machine runs: its kernel has the files")]
    MachineRuns(String),
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

impl Fault for CopyError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::NoParent(_) => Kind::NotFound,
            Self::NotDirectory(_) | Self::DirectoryOverFile { .. } => Kind::Invalid,
            Self::MachineRuns(_) => Kind::Conflict,
            Self::Open { errno, .. } => match *errno {
                Errno::ACCESS | Errno::PERM | Errno::ROFS => Kind::Denied,
                _ => Kind::Invalid,
            },
            Self::Tar(error) => error.kind(),
            Self::Extract(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Tar(error) => error.hint(),
            Self::Extract(error) => error.hint(),
            Self::NoParent(_) => Some("make it first".into()),
            Self::MachineRuns(_) => Some(
                "stop it first; what is to be shared goes by `--volume`, and a stream by `gamut exec -i`"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// Whether a link that is named as the source is copied, or what it leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Follow {
    #[default]
    No,
    Yes,
}

/// Whose the copied files are in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CopyOwner {
    /// The numbers of the source.
    #[default]
    Same,
    /// The user that the container runs as.
    OfContainer,
}

/// What was copied.
#[derive(Debug, Clone, Default)]
pub struct Copied {
    /// Bytes of the archive in between.
    pub bytes: u64,
    /// What could not be kept.
    pub warnings: Vec<Warning>,
}

impl Engine {
    /// Copies `path` of a container to `to` on the host.
    ///
    /// # Errors
    /// [`CopyError`]. What has been copied before stays.
    pub fn copy_out(
        &mut self,
        named: &str,
        path: &Path,
        to: &Path,
        follow: Follow,
    ) -> Result<Copied, EngineError> {
        let root = self.open_root(named, Purpose::Read)?;
        let source = Place::source(&root.tree, path, follow)?;
        let host = host_root()?;
        let target = Place::target(&host, &absolute(to)?)?;
        copy(
            source,
            &root.ids,
            &target,
            Owner::Extractor,
            &IdMap::default(),
        )
    }

    /// Writes `path` of a container as a tar.
    ///
    /// # Errors
    /// [`CopyError`]; what is written then is no archive.
    pub fn copy_out_archive(
        &mut self,
        named: &str,
        path: &Path,
        follow: Follow,
        out: impl Write,
    ) -> Result<(), EngineError> {
        let root = self.open_root(named, Purpose::Read)?;
        let source = Place::source(&root.tree, path, follow)?;
        let renamed = match source.ending {
            Ending::Content => OsStr::new(""),
            _ => &source.called,
        };
        let directory = source.parent.as_fd();
        tar::copy(directory, &source.name, renamed, &root.ids, out).map_err(CopyError::from)?;
        Ok(())
    }

    /// Copies `from` on the host to `path` of a container.
    ///
    /// # Errors
    /// [`CopyError`]. What has been copied before stays.
    pub fn copy_in(
        &mut self,
        from: &Path,
        named: &str,
        path: &Path,
        follow: Follow,
        owner: CopyOwner,
    ) -> Result<Copied, EngineError> {
        let root = self.open_root(named, Purpose::Write)?;
        let host = host_root()?;
        let source = Place::source(&host, &absolute(from)?, follow)?;
        let target = Place::target(&root.tree, path)?;
        let owner = root.owner(owner)?;
        copy(source, &IdMap::default(), &target, owner, &root.ids)
    }

    /// Extracts a tar, which may be compressed, in the directory `path` of a container.
    ///
    /// # Errors
    /// [`CopyError`]. What has been extracted before stays.
    pub fn copy_in_archive(
        &mut self,
        archive: impl Read + Send,
        named: &str,
        path: &Path,
        owner: CopyOwner,
    ) -> Result<Copied, EngineError> {
        let root = self.open_root(named, Purpose::Write)?;
        let target = Place::target(&root.tree, path)?;
        if !target.is_directory() {
            return Err(CopyError::NotDirectory(target.shown).into());
        }
        let into = target.open()?;
        let owner = root.owner(owner)?;
        let mut counted = Counted {
            stream: archive,
            bytes: 0,
        };
        let warnings = extract(&mut counted, into.as_fd(), owner, &root.ids);
        Ok(Copied {
            warnings: warnings.map_err(CopyError::from)?.kept,
            bytes: counted.bytes,
        })
    }

    fn open_root(&mut self, named: &str, purpose: Purpose) -> Result<Root, EngineError> {
        for _ in 0..3 {
            let view = self.container(named)?;
            let dirs = self.dirs.container(&view.row.id);
            let plan = record::read_plan(&dirs)?;
            let ids = roots::ids(&plan);
            let runs = matches!(view.status.phase, Phase::Running | Phase::Paused);
            let (tree, lock) = if runs && plan.machine.is_some() {
                match purpose {
                    // What its kernel has written, without what is mounted in it.
                    Purpose::Read => (roots::container_tree(&plan)?, None),
                    Purpose::Write => return Err(CopyError::MachineRuns(view.row.name).into()),
                }
            } else if runs {
                // It may end meanwhile: then it is looked at again.
                let Some(tree) = live_root(view.status.pid) else {
                    continue;
                };
                if self.container(named)?.status.pid != view.status.pid {
                    continue;
                }
                (tree, None)
            } else {
                let Some(lock) = record::try_lock(&dirs)? else {
                    continue;
                };
                self.remount(&view)?;
                let tree =
                    gamut_container::still_root(&plan).map_err(crate::client::ClientError::from)?;
                (tree, Some(lock))
            };
            return Ok(Root {
                tree,
                ids,
                plan,
                _lock: lock,
            });
        }
        let name = self.store.db().container(named)?.name;
        Err(EngineError::Busy { name })
    }
}

/// What a container's root is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
}

/// A container's root, to be read and written.
struct Root {
    tree: OwnedFd,
    ids: IdMap,
    plan: LaunchPlan,
    /// Of one that does not run: nobody starts it meanwhile.
    _lock: Option<OwnedFd>,
}

impl Root {
    fn owner(&self, owner: CopyOwner) -> Result<Owner, EngineError> {
        if owner == CopyOwner::Same || self.plan.user.user.is_empty() {
            return Ok(Owner::AsSaid);
        }
        let user = gamut_container::user_of(self.tree.as_fd(), &self.plan);
        let (uid, gid) = user.map_err(crate::client::ClientError::from)?;
        Ok(Owner::Fixed(uid, gid))
    }
}

/// The root of a process, with what is mounted in it: proc_pid_root(5). `None`: it has ended.
fn live_root(pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()
}

fn host_root() -> Result<OwnedFd, CopyError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty()).map_err(|errno| CopyError::Open {
        path: "/".to_owned(),
        errno,
    })
}

/// A path of the host from its root; what its end says is kept.
fn absolute(path: &Path) -> Result<PathBuf, EngineError> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let here = std::env::current_dir().map_err(|source| EngineError::HostPath {
        path: ".".to_owned(),
        source,
    })?;
    let joined = [
        here.as_os_str().as_bytes(),
        b"/",
        path.as_os_str().as_bytes(),
    ]
    .concat();
    Ok(PathBuf::from(OsString::from_vec(joined)))
}

/// Docker's rules of what goes where (docker container cp, "Extended description").
fn copy(
    source: Place,
    ids: &IdMap,
    target: &Place,
    owner: Owner,
    target_ids: &IdMap,
) -> Result<Copied, EngineError> {
    let source_is_directory = source.is_directory();
    let (into, renamed) = if target.is_directory() {
        let renamed = match source.ending {
            Ending::Content => OsString::new(),
            _ => source.called.clone(),
        };
        (target.open()?, renamed)
    } else {
        if target.found.is_some() && source_is_directory {
            return Err(CopyError::DirectoryOverFile {
                source_path: source.shown,
                target: target.shown.clone(),
            }
            .into());
        }
        if target.ending != Ending::Nothing && !source_is_directory {
            return Err(CopyError::NotDirectory(target.shown.clone()).into());
        }
        let into = rustix::io::fcntl_dupfd_cloexec(&target.parent, 0);
        let into = into.map_err(|errno| CopyError::Open {
            path: target.shown.clone(),
            errno,
        })?;
        (into, target.name.clone())
    };
    let ids = ids.clone();
    let produced = tar::produce(move |out| {
        let directory = source.parent.as_fd();
        tar::copy(directory, &source.name, &renamed, &ids, out).map(drop)
    });
    let stream: Produced<TarError> =
        produced.map_err(|error| CopyError::from(TarError::Write(error)))?;
    let mut counted = Counted { stream, bytes: 0 };
    let extracted = extract(&mut counted, into.as_fd(), owner, target_ids);
    let bytes = counted.bytes;
    match (extracted, counted.stream.into_failure()) {
        (Ok(warnings), _) => Ok(Copied {
            bytes,
            warnings: warnings.kept,
        }),
        (Err(_), Some(error)) => Err(CopyError::from(error).into()),
        (Err(error), None) => Err(CopyError::from(error).into()),
    }
}

struct Counted<R> {
    stream: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}
