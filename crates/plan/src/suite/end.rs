//! Promises about the end: it is told once, and nothing outlives it.

use super::bench::{Bench, exec_script};
use crate::MAIN;
use crate::cell::{Cell, CellError, Exit};

pub(super) fn an_end_is_told_once<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.script("exit 0"));
    assert_eq!(workload.0.try_wait(MAIN + 1), Err(CellError::NoProcess));
    assert!(workload.0.exit_fd(MAIN + 1).is_none());
    bench.wait(&mut workload, MAIN);
    assert_eq!(workload.0.try_wait(MAIN), Err(CellError::NoProcess));
    assert!(workload.0.exit_fd(MAIN).is_none());
}

pub(super) fn destroy_ends_every_process<C: Cell>(bench: &Bench<'_, C>) {
    // Every process holds the pipe open: its end is the last one's.
    let script = "sleep 1000 & (sleep 1000 &) ; echo ready; exec sleep 1000";
    let (mut workload, mut ends) = bench.start(&bench.script(script));
    bench.read_until(&mut ends.stdout, "ready");
    let (_, mut exec_ends) = workload.exec(&exec_script("sleep 1000 & echo ready; wait"));
    bench.read_until(&mut exec_ends.stdout, "ready");
    workload.0.destroy().expect("an end");
    assert_eq!(bench.read_all(&mut ends.stdout), "");
    assert_eq!(bench.read_all(&mut exec_ends.stdout), "");
    assert_eq!(workload.0.signal(MAIN, 15), Err(CellError::NoProcess));
    assert_eq!(workload.0.try_wait(MAIN), Err(CellError::NoProcess));
}

pub(super) fn destroy_may_come_late_and_twice<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.script("exit 0"));
    bench.wait(&mut workload, MAIN);
    workload.0.destroy().expect("after the end");
    workload.0.destroy().expect("twice");
    let (mut untold, _ends) = bench.start(&bench.script("exit 0"));
    bench.wait_unasked(&untold, MAIN);
    untold.0.destroy().expect("before the end was told");
}

pub(super) fn a_frozen_workload_is_destroyed<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, mut ends) = bench.start(&bench.script("echo ready; exec sleep 1000"));
    bench.read_until(&mut ends.stdout, "ready");
    let Some(freezer) = workload.0.freezer() else {
        return;
    };
    freezer.freeze().expect("a freeze");
    workload.0.destroy().expect("an end");
    assert_eq!(bench.read_all(&mut ends.stdout), "");
}

pub(super) fn a_workload_ends_with_its_process<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, mut ends) = bench.start(&bench.script("echo ready; exec sleep 1000"));
    bench.read_until(&mut ends.stdout, "ready");
    let (id, _exec_ends) = workload.exec(&exec_script("exec sleep 1000"));
    bench.kill(workload.0.pid(MAIN));
    let killed = Exit {
        code: 128 + 9,
        signal: Some(9),
    };
    // The first of a pid namespace has ended when the others have been waited for (pid_namespaces(7)).
    assert_eq!(bench.wait(&mut workload, id), killed);
    assert_eq!(bench.wait(&mut workload, MAIN), killed);
    assert_eq!(bench.read_all(&mut ends.stdout), "");
    // Whatever is said of it, it is said now.
    assert!(workload.0.signal(MAIN, 15).is_err());
    let (fds, _ends) = super::bench::pipes();
    assert!(workload.0.exec(&exec_script("exit 0"), fds).is_err());
    let _ = workload.0.stats();
}

pub(super) fn the_same_name_starts_again<C: Cell>(bench: &Bench<'_, C>) {
    let plan = bench.script("echo again >> /tmp/times; cat /tmp/times");
    for times in 1..=2 {
        let (mut workload, mut ends) = bench.start(&plan);
        let said = bench.read_all(&mut ends.stdout);
        assert_eq!(said, "again\n".repeat(times), "the root is the same one");
        assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
        workload.0.destroy().expect("an end");
    }
}
