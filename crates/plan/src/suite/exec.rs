//! Promises about further processes in a running workload.

use super::bench::{Bench, HOSTNAME, SIZE, exec_script, pipes};
use super::terminal::master;
use crate::MAIN;
use crate::cell::{Cell, CellFds, Exit, StartError};
use crate::launch::ExecPlan;

pub(super) fn a_second_process_stands_in_the_same_workload<C: Cell>(bench: &Bench<'_, C>) {
    let script = "echo here > /tmp/mark; echo ready; exec sleep 4321";
    let (mut workload, mut ends) = bench.start(&bench.script(script));
    bench.read_until(&mut ends.stdout, "ready");
    let look = "hostname; cat /tmp/mark; cat /proc/1/cmdline";
    let (id, mut ends) = workload.exec(&exec_script(look));
    assert_ne!(id, MAIN);
    let said = bench.read_all(&mut ends.stdout);
    assert_eq!(said, format!("{HOSTNAME}\nhere\nsleep\x004321\0"));
    assert_eq!(bench.wait(&mut workload, id).code, 0);
}

pub(super) fn a_second_process_has_an_exit_of_its_own<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.plan(&["sleep", "1000"], |_| ()));
    let (first, _first_ends) = workload.exec(&exec_script("exit 9"));
    let (second, _second_ends) = workload.exec(&exec_script("kill -TERM $$"));
    assert_ne!(first, second);
    let terminated = Exit {
        code: 128 + 15,
        signal: Some(15),
    };
    assert_eq!(bench.wait(&mut workload, second), terminated);
    assert_eq!(bench.wait(&mut workload, first).code, 9);
    assert_eq!(
        workload.0.try_wait(MAIN),
        Ok(None),
        "the main process lives"
    );
}

pub(super) fn a_second_process_has_what_its_plan_says<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.plan(&["sleep", "1000"], |_| ()));
    let plan = ExecPlan {
        env: vec!["COLOUR=green".into()],
        cwd: Some("/etc".into()),
        user: Some("suite".into()),
        ..exec_script("echo $COLOUR $(pwd) $(id -u):$(id -g)")
    };
    let (id, mut ends) = workload.exec(&plan);
    assert_eq!(bench.read_all(&mut ends.stdout), "green /etc 1234:1234\n");
    assert_eq!(bench.wait(&mut workload, id).code, 0);
}

pub(super) fn a_second_process_may_have_a_terminal<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.plan(&["sleep", "1000"], |_| ()));
    let plan = ExecPlan {
        terminal: Some(SIZE),
        ..exec_script("test -t 0 && stty size")
    };
    let id = workload.0.exec(&plan, CellFds::default()).expect("an exec");
    let mut master = master(&mut workload, id);
    let (rows, columns) = SIZE;
    bench.read_until(&mut master, &format!("{rows} {columns}\r\n"));
    assert_eq!(bench.wait(&mut workload, id).code, 0);
}

pub(super) fn a_second_process_that_cannot_start_harms_nothing<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.plan(&["sleep", "1000"], |_| ()));
    let mut refuse = |plan: &ExecPlan| {
        let (fds, _ends) = pipes();
        workload.0.exec(plan, fds).expect_err("a refusal")
    };
    let named = |program: &str| ExecPlan {
        args: vec![program.into()],
        ..ExecPlan::default()
    };
    let missing = refuse(&named("no-such-program"));
    let found = matches!(missing, StartError::ProgramNotFound { .. });
    assert!(found, "{missing:?}");
    let file = refuse(&named("/etc/passwd"));
    let runnable = matches!(file, StartError::ProgramNotRunnable { .. });
    assert!(runnable, "{file:?}");
    let stranger = refuse(&ExecPlan {
        user: Some("nobody-here".into()),
        ..exec_script("exit 0")
    });
    let request = matches!(stranger, StartError::Request { .. });
    assert!(request, "{stranger:?}");
    let (id, _ends) = workload.exec(&exec_script("exit 0"));
    assert_eq!(bench.wait(&mut workload, id).code, 0);
    assert_eq!(
        workload.0.try_wait(MAIN),
        Ok(None),
        "the main process lives"
    );
}

pub(super) fn nothing_is_started_after_the_end<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.script("exit 0"));
    let refuse = |workload: &mut super::bench::Workload<C>, when: &str| {
        let (fds, _ends) = pipes();
        let error = workload.0.exec(&exec_script("exit 0"), fds);
        let error = error.expect_err(when);
        let conflict = matches!(error, StartError::Conflict { .. });
        assert!(conflict, "{when}: {error:?}");
    };
    bench.wait_unasked(&workload, MAIN);
    refuse(&mut workload, "after the end, before it was told");
    bench.wait(&mut workload, MAIN);
    refuse(&mut workload, "after the end was told");
}
