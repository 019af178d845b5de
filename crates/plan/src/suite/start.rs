//! Promises about a start: the program runs as planned, or the reason is named.

use std::io::Write;

use super::bench::{Bench, Calls, TAP};
use crate::MAIN;
use crate::cell::{Cell, Exit, StartError};
use crate::request::{Identity, NetworkMode, User};

pub(super) fn the_exit_code_is_the_programs<C: Cell>(bench: &Bench<'_, C>) {
    for code in [0, 7, 255] {
        let (mut workload, _ends) = bench.start(&bench.script(&format!("exit {code}")));
        let exit = bench.wait(&mut workload, MAIN);
        assert_eq!(exit, Exit { code, signal: None });
    }
}

pub(super) fn a_death_by_signal_is_128_and_its_number<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, _ends) = bench.start(&bench.plan(&["sleep", "1000"], |_| ()));
    assert_eq!(
        workload.0.try_wait(MAIN),
        Ok(None),
        "it ended before its time"
    );
    workload.0.signal(MAIN, 9).expect("a signal");
    let killed = Exit {
        code: 128 + 9,
        signal: Some(9),
    };
    assert_eq!(bench.wait(&mut workload, MAIN), killed);
}

pub(super) fn the_streams_are_those_given<C: Cell>(bench: &Bench<'_, C>) {
    let (mut workload, mut ends) = bench.start(&bench.script("cat; echo apart >&2"));
    let mut stdin = ends.stdin.take().expect("an end");
    stdin.write_all(b"through and through").expect("a write");
    drop(stdin);
    assert_eq!(bench.read_all(&mut ends.stdout), "through and through");
    assert_eq!(bench.read_all(&mut ends.stderr), "apart\n");
    assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
}

pub(super) fn streams_not_given_are_empty<C: Cell>(bench: &Bench<'_, C>) {
    // `cat` ends at once, and `echo` can write: /dev/null, not a closed descriptor.
    let plan = bench.script("cat && echo out && echo err >&2");
    let mut workload = bench.start_on_terminal(&plan);
    assert!(workload.0.take_terminal(MAIN).is_none());
    assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
}

pub(super) fn much_output_arrives_whole<C: Cell>(bench: &Bench<'_, C>) {
    const BYTES: usize = 8 << 20;
    let copy = "dd if=/dev/zero bs=1M count=8 2>/dev/null; echo done >&2";
    let (mut workload, mut ends) = bench.start(&bench.script(copy));
    // It waits for us as for any pipe, and ends when all is written or in the pipe.
    assert_eq!(workload.0.try_wait(MAIN), Ok(None), "it cannot have ended");
    assert_eq!(bench.count_all(&mut ends.stdout), BYTES);
    assert_eq!(bench.read_all(&mut ends.stderr), "done\n");
    assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
}

pub(super) fn a_missing_program_is_not_found<C: Cell>(bench: &Bench<'_, C>) {
    for name in ["no-such-program", "/bin/no-such-program", "/no/such/folder"] {
        let error = bench.refuse(&bench.plan(&[name], |_| ()));
        let named =
            matches!(&error, StartError::ProgramNotFound { program, .. } if program == name);
        assert!(named, "{name}: {error:?}");
    }
}

pub(super) fn what_is_no_program_is_not_runnable<C: Cell>(bench: &Bench<'_, C>) {
    for name in ["/etc/passwd", "/etc"] {
        let error = bench.refuse(&bench.plan(&[name], |_| ()));
        let named =
            matches!(&error, StartError::ProgramNotRunnable { program, .. } if program == name);
        assert!(named, "{name}: {error:?}");
    }
}

fn user(name: &str) -> Option<User> {
    Some(User {
        user: Identity::Name(name.into()),
        group: None,
    })
}

pub(super) fn an_unknown_user_is_refused<C: Cell>(bench: &Bench<'_, C>) {
    let plan = bench.plan(&["id"], |request| {
        request.process.user = user("nobody-here")
    });
    let error = bench.refuse(&plan);
    let StartError::Request { message, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(message.contains("nobody-here"), "{message}");
}

pub(super) fn the_program_runs_as_the_user<C: Cell>(bench: &Bench<'_, C>) {
    let plan = bench.plan(&["sh", "-c", "id -u; id -g; hostname"], |request| {
        request.process.user = user("suite");
    });
    let (mut workload, mut ends) = bench.start(&plan);
    let said = bench.read_all(&mut ends.stdout);
    assert_eq!(said, format!("1234\n1234\n{}\n", super::bench::HOSTNAME));
    assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
}

pub(super) fn the_network_is_connected_once<C: Cell>(bench: &Bench<'_, C>) {
    let (fds, _ends) = super::bench::pipes();
    let mut calls = Calls::default();
    let cell = C::start(&bench.script("exit 0"), fds, &mut calls).expect("a start");
    let mut workload = super::bench::Workload(cell);
    let [given] = calls.given.as_slice() else {
        panic!("connected {} times", calls.given.len());
    };
    if bench.has_own_kernel() {
        assert_eq!(given, TAP);
    } else {
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace of our own");
        assert!(given.starts_with("net:["), "{given} is no network");
        assert_ne!(given, &own.display().to_string(), "it is the host's");
    }
    assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
}

pub(super) fn a_shared_network_is_left_alone<C: Cell>(bench: &Bench<'_, C>) {
    if bench.has_own_kernel() {
        // There is none: it is not even drawn.
        return;
    }
    let plan = bench.plan(&["sh", "-c", "exit 0"], |request| {
        request.network.mode = NetworkMode::Host;
    });
    let (fds, _ends) = super::bench::pipes();
    let mut calls = Calls::default();
    let cell = C::start(&plan, fds, &mut calls).expect("a start");
    let mut workload = super::bench::Workload(cell);
    assert_eq!(calls.given, [""; 0], "it is not the workload's to connect");
    assert_eq!(bench.wait(&mut workload, MAIN).code, 0);
}

pub(super) fn a_network_that_fails_fails_the_start<C: Cell>(bench: &Bench<'_, C>) {
    let refusal = StartError::Step {
        step: "plug the cable in".into(),
        reason: "no socket".into(),
        hint: Some("look behind the desk".into()),
    };
    let mut calls = Calls {
        fail_with: Some(refusal.clone()),
        ..Calls::default()
    };
    let error = bench.refuse_with(&bench.script("exit 0"), &mut calls);
    assert_eq!(error, refusal, "the network's own reason is told");
    assert_eq!(calls.given.len(), 1);
}
