//! Promises about terminals: the cell makes them, and hands the master out once.

use std::fs::File;
use std::io::Write;

use super::bench::{Bench, SIZE, Workload};
use crate::MAIN;
use crate::cell::{Cell, ProcessId};
use crate::launch::LaunchPlan;

/// A plan for a script on a terminal.
fn on_terminal<C: Cell>(bench: &Bench<'_, C>, script: &str) -> LaunchPlan {
    bench.plan(&["sh", "-c", script], |request| {
        request.process.tty = true;
        request.process.stdin_open = true;
    })
}

pub(super) fn master<C: Cell>(workload: &mut Workload<C>, of: ProcessId) -> File {
    File::from(workload.0.take_terminal(of).expect("a terminal"))
}

pub(super) fn a_terminal_has_its_size_and_shows_output<C: Cell>(bench: &Bench<'_, C>) {
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size";
    let mut workload = bench.start_on_terminal(&on_terminal(bench, script));
    let mut master = master(&mut workload, MAIN);
    let (rows, columns) = SIZE;
    // The line discipline puts a carriage return before each line feed.
    bench.read_until(&mut master, &format!("{rows} {columns}\r\n"));
    assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
}

pub(super) fn a_terminal_is_taken_once<C: Cell>(bench: &Bench<'_, C>) {
    let mut workload = bench.start_on_terminal(&on_terminal(bench, "sleep 1000"));
    let first = workload.0.take_terminal(MAIN);
    assert!(first.is_some());
    assert!(workload.0.take_terminal(MAIN).is_none());
    assert!(workload.0.take_terminal(MAIN + 1).is_none());
}

pub(super) fn input_goes_through_the_terminal<C: Cell>(bench: &Bench<'_, C>) {
    let script = "trap 'echo caught; exit 3' INT; read line; echo \"<$line>\"; sleep 1000 & wait";
    let mut workload = bench.start_on_terminal(&on_terminal(bench, script));
    let mut master = master(&mut workload, MAIN);
    master.write_all(b"typed\n").expect("a write");
    bench.read_until(&mut master, "<typed>");
    // Control-C: the terminal is the program's controlling one.
    master.write_all(b"\x03").expect("a write");
    bench.read_until(&mut master, "caught");
    assert_eq!(bench.wait(&mut workload, MAIN).code, 3);
}
