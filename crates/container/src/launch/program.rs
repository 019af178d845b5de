//! The user's program: who it is, what it may do, where its streams go, and how a child of ours
//! becomes it. Between clone and exec: nothing here allocates.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_sys::process::{self, StringArray};
use gamut_sys::seccomp;
use gamut_sys::signal;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::manner::Manner;
use super::step::{At, Failure, Phase, PhaseMark, Step};

/// What both a start's and an exec's child do last: become the user's program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) terminal: bool,
    pub(crate) cwd: CString,
    /// Who it is: what follows, or whoever starts it.
    pub(crate) runs_as: RunsAs,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<Gid>,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Option<(seccomp::Program, seccomp::Flags)>,
    pub(crate) umask: u32,
    pub(crate) manner: Manner,
    pub(crate) life: Life,
    /// How many descriptors from 3 on the program inherits.
    pub(crate) preserved: u32,
    /// Where the program may be, in the order of PATH.
    pub(crate) candidates: Vec<CString>,
    pub(crate) args: StringArray,
    pub(crate) env: StringArray,
}

/// Whose rights a program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunsAs {
    /// Those of the process that makes it.
    Caller,
    User,
}

/// The five sets as bit masks; capabilities(7).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capabilities {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// The packet that carries a filter's listener: shorter than any other.
pub(super) const LISTENER: &[u8] = b"l";

/// Whether phases are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traced {
    No,
    Yes,
}

/// Whether a process goes with the one that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    WithParent,
    ItsOwn,
}

impl Life {
    /// Ties it, or unties it; prctl(2), PR_SET_PDEATHSIG.
    pub(crate) fn apply(self) -> Result<(), Failure> {
        let signal = match self {
            Life::WithParent => Some(Signal::KILL),
            Life::ItsOwn => None,
        };
        rustix::process::set_parent_process_death_signal(signal).at(Step::DeathSignal)
    }
}

impl Program {
    /// Whether there is a program to be executed, before there is nobody any more to tell.
    pub(super) fn look_for(&self) -> Result<(), Failure> {
        enter(&self.cwd).at(Step::WorkingDirectory)?;
        let mut failure = Failure::new(Step::Exec, Errno::NOENT);
        for (index, candidate) in self.candidates.iter().enumerate() {
            let Ok(stat) = rustix::fs::stat(candidate.as_c_str()) else {
                continue;
            };
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if regular && stat.st_mode & 0o111 != 0 {
                return Ok(());
            }
            failure = Failure {
                step: Step::Exec,
                index: index as u16,
                errno: Errno::ACCESS,
            };
        }
        Err(failure)
    }

    /// Gives the process its streams, and its terminal.
    pub(super) fn take_streams(&self) -> Result<(), Failure> {
        if self.terminal {
            rustix::process::ioctl_tiocsctty(&self.stdin).at(Step::Terminal)?;
            // Its user may open it anew; one without a place in the user namespace may not.
            let _ = rustix::fs::fchown(&self.stdin, Some(Uid::from_raw(self.uid)), None);
        }
        let given = [&self.stdin, &self.stdout, &self.stderr];
        let null = match given.into_iter().any(is_null) {
            true => own_null(),
            false => None,
        };
        let [stdin, stdout, stderr] = given.map(|stream| match &null {
            Some(null) if is_null(stream) => null.as_fd(),
            _ => stream.as_fd(),
        });
        process::install_stdio(stdin, stdout, stderr).at(Step::Streams)
    }

    /// Streams, then the rest.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub(crate) fn begin(
        &self,
        parent: BorrowedFd<'_>,
        traced: Traced,
    ) -> Result<std::convert::Infallible, Failure> {
        self.take_streams()?;
        self.execute(parent, traced)
    }

    /// Directory, identity, privileges, filter, exec; in this order, because each takes away what
    /// the ones before it need.
    ///
    /// `parent` hears of the phase if it is `traced`, and is given the listener of a filter that
    /// asks a supervisor.
    pub(super) fn execute(
        &self,
        parent: BorrowedFd<'_>,
        traced: Traced,
    ) -> Result<std::convert::Infallible, Failure> {
        process::close_on_exec_from(3 + self.preserved).at(Step::Descriptors)?;
        rustix::process::umask(Mode::from_raw_mode(self.umask));
        self.manner.apply()?;
        // A filter may know nothing of openat2.
        let directory = open_directory(&self.cwd);
        let changes = self.runs_as == RunsAs::User;
        if changes {
            drop_bounding(self.capabilities.bounding).at(Step::BoundingSet)?;
        }
        if !self.no_new_privileges {
            // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go.
            self.install_filter(parent)?;
        }
        if changes {
            self.change_user()?;
        }
        match directory {
            Ok(directory) => rustix::process::fchdir(directory),
            // Root may be kept out of what is another's (NFS, FUSE).
            Err(Errno::ACCESS) => enter(&self.cwd),
            Err(errno) => Err(errno),
        }
        .at(Step::WorkingDirectory)?;
        if changes {
            self.set_capabilities().at(Step::Capabilities)?;
        }
        // A change of identity clears it (prctl(2)).
        self.life.apply()?;
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)?;
            self.install_filter(parent)?;
        }
        signal::reset_for_exec();
        if traced == Traced::Yes {
            let _ = rustix::io::write(parent, &PhaseMark::now(Phase::Executing));
        }
        let mut failure = Failure::new(Step::Exec, Errno::NOENT);
        for (index, candidate) in self.candidates.iter().enumerate() {
            let errno = process::execve(candidate, &self.args, &self.env);
            let seen = Failure {
                step: Step::Exec,
                index: index as u16,
                errno,
            };
            match errno {
                Errno::NOENT if rustix::fs::stat(candidate.as_c_str()).is_ok() => {
                    return Err(Failure {
                        step: Step::Interpreter,
                        ..seen
                    });
                }
                // What is not there must not hide what was there and could not be run.
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => failure = seen,
                _ => return Err(seen),
            }
        }
        Err(failure)
    }

    /// With all capabilities kept for now.
    fn change_user(&self) -> Result<(), Failure> {
        rustix::thread::set_keep_capabilities(true).at(Step::User)?;
        set_groups(&self.groups).at(Step::Groups)?;
        let (gid, uid) = (Gid::from_raw(self.gid), Uid::from_raw(self.uid));
        rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::Groups)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::User)?;
        rustix::thread::set_keep_capabilities(false).at(Step::User)
    }

    fn install_filter(&self, parent: BorrowedFd<'_>) -> Result<(), Failure> {
        let Some((program, flags)) = &self.seccomp else {
            return Ok(());
        };
        let listener = seccomp::set_filter(program.instructions(), *flags).at(Step::Seccomp)?;
        match listener {
            Some(listener) => {
                gamut_sys::socket::send(parent, &[LISTENER], &[listener.as_fd()]).at(Step::Seccomp)
            }
            None => Ok(()),
        }
    }

    fn set_capabilities(&self) -> Result<(), Errno> {
        let set = CapabilitySet::from_bits_retain;
        let sets = CapabilitySets {
            effective: set(self.capabilities.effective),
            permitted: set(self.capabilities.permitted),
            inheritable: set(self.capabilities.inheritable),
        };
        rustix::thread::set_capabilities(None, sets)?;
        for number in bits(self.capabilities.ambient) {
            rustix::thread::configure_capability_in_ambient_set(set(1 << number), true)?;
        }
        Ok(())
    }
}

/// The null device as the workload itself could open it. The host's, which somebody gave as a stream, is
/// outside of all that a profile of AppArmor or a checkpoint knows.
fn own_null() -> Option<OwnedFd> {
    const PATH: &CStr = c"/dev/null";
    // Something else there is not to be opened at all.
    rustix::fs::stat(PATH).ok().filter(means_null)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::open(PATH, flags, Mode::empty()).ok();
    opened.filter(is_null)
}

fn is_null(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| means_null(&stat))
}

fn means_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Sets the supplementary groups. A user namespace that its user made forbids that (user_namespaces(7),
/// "The /proc/pid/setgroups file"): there those of the user stay, and no others can be had.
pub(super) fn set_groups(groups: &[Gid]) -> Result<(), Errno> {
    match rustix::thread::set_thread_groups(groups) {
        Err(Errno::PERM) if groups.is_empty() => {
            let ours = rustix::thread::capabilities(None)?.effective;
            // Without the capability it would be for another reason.
            if ours.contains(CapabilitySet::SETGID) {
                Ok(())
            } else {
                Err(Errno::PERM)
            }
        }
        other => other,
    }
}

/// Opens a working directory. Not by a link of the kernel's own: `/proc/self/fd/N` leads to whatever
/// this process still has open, which is the host's (CVE-2024-21626).
fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
}

fn enter(path: &CStr) -> Result<(), Errno> {
    rustix::process::fchdir(open_directory(path)?)
}

fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |n| mask & (1 << n) != 0)
}

/// Drops what is not in `keep`; the kernel says `EINVAL` past the last capability that it knows.
fn drop_bounding(keep: u64) -> Result<(), Errno> {
    for number in bits(!keep) {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
