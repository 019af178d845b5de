//! A jail for a process of ours that somebody hostile speaks to: a machine's monitor, which carries out
//! what a guest puts into its memory, and the server of a guest's files. Made of the parts that a
//! container is made of, but put on by the process itself, when it has all the descriptors it will ever
//! need ([`Jail::enter`]).
//!
//! Inside there is nothing: an empty root that cannot be written to (or the tree that is to be served),
//! no /proc, namespaces of its own, nobody's ids, no capabilities, no way to others by Landlock and by a
//! filter of system calls ([`filter`]). What remains are the descriptors that were kept and what needs no
//! name: memory, eventfds, threads. Who is to have a pid namespace, too, is started by
//! [`gamut_sys::spawn`]: a process cannot enter one. Filters for single threads, with what each of them may
//! call, come on top and are their owners' business.
//!
//! `crates/container/tests/jail.rs` tries what a jailed process cannot do.

mod filter;
mod root;

use std::os::fd::{BorrowedFd, OwnedFd};

use gamut_plan::caps::CapSet;
use gamut_spec::{Fault, Kind};
use gamut_sys::landlock::{self, GivenUp};
use gamut_sys::process::{self, namespace};
use gamut_sys::seccomp::set_filter;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::seccomp::SeccompError;
pub use root::{Access, Root, Share};

/// The ids of a process that is nobody.
pub const NOBODY: u32 = 65534;

/// The network that a process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own, in which not even the loopback is up.
    None,
    /// The one it is in: what it holds of it works by descriptors only, all the same.
    Kept,
}

/// What a jail is to be.
#[derive(Debug)]
pub struct Jail<'a> {
    pub root: Root<'a>,
    pub network: Network,
    /// Files by which a control group is entered (`cgroup.procs`), open for writing.
    pub groups: &'a [OwnedFd],
    pub uid: u32,
    pub gid: u32,
    /// What it keeps of its capabilities.
    pub capabilities: CapSet,
    /// The most descriptors it may have.
    pub descriptors_max: u64,
    pub kept: Kept<'a>,
}

/// The descriptors that stay open besides the three standard ones.
#[derive(Debug, Clone, Copy)]
pub enum Kept<'a> {
    /// What it has: it was started with the standard ones alone ([`gamut_sys::spawn`]), so all are its own.
    Own,
    These(&'a [BorrowedFd<'a>]),
}

/// Where the way into a jail ended.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    #[error("cannot {step} on the way into the jail")]
    Step { step: &'static str, source: Errno },
    #[error("the jail's filter of system calls is no filter")]
    Filter(#[from] SeccompError),
}

impl Fault for JailError {
    fn kind(&self) -> Kind {
        match self {
            Self::Step { .. } => Kind::HostLacks,
            Self::Filter(_) => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Step {
                source: Errno::PERM | Errno::ACCESS,
                ..
            } => Some("gamut needs root to jail a machine's processes".to_owned()),
            _ => None,
        }
    }
}

/// Names the step that failed.
trait At<T> {
    fn at(self, step: &'static str) -> Result<T, JailError>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: &'static str) -> Result<T, JailError> {
        self.map_err(|source| JailError::Step { step, source })
    }
}

impl Jail<'_> {
    /// Puts the calling process into the jail, for good. It must have one thread, and must own no
    /// descriptors but the standard ones and [`Kept::These`], because all others are closed behind their
    /// owners' backs. It is killed when its parent dies.
    ///
    /// # Errors
    /// The step that failed; what was given up until then stays given up, so the process should end.
    pub fn enter(&self) -> Result<(), JailError> {
        for group in self.groups {
            rustix::io::write(group, b"0").at("enter the control group")?;
        }
        self.limit()?;
        // The kernel's keys of whoever started it are not for it.
        match process::join_session_keyring(c"_gamut_jail") {
            Ok(()) | Err(Errno::NOSYS) => {}
            Err(errno) => Err(errno).at("leave the session keyring")?,
        }
        let network = match self.network {
            Network::None => namespace::NET,
            Network::Kept => 0,
        };
        let own = namespace::MOUNT | namespace::IPC | namespace::UTS | namespace::CGROUP;
        process::unshare(own | network).at("make namespaces")?;
        root::enter(&self.root)?;
        let keeps_files = matches!(self.root, Root::Shares(_));
        let program = filter::program(self.capabilities, keeps_files.into())?;
        if let Kept::These(kept) = self.kept {
            process::close_others(3, kept).at("close descriptors")?;
        }
        self.give_up_privileges()?;
        let given_up = match keeps_files {
            true => GivenUp::AllButFiles,
            false => GivenUp::Everything,
        };
        landlock::give_up(given_up).at("give up what Landlock takes")?;
        let flags = gamut_sys::seccomp::Flags::SPEC_ALLOW;
        set_filter(program.instructions(), flags).at("attach the filter")?;
        Ok(())
    }

    fn limit(&self) -> Result<(), JailError> {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        rustix::process::setrlimit(Resource::Core, none).at("forbid core dumps")?;
        let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
        let most = hard.map_or(self.descriptors_max, |hard| hard.min(self.descriptors_max));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(Resource::Nofile, limit).at("limit descriptors")
    }

    /// Ids, capabilities and everything that could give them back.
    fn give_up_privileges(&self) -> Result<(), JailError> {
        rustix::thread::set_no_new_privs(true).at("set no_new_privs")?;
        let last = (0..64).take_while(|bit| {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            rustix::thread::capability_is_in_bounding_set(one).is_ok()
        });
        for bit in last {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            rustix::thread::remove_capability_from_bounding_set(one)
                .at("empty the bounding set")?;
        }
        // Changes of ids neither take nor give capabilities from here on: what is kept is kept whatever
        // ids a file is made with, and no id is root's any more.
        let bits = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        rustix::thread::set_capabilities_secure_bits(bits).at("set the secure bits")?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::thread::set_thread_groups(&[]).at("leave all groups")?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).at("change the group")?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).at("change the user")?;
        rustix::thread::clear_ambient_capability_set().at("drop ambient capabilities")?;
        let kept = CapabilitySet::from_bits_retain(self.capabilities.bits());
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets).at("drop capabilities")?;
        // A change of ids clears the first, and sets the second as the administrator likes it (prctl(2)).
        let signal = Some(Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal).at("die with the parent")?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .at("be closed to tracers")
    }
}
