//! How a process runs, apart from who it is: scheduler, I/O priority, CPUs, memory policy,
//! execution domain and security labels. Runtime specification, "Process" and "Linux".

use std::ffi::CString;

use gamut_plan::cell::StartError;
use gamut_sys::schedule::{self, Nodes, SchedulerAttributes};
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process,
    Scheduler, Spec,
};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::CpuSet;

use super::prepare::c_string;
use super::step::{At, Failure, Step};

/// What is set on a process before it becomes the program; nothing of it by default.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    scheduler: Option<SchedulerAttributes>,
    io_priority: Option<i32>,
    /// Where an exec'd process runs, before it has joined its control group and after.
    affinity: [Option<CpuSet>; 2],
    personality: Option<u32>,
    memory: Option<(i32, Option<Nodes>)>,
    /// Files of /proc/self/attr, and what is written to them.
    labels: Vec<(CString, Vec<u8>)>,
}

impl Manner {
    pub(crate) fn of(process: &Process, linux: Option<&Linux>) -> Result<Manner, StartError> {
        let affinity = process.exec_cpu_affinity().as_ref();
        let cpus = |text: Option<&String>| text.map(|text| cpu_set(text)).transpose();
        Ok(Manner {
            scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
            io_priority: process.io_priority().as_ref().map(io_priority),
            affinity: [
                cpus(affinity.and_then(|a| a.initial().as_ref()))?,
                cpus(affinity.and_then(|a| a.cpu_affinity_final().as_ref()))?,
            ],
            personality: linux
                .and_then(|linux| linux.personality().as_ref())
                .map(|personality| match personality.domain() {
                    LinuxPersonalityDomain::PerLinux => 0,
                    // personality(2), PER_LINUX32.
                    LinuxPersonalityDomain::PerLinux32 => 8,
                }),
            memory: linux
                .and_then(|linux| linux.memory_policy().as_ref())
                .map(memory_policy)
                .transpose()?,
            labels: labels(process)?,
        })
    }

    /// For a container's first process: "not applicable to" it, says the specification of
    /// `execCPUAffinity`.
    pub(crate) fn of_first(mut self) -> Manner {
        self.affinity = [None, None];
        self
    }

    /// On all CPUs that the control group gives, where nothing else is said, instead of the
    /// caller's.
    pub(crate) fn anywhere(mut self) -> Manner {
        if self.affinity == [None, None] {
            let mut all = CpuSet::new();
            (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
            self.affinity[1] = Some(all);
        }
        self
    }

    /// Where an exec'd process runs before it has joined its control group: a bit for each of the
    /// first CPUs.
    pub(crate) fn begins_on(&self) -> Option<u128> {
        let cpus = self.affinity[0].as_ref()?;
        let listed = (0..128).filter(|cpu| cpus.is_set(*cpu));
        Some(listed.fold(0, |mask, cpu| mask | 1 << cpu))
    }

    /// For an exec: before it has a control group of the container.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        self.run_on(0)
    }

    /// The rest, while the process may still do it.
    pub(super) fn apply(&self) -> Result<(), Failure> {
        self.run_on(1)?;
        if let Some(scheduler) = &self.scheduler {
            schedule::set_scheduler(scheduler).at(Step::Scheduler)?;
        }
        if let Some(priority) = self.io_priority {
            schedule::set_io_priority(priority).at(Step::IoPriority)?;
        }
        if let Some(personality) = self.personality {
            schedule::set_personality(personality).at(Step::Personality)?;
        }
        if let Some((mode, nodes)) = &self.memory {
            schedule::set_memory_policy(*mode, nodes.as_ref()).at(Step::MemoryPolicy)?;
        }
        for (index, (file, label)) in self.labels.iter().enumerate() {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, file.as_c_str(), flags, Mode::empty())
                .and_then(|file| rustix::io::write(file, label))
                .at_index(Step::Label, index)?;
        }
        Ok(())
    }

    fn run_on(&self, when: usize) -> Result<(), Failure> {
        match &self.affinity[when] {
            Some(cpus) => rustix::thread::sched_setaffinity(None, cpus).at(Step::Affinity),
            None => Ok(()),
        }
    }
}

fn refuse(message: String) -> StartError {
    StartError::Request {
        message,
        hint: None,
    }
}

/// sched(7); linux/sched.h has the numbers.
fn scheduler(given: &Scheduler) -> Result<SchedulerAttributes, StartError> {
    let policy = match given.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flags = given.flags().as_deref().unwrap_or_default().iter();
    let flags = flags.fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
    });
    let priority = given.priority().unwrap_or(0);
    Ok(SchedulerAttributes {
        policy,
        flags,
        nice: given.nice().unwrap_or(0),
        priority: u32::try_from(priority)
            .map_err(|_| refuse(format!("scheduler.priority {priority} is below 0")))?,
        runtime_ns: given.runtime().unwrap_or(0),
        deadline_ns: given.deadline().unwrap_or(0),
        period_ns: given.period().unwrap_or(0),
        ..SchedulerAttributes::default()
    })
}

/// ioprio_set(2).
fn io_priority(given: &LinuxIOPriority) -> i32 {
    let class = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    (class << 13) | i32::try_from(given.priority()).unwrap_or(0)
}

/// cpuset(7), "List format".
fn numbers(text: &str, below: usize) -> Result<Vec<usize>, StartError> {
    let wrong = || refuse(format!("`{text}` is no list of numbers below {below}"));
    let mut list = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= below {
            return Err(wrong());
        }
        list.extend(first..=last);
    }
    Ok(list)
}

fn cpu_set(text: &str) -> Result<CpuSet, StartError> {
    let mut set = CpuSet::new();
    for cpu in numbers(text, CpuSet::MAX_CPU)? {
        set.set(cpu);
    }
    Ok(set)
}

/// set_mempolicy(2); linux/mempolicy.h has the numbers.
fn memory_policy(given: &LinuxMemoryPolicy) -> Result<(i32, Option<Nodes>), StartError> {
    let mode = match given.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = given.flags().as_deref().unwrap_or_default().iter();
    let flags = flags.fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
                MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            }
    });
    let listed = given.nodes().as_deref().unwrap_or_default();
    let listed = numbers(listed, schedule::MAX_NODES)?;
    let nodes = (!listed.is_empty()).then(|| {
        let mut nodes: Nodes = [0; schedule::MAX_NODES / 64];
        for node in listed {
            nodes[node / 64] |= 1 << (node % 64);
        }
        nodes
    });
    Ok((mode | flags, nodes))
}

/// Whether this host has SELinux: selinux(8).
pub(crate) fn has_selinux() -> bool {
    std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

/// A failure that takes more words than the kernel's: a deadline is kept on all CPUs only (sched_setattr(2)), and
/// a label is called by its name.
pub(crate) fn explain(spec: &Spec, process: &Process, failure: Failure) -> Option<StartError> {
    let Failure { step, index, errno } = failure;
    let reason = std::io::Error::from(errno);
    match (step, errno) {
        (Step::Scheduler, Errno::PERM) => {
            let resources = spec.linux().as_ref()?.resources().as_ref()?;
            resources.cpu().as_ref()?.cpus().as_ref()?;
            Some(StartError::Step {
                step: step.words().to_owned(),
                // runc's words.
                reason: format!(
                    "process scheduler can't be used together with AllowedCPUs: {reason}"
                ),
                hint: Some("leave out linux.resources.cpu.cpus".into()),
            })
        }
        (Step::Label, _) => {
            let labels = [process.apparmor_profile(), process.selinux_label()];
            let mut given = labels.into_iter().flatten().filter(|text| !text.is_empty());
            let label = given.nth(usize::from(index))?;
            Some(StartError::Step {
                step: format!("{} `{label}`", step.words()),
                reason: reason.to_string(),
                hint: (errno == Errno::NOENT)
                    .then(|| "the profile must be loaded on the host: `aa-status`".into()),
            })
        }
        _ => None,
    }
}

/// A profile that this host cannot enforce is refused: the workload would be less confined than was
/// asked for.
fn labels(process: &Process) -> Result<Vec<(CString, Vec<u8>)>, StartError> {
    let mut labels = Vec::new();
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(profile) = given(process.apparmor_profile()) {
        let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        if !enabled.is_ok_and(|text| text.starts_with('Y')) {
            return Err(refuse(format!(
                "the AppArmor profile `{profile}` is asked for, and AppArmor is not enabled on this host"
            )));
        }
        let file = c_string("/proc/self/attr/apparmor/exec")?;
        labels.push((file, format!("exec {profile}").into_bytes()));
    }
    if let Some(label) = given(process.selinux_label()) {
        if !has_selinux() {
            return Err(refuse(
                "selinux label is specified in config, but selinux is disabled or not supported"
                    .into(),
            ));
        }
        labels.push((c_string("/proc/self/attr/exec")?, label.into_bytes()));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(numbers("0-2, 5", 8).unwrap(), [0, 1, 2, 5]);
        assert_eq!(numbers("", 8).unwrap(), [0; 0]);
        for wrong in ["a", "3-1", "8", "1-", "-"] {
            assert!(numbers(wrong, 8).is_err(), "{wrong}");
        }
    }
}
