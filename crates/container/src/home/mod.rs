//! The home of a user without privileges: a user namespace in which that user is root, with the ids that
//! the host's administrator gave to the user, and with it a mount and a network namespace. Whatever gamut
//! does for the user is done in there, as root would do it.
//!
//! One process, the [`holder`], lives in it and does nothing, so that the namespaces outlive the commands. Each
//! command enters by it ([`Home::enter`]) and then starts over. user_namespaces(7), subuid(5).

mod error;
pub(crate) mod groups;
pub mod holder;
mod ranges;

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gamut_sys::process::{self, namespace};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

pub use error::HomeError;
pub use groups::{facts, group_of, has_route};
pub use ranges::Range;
use ranges::is_in_path;

use crate::launch::{idmap, subordinate};

/// Which home a program is in, as `UID:GID:DIRECTORY`: told to whatever is started in there.
pub const VARIABLE: &str = "GAMUT_HOME_OF";

/// How often a holder is looked for that is ending, and how long after the last time.
const TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(5);

/// Held by the holder for as long as it lives.
const ALIVE: &str = "alive";
/// The holder's process id.
const HOLDER: &str = "holder";
/// Held by who makes the home.
const MAKING: &str = "making";
/// The home's network namespace, mounted there: seen from inside of the home only.
const NETWORK: &str = "network";

/// Where a home is kept track of.
#[derive(Debug, Clone)]
pub struct Home {
    directory: PathBuf,
}

impl Home {
    /// The one below a directory of the user's own that does not outlive the boot.
    #[must_use]
    pub fn below(run: &Path) -> Home {
        Home {
            directory: run.join("home"),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What [`VARIABLE`] is, for a home of this user.
    #[must_use]
    pub fn word(&self, user: u32, group: u32) -> OsString {
        let mut word = OsString::from(format!("{user}:{group}:"));
        word.push(&self.directory);
        word
    }

    /// The file that is the home's network namespace, for who is in the home.
    #[must_use]
    pub fn network(&self) -> PathBuf {
        self.file(NETWORK)
    }

    /// Goes into the home, which is made if it is not there. The caller has one thread, and stays where it
    /// was in the file system.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn enter(&self) -> Result<(), HomeError> {
        let here = std::env::current_dir();
        let mut tries = 0;
        loop {
            let holder = match self.holder()? {
                Some(holder) => holder,
                None => self.make()?,
            };
            match process::join(holder.as_fd(), namespace::USER | namespace::MOUNT) {
                Ok(()) => break,
                // It is ending, and has not let go of its lock yet.
                Err(Errno::SRCH) if tries < TRIES => tries += 1,
                Err(errno) => return Err(HomeError::Enter(errno)),
            }
            std::thread::sleep(PAUSE);
        }
        // A mount namespace is entered at its root.
        if let Ok(here) = here {
            let _ = std::env::set_current_dir(here);
        }
        Ok(())
    }

    /// The process that holds it, if there is one.
    fn holder(&self) -> Result<Option<OwnedFd>, HomeError> {
        let Ok(alive) = File::open(self.file(ALIVE)) else {
            return Ok(None);
        };
        let is_held = || {
            let tried = rustix::fs::flock(&alive, FlockOperation::NonBlockingLockShared);
            let free = tried.is_ok();
            if free {
                let _ = rustix::fs::flock(&alive, FlockOperation::Unlock);
            }
            !free
        };
        let number = std::fs::read_to_string(self.file(HOLDER));
        let number = number.ok().and_then(|text| text.trim().parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let Ok(holder) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(None);
        };
        // Only now is it certain that the number did not come to mean another process.
        Ok(is_held().then_some(holder))
    }

    /// Makes the home, unless somebody else has by now.
    fn make(&self) -> Result<OwnedFd, HomeError> {
        own_directory(&self.directory)?;
        let path = self.file(MAKING);
        let making = writable(&path).map_err(at(&path))?;
        rustix::fs::flock(&making, FlockOperation::LockExclusive)
            .map_err(|errno| at(&path)(errno.into()))?;
        if let Some(holder) = self.holder()? {
            return Ok(holder);
        }
        let maps = ranges::maps()?;
        let (mut ours, theirs) = UnixStream::pair().map_err(HomeError::Start)?;
        let mut child = Command::new("/proc/self/exe")
            .arg0(holder::PROGRAM_NAME)
            .arg(&self.directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(HomeError::Start)?;
        let done = accompany(&mut ours, child.id(), &maps);
        if let Err(error) = done {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        self.holder()?.ok_or(HomeError::Gone)
    }
}

/// Sees the holder through to its rest.
fn accompany(socket: &mut UnixStream, child: u32, maps: &idmap::Maps) -> Result<(), HomeError> {
    holder::heard(socket)?;
    let child = Pid::from_raw(child as i32).ok_or(HomeError::Gone)?;
    subordinate::write(maps, child)?;
    socket.write_all(&[0; 4]).map_err(HomeError::Start)?;
    holder::heard(socket)
}

/// A directory that nobody but the caller can look into.
fn own_directory(path: &Path) -> Result<(), HomeError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(at(path))?;
    let found = std::fs::symlink_metadata(path).map_err(at(path))?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own || found.mode() & 0o022 != 0 || !found.is_dir() {
        return Err(HomeError::Strange(path.to_owned()));
    }
    Ok(())
}

fn writable(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    options.open(path)
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::File { path, source }
}

/// The home that a process is in.
#[derive(Debug, Clone)]
pub struct Resident {
    /// The host's ids of the user.
    pub user: u32,
    pub group: u32,
    pub home: Home,
}

/// Which home this process is in.
#[must_use]
pub fn resident() -> Option<Resident> {
    let text = std::env::var(VARIABLE).ok()?;
    let mut parts = text.splitn(3, ':');
    let resident = Resident {
        user: parts.next()?.parse().ok()?,
        group: parts.next()?.parse().ok()?,
        home: Home {
            directory: parts.next()?.into(),
        },
    };
    (gamut_sys::user_namespace::is_first() == Some(false)).then_some(resident)
}

/// What a home would lack, for a user that is not in one.
#[must_use]
pub fn lack() -> Option<HomeError> {
    ranges::maps().err()
}
