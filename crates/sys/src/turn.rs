//! Whose turn it is on a processor.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// For a parent that goes on beside its new child: a child that waits for this processor begins on
/// another. Most kernels do that by themselves; one that packs its tasks leaves it waiting, beside a
/// processor that is idle, until its parent sleeps. Afterwards it may run wherever it might before.
pub(crate) fn begin_elsewhere(child: Pid) {
    let Ok(cpus) = sched_getaffinity(None) else {
        return;
    };
    let mut others = cpus;
    others.unset(sched_getcpu());
    if others.count() == 0 || sched_setaffinity(Some(child), &others).is_err() {
        return;
    }
    // All there will ever be, which its cpuset limits, also one that grows: the processors of today
    // would be a limit for good. It is right only if there was none.
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    let _ = sched_setaffinity(Some(child), &all);
    if sched_getaffinity(Some(child)) != Ok(cpus) {
        let _ = sched_setaffinity(Some(child), &cpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_may_run_wherever_its_parent_may() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("10")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let home = sched_getaffinity(None).unwrap();
        begin_elsewhere(pid);
        assert_eq!(sched_getaffinity(Some(pid)), Ok(home));
        // A limit of the parent's is the child's too.
        let mut some = home;
        if home.count() > 2 {
            some.unset(sched_getcpu());
        }
        sched_setaffinity(None, &some).unwrap();
        begin_elsewhere(pid);
        assert_eq!(sched_getaffinity(Some(pid)), Ok(some));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
