//! Whose turn it is on a processor.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// For a parent whose new child is in a hurry: the child begins here, at once, and the parent goes
/// on elsewhere. Most kernels do that by themselves; one that packs its tasks leaves the child
/// waiting for milliseconds. Afterwards the parent may run wherever it might before.
pub(crate) fn make_way() {
    let Ok(cpus) = sched_getaffinity(None) else {
        return;
    };
    let mut others = cpus;
    others.unset(sched_getcpu());
    if others.count() == 0 || sched_setaffinity(None, &others).is_err() {
        return;
    }
    // All there will ever be, which its cpuset limits, also one that grows: the processors of today
    // would be a limit for good. It is right only if there was none.
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    let _ = sched_setaffinity(None, &all);
    if sched_getaffinity(None) != Ok(cpus) {
        let _ = sched_setaffinity(None, &cpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_way_may_run_where_it_might_before() {
        let home = sched_getaffinity(None).unwrap();
        make_way();
        assert_eq!(sched_getaffinity(None), Ok(home));
        let mut some = home;
        if home.count() > 2 {
            some.unset(sched_getcpu());
        }
        sched_setaffinity(None, &some).unwrap();
        make_way();
        assert_eq!(sched_getaffinity(None), Ok(some));
    }
}
