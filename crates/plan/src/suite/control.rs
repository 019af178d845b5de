//! Promises about a running workload: signals, counters, limits, pause.

use std::time::Duration;

use oci_spec::runtime::{LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};

use super::bench::Bench;
use crate::MAIN;
use crate::cell::{Cell, CellError};
use crate::request::Bound;

const MIB: u64 = 1024 * 1024;

pub(super) fn signals_reach_the_program<C: Cell>(bench: &Bench<'_, C>) {
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut workload, mut ends) = bench.start(&bench.script(script));
    bench.read_until(&mut ends.stdout, "ready");
    workload.0.signal(MAIN, 15).expect("a signal");
    assert_eq!(bench.wait(&mut workload, MAIN).code, 7);
}

pub(super) fn no_signal_reaches_the_dead<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.script("exit 0"));
    bench.wait(&mut workload, MAIN);
    assert_eq!(workload.0.signal(MAIN, 15), Err(CellError::NoProcess));
    assert_eq!(workload.0.signal(MAIN + 7, 15), Err(CellError::NoProcess));
}

pub(super) fn counters_count<C: Cell>(bench: &Bench<'_, C>) {
    let script = "echo ready; sleep 1000 & while :; do :; done";
    let (workload, mut ends) = bench.start(&bench.script(script));
    bench.read_until(&mut ends.stdout, "ready");
    bench.eventually("two processes are counted", || {
        workload.0.stats().expect("counters").pids.current >= 2
    });
    let first = workload.0.stats().expect("counters");
    assert!(first.memory.usage_bytes > 0, "{first:?}");
    assert!(first.read_at_ns > 0, "{first:?}");
    bench.eventually("the processor's time grows", || {
        let now = workload.0.stats().expect("counters");
        assert!(now.read_at_ns >= first.read_at_ns);
        now.cpu.usage_ns > first.cpu.usage_ns + 20_000_000
    });
}

pub(super) fn limits_change_while_it_runs<C: Cell>(bench: &Bench<'_, C>) {
    let plan = bench.plan(&["sleep", "1000"], |request| {
        request.limits.memory_bytes = Some(64 * MIB);
        request.limits.pids = Some(Bound::At(40));
    });
    let (workload, _ends) = bench.start(&plan);
    let seen = |memory_bytes, pids| {
        let stats = workload.0.stats().expect("counters");
        assert_eq!(stats.memory.limit_bytes, Some(memory_bytes));
        assert_eq!(stats.pids.limit, Some(pids));
    };
    seen(64 * MIB, 40);
    let memory = LinuxMemoryBuilder::default().limit(96 * MIB as i64);
    let pids = LinuxPidsBuilder::default().limit(50i64);
    let limits = LinuxResourcesBuilder::default()
        .memory(memory.build().expect("a limit"))
        .pids(pids.build().expect("a limit"))
        .build()
        .expect("limits");
    workload.0.update(&limits).expect("an update");
    seen(96 * MIB, 50);
}

pub(super) fn a_frozen_workload_stands_still<C: Cell>(bench: &Bench<'_, C>) {
    let (workload, mut ends) = bench.start(&bench.script("echo ready; while :; do :; done"));
    bench.read_until(&mut ends.stdout, "ready");
    let Some(freezer) = workload.0.freezer() else {
        return;
    };
    let spent = || workload.0.stats().expect("counters").cpu.usage_ns;
    let begin = spent();
    bench.eventually("it runs", || spent() > begin + 10_000_000);
    freezer.freeze().expect("a freeze");
    let frozen = spent();
    std::thread::sleep(Duration::from_millis(300));
    let later = spent();
    // A counter may lag behind by a tick of the scheduler.
    assert!(later < frozen + 30_000_000, "{frozen} ns, then {later} ns");
    freezer.thaw().expect("a thaw");
    bench.eventually("it goes on", || spent() > later + 10_000_000);
}

pub(super) fn the_oom_killer_is_seen<C: Cell>(bench: &Bench<'_, C>) {
    // dd fills a buffer of its own with 200 MiB of zeros.
    let hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    let plan = bench.plan(&hog, |request| {
        request.limits.memory_bytes = Some(32 * MIB);
        request.limits.memory_and_swap_bytes = Some(Bound::At(32 * MIB));
    });
    let (mut workload, _ends) = bench.start(&plan);
    let exit = bench.wait(&mut workload, MAIN);
    assert_eq!(exit.signal, Some(9), "{exit:?}");
    assert!(workload.0.oom_killed());
    let (mut workload, _ends) = bench.start(&bench.plan(&["sleep", "1000"], |_| ()));
    workload.0.signal(MAIN, 9).expect("a signal");
    bench.wait(&mut workload, MAIN);
    assert!(!workload.0.oom_killed(), "a kill is not the OOM killer's");
}
