//! buildah: what its `RUN` and `run` do, by gamut.

use gamut_tests::Engine;
use gamut_tests::engine::namespace;
use gamut_tests::patience::eventually;

/// As a user says it; `containers.conf` is buildah's too.
const RUNTIME: &str = "--runtime /usr/local/bin/gamut-oci";

fn buildah(name: &str) -> Option<Engine> {
    let buildah = Engine::new("buildah", &format!("buildah-{name}"))?;
    buildah.at_end("rm @");
    Some(buildah)
}

#[test]
fn a_recipe_is_built() {
    let Some(buildah) = buildah("bud") else {
        return;
    };
    let recipe = "FROM localhost/bb\n\
        ENV A=b\n\
        RUN echo $A >/seen; id -u >>/seen; hostname >/dev/null\n\
        RUN --mount=type=bind,source=given,target=/given cat /given >>/seen\n\
        USER user\n\
        WORKDIR /tmp\n\
        RUN echo $(id -un) $(pwd) $(ulimit -n) >/tmp/user\n";
    buildah.file("Containerfile", recipe);
    buildah.file("given", "given\n");
    buildah.at_end("rmi -f localhost/@");
    let limits = "--ulimit nofile=123:123 --memory 64m --cpu-shares 300 --cgroup-parent /buildah-bud --shm-size 3m";
    buildah.says(&format!("bud {RUNTIME} {limits} -t localhost/@ /peers/@"));
    buildah.says("from --name @ localhost/@");
    let seen = buildah.says(&format!("run {RUNTIME} @ cat /seen /tmp/user"));
    assert_eq!(seen, "b\n0\ngiven\nuser /tmp 123");
    buildah.file("Containerfile", "FROM localhost/bb\nRUN exit 42\n");
    let failed = buildah.call(&format!("bud {RUNTIME} /peers/@"));
    assert!(
        failed.code != 0 && failed.err.contains("42"),
        "{}",
        failed.told()
    );
}

#[test]
fn commands_run_in_a_working_container() {
    let Some(buildah) = buildah("run") else {
        return;
    };
    buildah.says("from --name @ localhost/bb");
    let run = format!("run {RUNTIME}");
    let ran = buildah.call(&format!(
        "{run} --user user --workingdir /dev -e A=b @ sh -c 'id -u; pwd; echo $A; exit 7'"
    ));
    assert_eq!(ran.code(7).out, "1000\n/dev\nb\n");
    buildah
        .beside(&format!("echo in | buildah {run} @ cat"))
        .ok()
        .prints("in");
    buildah.file("given", "given\n");
    let mounts = "-v /peers/@/given:/given:ro --mount type=tmpfs,dst=/scratch --cap-drop all --hostname host1";
    let seen = buildah.says(&format!(
        "{run} {mounts} @ sh -c 'cat /given; hostname; grep -c /scratch /proc/mounts; grep CapBnd /proc/self/status'"
    ));
    assert_eq!(seen, "given\nhost1\n1\nCapBnd:\t0000000000000000");
    let mut screen = buildah.terminal(&format!("{run} -t @ sh"));
    screen.expect("# ");
    screen.send("tty; stty size\n");
    screen.expect("/dev/pts/0");
    screen.expect("24 80");
    screen.send("exit 4\n");
    assert_eq!(screen.wait(), 4);
}

#[test]
fn namespaces_are_as_asked() {
    let Some(buildah) = buildah("spaces") else {
        return;
    };
    buildah.says("from --name @ localhost/bb");
    let spaces = "--network host --pid host --ipc host --uts host";
    let seen = buildah.says(&format!("run {RUNTIME} {spaces} @ sh -c 'for n in net pid ipc uts mnt; do readlink /proc/self/ns/$n; done'"));
    let holder = buildah.beside("cat /peers/containerd.pid").ok();
    let host = holder.text().parse().expect("a number");
    let lines: Vec<&str> = seen.lines().collect();
    for (at, name) in ["net", "pid", "ipc", "uts"].into_iter().enumerate() {
        assert_eq!(lines[at], namespace(host, name).to_string_lossy(), "{name}");
    }
    assert_ne!(lines[4], namespace(host, "mnt").to_string_lossy());
    // Its end is the end of what it started.
    let _screen = buildah.terminal(&format!("run {RUNTIME} @ sleep 4326"));
    let sleeper = eventually("it runs", || {
        let found = buildah.beside("pgrep -x -f '/bin/sleep 4326'");
        found.text().parse::<i32>().ok()
    });
    buildah
        .beside("pkill -TERM -x -f 'buildah run .* @ sleep 4326'")
        .ok();
    eventually("it is gone", || {
        (!std::path::Path::new(&format!("/proc/{sleeper}")).exists()).then_some(())
    });
}
