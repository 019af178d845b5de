//! The steps between clone and exec, and how a failure at one of them comes back: eight bytes
//! over a socket pair, for which the child needs no memory.

use rustix::io::Errno;

/// A step of the child. The number travels; the words are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Wait = 1,
    DeathSignal,
    Cgroup,
    JoinNamespace,
    Propagation,
    AttachRoot,
    Mount,
    MountTarget,
    Device,
    Mask,
    ReadOnlyPath,
    Sysctl,
    Hostname,
    Domainname,
    CgroupNamespace,
    Pivot,
    ReadOnlyRoot,
    Terminal,
    Streams,
    WorkingDirectory,
    Descriptors,
    BoundingSet,
    Groups,
    User,
    Capabilities,
    NoNewPrivileges,
    Seccomp,
    Exec,
    Keyring,
    Loopback,
    RootPropagation,
    Start,
    Scheduler,
    IoPriority,
    Affinity,
    Personality,
    MemoryPolicy,
    Label,
    Interpreter,
    Clone,
    OomScore,
}

impl Step {
    const ALL: [Step; 41] = [
        Step::Wait,
        Step::DeathSignal,
        Step::Cgroup,
        Step::JoinNamespace,
        Step::Propagation,
        Step::AttachRoot,
        Step::Mount,
        Step::MountTarget,
        Step::Device,
        Step::Mask,
        Step::ReadOnlyPath,
        Step::Sysctl,
        Step::Hostname,
        Step::Domainname,
        Step::CgroupNamespace,
        Step::Pivot,
        Step::ReadOnlyRoot,
        Step::Terminal,
        Step::Streams,
        Step::WorkingDirectory,
        Step::Descriptors,
        Step::BoundingSet,
        Step::Groups,
        Step::User,
        Step::Capabilities,
        Step::NoNewPrivileges,
        Step::Seccomp,
        Step::Exec,
        Step::Keyring,
        Step::Loopback,
        Step::RootPropagation,
        Step::Start,
        Step::Scheduler,
        Step::IoPriority,
        Step::Affinity,
        Step::Personality,
        Step::MemoryPolicy,
        Step::Label,
        Step::Interpreter,
        Step::Clone,
        Step::OomScore,
    ];

    fn from_number(number: u8) -> Option<Step> {
        Step::ALL.into_iter().find(|step| *step as u8 == number)
    }

    /// What was being done, as it follows "cannot".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Step::Wait => "wait for the keeper",
            Step::DeathSignal => "tie the container's life to its keeper's",
            Step::Cgroup => "enter the cgroup",
            Step::JoinNamespace => "join a namespace",
            Step::Propagation => "make the mounts private",
            Step::AttachRoot => "attach the root file system",
            Step::Mount => "mount",
            Step::MountTarget => "make the mount point",
            Step::Device => "make the device",
            Step::Mask => "mask",
            Step::ReadOnlyPath => "make read-only",
            Step::Sysctl => "set the sysctl",
            Step::Hostname => "set the host name",
            Step::Domainname => "set the domain name",
            Step::CgroupNamespace => "create the cgroup namespace",
            Step::Pivot => "change to the container's root",
            Step::ReadOnlyRoot => "make the root file system read-only",
            Step::Terminal => "set up the terminal",
            Step::Streams => "install the standard streams",
            Step::WorkingDirectory => "change to the working directory",
            Step::Descriptors => "mark inherited descriptors",
            Step::BoundingSet => "drop capabilities from the bounding set",
            Step::Groups => "set the groups",
            Step::User => "set the user",
            Step::Capabilities => "set the capabilities",
            Step::NoNewPrivileges => "set no_new_privs",
            Step::Seccomp => "install the seccomp filter",
            Step::Exec => "execute",
            Step::Keyring => "make a session keyring",
            Step::Loopback => "put the loopback interface up",
            Step::RootPropagation => "set the propagation of the root file system",
            Step::Start => "wait for the start",
            Step::Scheduler => "set the scheduler",
            Step::IoPriority => "set the I/O priority",
            Step::Affinity => "set the CPUs to run on",
            Step::Personality => "set the execution domain",
            Step::MemoryPolicy => "set the memory policy",
            Step::Label => "set the security label",
            Step::Interpreter => "execute",
            Step::Clone => "create the namespaces",
            Step::OomScore => "set the OOM score",
        }
    }
}

/// A failed step: which, on the how-manieth object of its kind, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) index: u16,
    pub(crate) errno: Errno,
}

impl Failure {
    pub(crate) const BYTES: usize = 8;

    pub(crate) fn new(step: Step, errno: Errno) -> Self {
        Failure {
            step,
            index: 0,
            errno,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Failure::BYTES] {
        let [i0, i1] = self.index.to_ne_bytes();
        let [e0, e1, e2, e3] = self.errno.raw_os_error().to_ne_bytes();
        [self.step as u8, 0, i0, i1, e0, e1, e2, e3]
    }

    pub(crate) fn from_bytes(bytes: [u8; Failure::BYTES]) -> Option<Self> {
        let [step, _, i0, i1, e0, e1, e2, e3] = bytes;
        Some(Failure {
            step: Step::from_number(step)?,
            index: u16::from_ne_bytes([i0, i1]),
            errno: Errno::from_raw_os_error(i32::from_ne_bytes([e0, e1, e2, e3])),
        })
    }
}

/// What the child has done so far, for `run --trace`: a packet of another length than a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    RootAttached = 1,
    Mounted,
    Masked,
    Pivoted,
    Released,
    Executing,
    /// The mounts are made, and somebody is to look at them before the root changes.
    AwaitsHooks,
    /// All is there but the program, for which somebody else gives the word.
    AwaitsStart,
}

impl Phase {
    const ALL: [Phase; 8] = [
        Phase::RootAttached,
        Phase::Mounted,
        Phase::Masked,
        Phase::Pivoted,
        Phase::Released,
        Phase::Executing,
        Phase::AwaitsHooks,
        Phase::AwaitsStart,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Phase::RootAttached => "container: root attached",
            Phase::Mounted => "container: mounts made",
            Phase::Masked => "container: paths masked",
            Phase::Pivoted => "container: root changed",
            Phase::Released => "container: released by the keeper",
            Phase::Executing => "container: identity and filter set",
            Phase::AwaitsHooks => "container: ready for hooks",
            Phase::AwaitsStart => "container: created",
        }
    }
}

/// A phase and when it was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhaseMark {
    pub(crate) phase: Phase,
    pub(crate) at_ns: u64,
}

impl PhaseMark {
    pub(crate) const BYTES: usize = 9;

    pub(crate) fn now(phase: Phase) -> [u8; PhaseMark::BYTES] {
        let [a, b, c, d, e, f, g, h] = crate::launch::now_ns().to_ne_bytes();
        [phase as u8, a, b, c, d, e, f, g, h]
    }

    pub(crate) fn from_bytes(bytes: [u8; PhaseMark::BYTES]) -> Option<Self> {
        let [number, at @ ..] = bytes;
        let phase = Phase::ALL
            .into_iter()
            .find(|phase| *phase as u8 == number)?;
        Some(PhaseMark {
            phase,
            at_ns: u64::from_ne_bytes(at),
        })
    }
}

/// Attaches a step to the result of a system call.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
    fn at_index(self, step: Step, index: usize) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(step, errno))
    }

    fn at_index(self, step: Step, index: usize) -> Result<T, Failure> {
        self.map_err(|errno| Failure {
            step,
            index: index.min(usize::from(u16::MAX)) as u16,
            errno,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_wire() {
        for step in Step::ALL {
            let failure = Failure {
                step,
                index: 513,
                errno: Errno::NOENT,
            };
            assert_eq!(Failure::from_bytes(failure.to_bytes()), Some(failure));
        }
        assert_eq!(Failure::from_bytes([0; 8]), None);
    }
}
