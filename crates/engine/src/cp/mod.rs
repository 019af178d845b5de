//! `cp`: files between a container and the host, as tar archives from one to the other.
//!
//! What is meant by a path is Docker's: a source that ends in `/.` is a directory's content; a
//! destination that is a directory takes the source into it, one that is not there gives it a new
//! name. A path in a container is resolved by the kernel with the container's root for `/`. A
//! container that runs shows what is mounted in it; one that does not, its volumes and binds. A machine that
//! runs has its agent do all of it ([`machine`]).

mod machine;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use gamut_plan::Phase;
use gamut_plan::guest::Into;
use gamut_plan::launch::LaunchPlan;
use gamut_spec::{Fault, Kind};
use gamut_store::extract::{ExtractError, Owner, extract, uncompressed};
use gamut_store::place::{Ending, Place, PlaceError};
use gamut_store::tar::{self, IdMap, Produced, TarError};
use gamut_store::unpack::Warning;
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::{record, roots};
use machine::{Doing, Machine};

pub use gamut_store::place::Follow;

/// Why something could not be copied.
#[derive(Debug, Error)]
pub enum CopyError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("`{source_path}` is a directory, and `{target}` is none")]
    DirectoryOverFile { source_path: String, target: String },
    /// In a machine, in its agent's words.
    #[error("{message}")]
    InMachine {
        kind: Kind,
        message: String,
        hint: Option<String>,
    },
    #[error("the machine has ended, or its agent says what is not understood")]
    Machine,
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

impl Fault for CopyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Place(error) => error.kind(),
            Self::DirectoryOverFile { .. } => Kind::Invalid,
            Self::InMachine { kind, .. } => *kind,
            Self::Machine => Kind::Unavailable,
            Self::Tar(error) => error.kind(),
            Self::Extract(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Tar(error) => error.hint(),
            Self::Extract(error) => error.hint(),
            Self::Place(error) => error.hint(),
            Self::InMachine { hint, .. } => hint.clone(),
            _ => None,
        }
    }
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
        let host = host_root()?;
        let to = absolute(to)?;
        let root = self.open_root(named)?;
        if let Files::Machine(machine) = &root.files {
            let source = machine.source(path, follow)?;
            let target = Place::target(&host, &to).map_err(CopyError::from)?;
            let (into, renamed) = goes(&source, &End::of(&target))?;
            let into = directory(&target, into)?;
            let (stream, doing) = machine.pack(path, follow, &renamed)?;
            let mut counted = Counted { stream, bytes: 0 };
            let extracted = extract(
                &mut counted,
                into.as_fd(),
                Owner::Extractor,
                &IdMap::default(),
            );
            // Why it packed no more explains best what came.
            doing.finish()?;
            return Ok(Copied {
                bytes: counted.bytes,
                warnings: extracted.map_err(CopyError::from)?.kept,
            });
        }
        let source = Place::source(root.tree()?, path, follow).map_err(CopyError::from)?;
        let target = Place::target(&host, &to).map_err(CopyError::from)?;
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
        mut out: impl Write,
    ) -> Result<(), EngineError> {
        let root = self.open_root(named)?;
        let renamed = |ending, called: &OsStr| match ending {
            Ending::Content => OsString::new(),
            _ => called.to_owned(),
        };
        if let Files::Machine(machine) = &root.files {
            let source = machine.source(path, follow)?;
            let renamed = renamed(source.ending, &source.called);
            let (mut stream, doing) = machine.pack(path, follow, &renamed)?;
            let copied = io::copy(&mut stream, &mut out);
            drop(stream);
            copied.map_err(|error| CopyError::from(TarError::Write(error)))?;
            return Ok(doing.finish().map(drop)?);
        }
        let source = Place::source(root.tree()?, path, follow).map_err(CopyError::from)?;
        let renamed = renamed(source.ending, &source.called);
        let directory = source.parent.as_fd();
        tar::copy(directory, &source.name, &renamed, &root.ids, out).map_err(CopyError::from)?;
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
        let root = self.open_root(named)?;
        let host = host_root()?;
        let source = Place::source(&host, &absolute(from)?, follow).map_err(CopyError::from)?;
        let owner = root.owner(owner)?;
        if let Files::Machine(machine) = &root.files {
            let (into, renamed) = goes(&End::of(&source), &machine.target(path)?)?;
            let (mut stream, doing) = machine.unpack(path, into, owner)?;
            let mut produced = pack(source, IdMap::default(), renamed)?;
            let sent = io::copy(&mut produced, &mut stream);
            drop(stream);
            return arrived(sent, produced.into_failure(), doing);
        }
        let target = Place::target(root.tree()?, path).map_err(CopyError::from)?;
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
        let root = self.open_root(named)?;
        let owner = root.owner(owner)?;
        let not_directory = |shown| CopyError::from(PlaceError::NotDirectory(shown));
        if let Files::Machine(machine) = &root.files {
            let target = machine.target(path)?;
            if !target.is_directory {
                return Err(not_directory(target.shown).into());
            }
            let (mut stream, doing) = machine.unpack(path, Into::It, owner)?;
            let mut archive = uncompressed(archive).map_err(CopyError::from)?;
            let sent = io::copy(&mut archive, &mut stream);
            drop(stream);
            return arrived(sent, None, doing);
        }
        let target = Place::target(root.tree()?, path).map_err(CopyError::from)?;
        if !target.is_directory() {
            return Err(not_directory(target.shown).into());
        }
        let into = target.open().map_err(CopyError::from)?;
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

    fn open_root(&mut self, named: &str) -> Result<Root, EngineError> {
        for _ in 0..3 {
            let view = self.container(named)?;
            let dirs = self.dirs.container(&view.row.id);
            let plan = record::read_plan(&dirs)?;
            let ids = roots::ids(&plan);
            let runs = matches!(view.status.phase, Phase::Running | Phase::Paused);
            let (files, lock) = if runs && plan.machine.is_some() {
                (Files::Machine(Machine::of(dirs)), None)
            } else if runs {
                // It may end meanwhile: then it is looked at again.
                let Some(tree) = live_root(view.status.pid) else {
                    continue;
                };
                if self.container(named)?.status.pid != view.status.pid {
                    continue;
                }
                (Files::Tree(tree), None)
            } else {
                let Some(lock) = record::try_lock(&dirs)? else {
                    continue;
                };
                self.remount(&view)?;
                let tree =
                    gamut_container::still_root(&plan).map_err(crate::client::ClientError::from)?;
                (Files::Tree(tree), Some(lock))
            };
            return Ok(Root {
                files,
                ids,
                plan,
                _lock: lock,
            });
        }
        let name = self.store.db().container(named)?.name;
        Err(EngineError::Busy { name })
    }
}

/// Where a container's files are.
enum Files {
    Tree(OwnedFd),
    Machine(Machine),
}

/// A container's root, to be read and written.
struct Root {
    files: Files,
    ids: IdMap,
    plan: LaunchPlan,
    /// Of one that does not run: nobody starts it meanwhile.
    _lock: Option<OwnedFd>,
}

impl Root {
    fn tree(&self) -> Result<&OwnedFd, CopyError> {
        match &self.files {
            Files::Tree(tree) => Ok(tree),
            Files::Machine(_) => Err(CopyError::Machine),
        }
    }

    fn owner(&self, owner: CopyOwner) -> Result<Owner, EngineError> {
        if owner == CopyOwner::Same || self.plan.user.user.is_empty() {
            return Ok(Owner::AsSaid);
        }
        let user = match &self.files {
            Files::Tree(tree) => gamut_container::user_of(tree.as_fd(), &self.plan),
            // The users that its kernel has written down.
            Files::Machine(_) => {
                gamut_container::user_of(roots::container_tree(&self.plan)?.as_fd(), &self.plan)
            }
        };
        let (uid, gid) = user.map_err(crate::client::ClientError::from)?;
        Ok(Owner::Fixed(uid, gid))
    }
}

/// What was sent into a machine has arrived, or why not.
fn arrived(
    sent: io::Result<u64>,
    failure: Option<TarError>,
    doing: Doing,
) -> Result<Copied, EngineError> {
    if let Some(error) = failure {
        return Err(CopyError::from(error).into());
    }
    // Who stops reading says why.
    let warnings = doing.finish()?;
    let bytes = sent.map_err(|error| CopyError::from(TarError::Write(error)))?;
    Ok(Copied { bytes, warnings })
}

/// The root of a process, with what is mounted in it: proc_pid_root(5). `None`: it has ended.
fn live_root(pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()
}

fn host_root() -> Result<OwnedFd, CopyError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty());
    Ok(root.map_err(|errno| PlaceError::Open {
        path: "/".to_owned(),
        errno,
    })?)
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

/// An end of a copy, as the rules look at it.
#[derive(Debug)]
struct End {
    is_there: bool,
    is_directory: bool,
    ending: Ending,
    /// In its directory.
    name: OsString,
    /// As it was written.
    called: OsString,
    shown: String,
}

impl End {
    fn of(place: &Place) -> Self {
        Self {
            is_there: place.found.is_some(),
            is_directory: place.is_directory(),
            ending: place.ending,
            name: place.name.clone(),
            called: place.called.clone(),
            shown: place.shown.clone(),
        }
    }
}

/// Docker's rules of what goes where, and by which name (docker container cp, "Extended description").
fn goes(source: &End, target: &End) -> Result<(Into, OsString), CopyError> {
    if target.is_directory {
        let renamed = match source.ending {
            Ending::Content => OsString::new(),
            _ => source.called.clone(),
        };
        return Ok((Into::It, renamed));
    }
    if target.is_there && source.is_directory {
        return Err(CopyError::DirectoryOverFile {
            source_path: source.shown.clone(),
            target: target.shown.clone(),
        });
    }
    if target.ending != Ending::Nothing && !source.is_directory {
        return Err(PlaceError::NotDirectory(target.shown.clone()).into());
    }
    Ok((Into::ItsParent, target.name.clone()))
}

fn directory(target: &Place, into: Into) -> Result<OwnedFd, CopyError> {
    if into == Into::It {
        return Ok(target.open()?);
    }
    let parent = rustix::io::fcntl_dupfd_cloexec(&target.parent, 0);
    Ok(parent.map_err(|errno| PlaceError::Open {
        path: target.shown.clone(),
        errno,
    })?)
}

/// A tar of a place, written by a thread.
fn pack(source: Place, ids: IdMap, renamed: OsString) -> Result<Produced<TarError>, CopyError> {
    let produced = tar::produce(move |out| {
        let directory = source.parent.as_fd();
        tar::copy(directory, &source.name, &renamed, &ids, out).map(drop)
    });
    produced.map_err(|error| CopyError::from(TarError::Write(error)))
}

fn copy(
    source: Place,
    ids: &IdMap,
    target: &Place,
    owner: Owner,
    target_ids: &IdMap,
) -> Result<Copied, EngineError> {
    let (into, renamed) = goes(&End::of(&source), &End::of(target))?;
    let into = directory(target, into)?;
    let stream = pack(source, ids.clone(), renamed)?;
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
