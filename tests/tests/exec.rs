//! Further processes in a running container.

use gamut_tests::Gamut;
use gamut_tests::patience::until;

#[test]
fn exec_runs_beside_with_flags_of_its_own() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["-e", "FROM=container", "-w", "/tmp"]);
    assert_eq!(
        gamut.exec(&id, "echo $FROM; pwd; [ $$ != 1 ] && echo beside"),
        "container\n/tmp\nbeside"
    );
    gamut
        .call(&[
            "exec",
            "-u",
            "33",
            "-w",
            "/etc",
            "-e",
            "MORE=1",
            &id,
            "sh",
            "-c",
            "id -u; pwd; echo $MORE",
        ])
        .ok()
        .prints("33\n/etc\n1");
    gamut.call(&["exec", &id, "sh", "-c", "exit 44"]).code(44);
    gamut
        .call(&["exec", &id, "no-such-command"])
        .refused(127, &["no-such-command"]);
    gamut
        .call(&["exec", &id, "/etc/passwd"])
        .refused(126, &["/etc/passwd"]);
    gamut
        .call_with_input(&["exec", "-i", &id, "cat"], "in and out\n")
        .ok()
        .prints("in and out");
    gamut
        .call(&["exec", "-d", &id, "sh", "-c", "echo detached >/tmp/mark"])
        .ok();
    until("the detached command has run", || {
        gamut.call(&["exec", &id, "cat", "/tmp/mark"]).out == "detached\n"
    });
    // The same namespaces and the same limits.
    assert_eq!(
        gamut.exec(&id, "readlink /proc/self/ns/pid"),
        gamut.exec(&id, "readlink /proc/1/ns/pid")
    );
    gamut.call(&["stop", &id]).ok();
    gamut
        .call(&["exec", &id, "true"])
        .refused(1, &["not running"]);
}

#[test]
fn exec_ends_with_its_container() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[]);
    let long = gamut.spawn(&["exec", &id, "sleep", "1000"]);
    until("it runs", || gamut.exec(&id, "ps").contains("sleep 1000"));
    gamut.call(&["kill", &id]).ok();
    long.finish().code(137);
}
