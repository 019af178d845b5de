//! podman: one container, from its options to its end.

mod isolation;
mod life;
mod together;

use gamut_tests::Engine;
use gamut_tests::cgroup;

fn podman(name: &str) -> Option<Engine> {
    Engine::new("podman", &format!("podman-{name}"))
}

/// What a script prints in a container of its own with these flags.
#[track_caller]
fn inside(podman: &Engine, flags: &str, script: &str) -> String {
    podman.says(&format!("run --rm {flags} localhost/bb sh -c '{script}'"))
}

#[test]
fn its_runtime_is_gamut() {
    let Some(podman) = podman("runtime") else {
        return;
    };
    podman.idle("--network none");
    assert_eq!(podman.inspect("@")["OCIRuntime"], "gamut");
    let listed = podman.beside("gamut-oci list -q").ok();
    let id = podman.inspect("@")["Id"].as_str().unwrap_or("?").to_owned();
    assert!(listed.lines().contains(&id.as_str()), "{}", listed.told());
    podman.says("rm -f -t 0 @");
    let listed = podman.beside("gamut-oci list -q").ok();
    assert!(!listed.out.contains(&id), "{}", listed.told());
}

#[test]
fn output_and_exit_codes_come_back() {
    let Some(podman) = podman("codes") else {
        return;
    };
    let run = "run --rm --network none localhost/bb";
    let ran = podman.call(&format!("{run} sh -c 'echo out; echo err >&2; exit 7'"));
    let ran = ran.code(7);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
    let absent = podman.call(&format!("{run} nosuch")).code(127);
    assert!(absent.err.contains("not found"), "{}", absent.err);
    let directory = podman.call(&format!("{run} /bin")).code(126);
    assert!(
        directory.err.contains("is a directory"),
        "{}",
        directory.err
    );
    let piped = podman.beside(&format!(
        "echo through | podman {} cat",
        run.replace("run", "run -i")
    ));
    piped.ok().prints("through");
    // No trace of any of them, where the engine and the runtime keep theirs.
    assert_eq!(podman.says("ps -aq --filter name=podman-codes"), "");
}

#[test]
fn options_reach_the_process() {
    let Some(podman) = podman("options") else {
        return;
    };
    let flags = "--network none --user user:user --group-add 3000 --cap-drop all --cap-add net_raw -w /dev -e A=b \
         --hostname host1 --ulimit nofile=100:200 --ulimit core=0 --oom-score-adj 321 --umask 0027 \
         --security-opt no-new-privileges";
    let script = "id; pwd; echo $A; hostname; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; umask; \
         grep -E \"^(CapPrm|CapBnd|NoNewPrivs|Seccomp):\" /proc/self/status";
    let seen = inside(&podman, flags, script);
    let lines: Vec<&str> = seen.lines().collect();
    assert!(
        lines[0].starts_with("uid=1000(user) gid=1000(user) groups="),
        "{seen}"
    );
    assert!(lines[0].contains("3000"), "{seen}");
    let rest = ["/dev", "b", "host1", "100", "200", "321", "0027"];
    assert_eq!(lines[1..8], rest, "{seen}");
    assert!(seen.contains("CapPrm:\t0000000000002000"), "{seen}");
    assert!(seen.contains("CapBnd:\t0000000000002000"), "{seen}");
    assert!(seen.contains("NoNewPrivs:\t1"), "{seen}");
    assert!(seen.contains("Seccomp:\t2"), "{seen}");
}

#[test]
fn mounts_and_devices_are_there() {
    let Some(podman) = podman("mounts") else {
        return;
    };
    podman.file("given/file", "from the host\n");
    podman.at_end("volume rm -f @");
    let flags = "--network none --read-only --tmpfs /scratch:size=1m,mode=1777 --shm-size 3m \
         -v /peers/@/given:/ro:ro -v /peers/@/given:/rw -v @:/volume:nosuid --device /dev/null:/dev/nothing:rw \
         --mount type=bind,src=/peers/@/given/file,dst=/one,ro --sysctl kernel.shmmax=123456";
    let script = "cat /ro/file; echo x >/ro/new; echo y >/rw/new; echo z >/volume/v; echo root >/etc/new; \
         echo s >/scratch/s && cat /scratch/s; df -k /dev/shm | tail -1; df -k /scratch | tail -1; \
         cat /one; stat -c %t:%T /dev/nothing; cat /proc/sys/kernel/shmmax; grep volume /proc/mounts";
    let ran = podman
        .call(&format!("run --rm {flags} localhost/bb sh -c '{script}'"))
        .ok();
    for text in [
        "from the host\n",
        "\ns\n",
        " 3072 ",
        " 1024 ",
        "1:3",
        "123456",
        "nosuid",
    ] {
        assert!(ran.out.contains(text), "no {text:?}: {}", ran.told());
    }
    assert_eq!(
        ran.err.matches("Read-only file system").count(),
        2,
        "{}",
        ran.err
    );
    podman.beside("cat /peers/@/given/new").ok().prints("y");
    podman.at_end("secret rm @");
    podman.beside("echo hidden | podman secret create @ -").ok();
    let told = inside(
        &podman,
        "--network none --secret @,mode=0400",
        "cat /run/secrets/@",
    );
    assert_eq!(told, "hidden");
    let kept = inside(&podman, "--network none -v @:/volume", "cat /volume/v");
    assert_eq!(kept, "z", "a volume outlives its container");
}

#[test]
fn limits_are_set_and_changed() {
    let Some(podman) = podman("limits") else {
        return;
    };
    podman
        .idle("--network none -m 64m --pids-limit 20 --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0");
    let pid = podman.pid("@");
    let memory = || cgroup::read(pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(memory(), (64 << 20).to_string());
    assert_eq!(cgroup::read(pid, "pids", "pids.max", "pids.max"), "20");
    assert_eq!(
        cgroup::read(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"),
        "0"
    );
    let quota = cgroup::read(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    let stats = podman.call("stats --no-stream --format json @").ok().json();
    assert_eq!(stats[0]["pids"], "1", "{stats}");
    let used = stats[0]["mem_usage"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        used.ends_with("/ 67.11MB") && !used.starts_with("0B"),
        "{stats}"
    );
    podman.says("update --memory 128m --pids-limit 30 --cpus 1.5 @");
    assert_eq!(memory(), (128 << 20).to_string());
    assert_eq!(cgroup::read(pid, "pids", "pids.max", "pids.max"), "30");
    let quota = cgroup::read(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("150000"), "{quota}");
    // What was changed holds after a restart.
    podman.says("restart -t 0 @");
    let pid = podman.pid("@");
    let after = cgroup::read(pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(after, (128 << 20).to_string());
}

#[test]
fn a_parent_group_is_used() {
    let Some(podman) = podman("parent") else {
        return;
    };
    podman.idle("--network none --cgroup-parent /podman-parent-group -m 32m");
    let directory = cgroup::directory(podman.pid("@"), "memory");
    let path = directory.to_string_lossy().into_owned();
    assert!(path.contains("/podman-parent-group/libpod-"), "{path}");
    podman.says("rm -f -t 0 @");
    assert!(!directory.exists(), "{path}");
    podman.beside("for d in /sys/fs/cgroup/*/podman-parent-group; do rmdir $d/conmon $d; done");
}

#[test]
fn memory_that_runs_out_is_told() {
    let Some(podman) = podman("oom") else { return };
    podman.start(
        "--network none -m 16m --memory-swap 16m",
        "sh -c 'tail /dev/zero'",
    );
    podman.call("wait @").ok().prints("137");
    let state = podman.inspect("@")["State"].clone();
    assert_eq!(state["OOMKilled"], true, "{state}");
    assert_eq!(state["ExitCode"], 137, "{state}");
}

#[test]
fn descriptors_hooks_and_init_are_honoured() {
    let Some(podman) = podman("hooks") else {
        return;
    };
    let passed = podman.beside(
        "echo fourth >/tmp/@; podman run --rm --network none --preserve-fds=1 localhost/bb sh -c 'cat <&3' 3</tmp/@; rm /tmp/@",
    );
    passed.ok().prints("fourth");
    let hook = r#"{"version": "1.0.0", "when": {"always": true}, "stages": ["prestart", "poststop"],
        "hook": {"path": "/bin/sh", "args": ["sh", "-c", "cat >>/peers/podman-hooks/told; echo >>/peers/podman-hooks/told"]}}"#;
    podman.file("hooks/one.json", hook);
    let hooked = "--hooks-dir /peers/@/hooks run --rm --network none localhost/bb true";
    podman.says(hooked);
    let told = podman.beside("cat /peers/@/told").ok();
    let states: Vec<_> = told
        .json_lines()
        .iter()
        .map(|state| state["status"].clone())
        .collect();
    assert_eq!(states, ["creating", "stopped"], "{}", told.told());
    let processes = inside(&podman, "--network none --init", "ps -o pid,args");
    assert!(processes.contains("1 /run/podman-init"), "{processes}");
}
