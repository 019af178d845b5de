//! docker: with gamut's OCI runtime under runc's shim, and with gamut's own shim. What goes through the shim
//! is asked of both.

mod build;
mod life;
mod network;

use gamut_tests::Engine;
use gamut_tests::cgroup;
use gamut_tests::engine::{namespace, status};

/// Runs a test with each of the two runtimes that docker knows; its flag is `--runtime` and the name.
fn each(name: &str, test: impl Fn(&Engine, &str)) {
    for runtime in ["gamut", "gamut-shim"] {
        let Some(docker) = Engine::new("docker", &format!("docker-{name}-{runtime}")) else {
            return;
        };
        test(&docker, &format!("--runtime {runtime}"));
    }
}

/// The names of what docker tells of a container.
fn told(docker: &Engine) -> String {
    let filter = "--filter container=@ --format '{{.Action}}' --since 10m";
    docker.says(&format!("events {filter} --until $(($(date +%s) + 1))"))
}

#[test]
fn its_runtime_is_gamut() {
    each("runtime", |docker, runtime| {
        docker.idle(&format!("{runtime} --network none"));
        let all = docker.inspect("@");
        assert_eq!(
            Some(all["HostConfig"]["Runtime"].as_str()),
            Some(runtime.strip_prefix("--runtime "))
        );
        let parent = status(docker.pid("@"), "PPid");
        let shim = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        let own = runtime.ends_with("shim");
        assert!(shim.starts_with("containerd-shim"), "{shim}");
        let shim = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap_or_default();
        assert_eq!(shim.contains("containerd-shim-gamut-v2"), own, "{shim}");
    });
}

#[test]
fn output_and_exit_codes_come_back() {
    each("codes", |docker, runtime| {
        let run = format!("run --rm --network none {runtime} localhost/bb");
        let ran = docker.call(&format!("{run} sh -c 'echo out; echo err >&2; exit 7'"));
        let ran = ran.code(7);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
        let absent = docker.call(&format!("{run} nosuch")).code(127);
        assert!(absent.err.contains("not found"), "{}", absent.err);
        docker.call(&format!("{run} /bin")).code(126);
        let interactive = run.replacen("run", "docker run -i", 1);
        docker
            .beside(&format!("echo through | {interactive} cat"))
            .ok()
            .prints("through");
    });
}

#[test]
fn options_reach_the_process() {
    each("options", |docker, runtime| {
        docker.file("given/file", "from the host\n");
        docker.at_end("volume rm -f @");
        let flags = "--network none --user user --group-add 3000 --cap-drop ALL --cap-add NET_RAW -w /dev -e A=b \
             --hostname host1 --ulimit nofile=100:200 --oom-score-adj 321 --security-opt no-new-privileges \
             --read-only --tmpfs /scratch:size=1m,mode=1777 --shm-size 3m \
             -v /peers/@/given:/given:ro --mount type=volume,src=@,dst=/volume --sysctl kernel.shmmax=123456";
        let script = "id; pwd; echo $A; hostname; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; cat /given/file; \
             cat /proc/sys/kernel/shmmax; grep -E \"^(CapBnd|NoNewPrivs|Seccomp):\" /proc/self/status; \
             df -k /dev/shm | tail -1; df -k /scratch | tail -1; echo s >/scratch/s; \
             echo x >/given/new; echo x >/etc/new";
        let ran = docker.call(&format!(
            "run --rm {runtime} {flags} localhost/bb sh -c '{script}'"
        ));
        let (seen, told) = (ran.out.clone(), ran.told());
        let lines: Vec<&str> = seen.lines().collect();
        assert!(
            lines[0].starts_with("uid=1000(user) gid=1000(user) groups="),
            "{told}"
        );
        assert!(
            lines[0].contains("2000(more)") && lines[0].contains("3000"),
            "{told}"
        );
        let rest = [
            "/dev",
            "b",
            "host1",
            "100",
            "200",
            "321",
            "from the host",
            "123456",
        ];
        assert_eq!(lines[1..9], rest, "{told}");
        for text in [
            "CapBnd:\t0000000000002000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            " 3072 ",
            " 1024 ",
        ] {
            assert!(seen.contains(text), "no {text}: {told}");
        }
        assert_eq!(
            ran.err.matches("Read-only file system").count(),
            2,
            "{told}"
        );
    });
}

#[test]
fn limits_are_set_and_changed() {
    each("limits", |docker, runtime| {
        let limits =
            "--network none -m 64m --memory-swap 64m --pids-limit 20 --cpus 0.5 --cpuset-cpus 0";
        docker.idle(&format!(
            "{runtime} {limits} --cgroup-parent /docker-limits"
        ));
        let pid = docker.pid("@");
        let directory = cgroup::directory(pid, "memory")
            .to_string_lossy()
            .into_owned();
        assert!(directory.contains("/docker-limits/"), "{directory}");
        let memory = || cgroup::read(pid, "memory", "memory.limit_in_bytes", "memory.max");
        let quota = || cgroup::read(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert_eq!(memory(), (64 << 20).to_string());
        assert_eq!(cgroup::read(pid, "pids", "pids.max", "pids.max"), "20");
        assert_eq!(
            cgroup::read(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"),
            "0"
        );
        assert!(quota().starts_with("50000"), "{}", quota());
        let stats = docker.call("stats --no-stream --format json @").ok().json();
        assert_eq!(stats["PIDs"], "1", "{stats}");
        let used = stats["MemUsage"].as_str().unwrap_or_default().to_owned();
        assert!(
            used.ends_with("/ 64MiB") && !used.starts_with("0B"),
            "{stats}"
        );
        docker.says("update --memory 128m --memory-swap 256m --pids-limit 30 --cpus 1.5 @");
        assert_eq!(memory(), (128 << 20).to_string());
        assert_eq!(cgroup::read(pid, "pids", "pids.max", "pids.max"), "30");
        assert!(quota().starts_with("150000"), "{}", quota());
        docker.says("rm -f @");
        assert!(!std::path::Path::new(&directory).exists(), "{directory}");
    });
}

#[test]
fn memory_that_runs_out_is_told() {
    each("oom", |docker, runtime| {
        let flags = format!("{runtime} --network none -m 16m --memory-swap 16m");
        docker.start(&flags, "sh -c 'tail /dev/zero; exit $?'");
        docker.call("wait @").ok().prints("137");
        docker.becomes("@", "/State/OOMKilled", true);
        let events = told(docker);
        assert!(events.lines().any(|line| line == "oom"), "{events}");
    });
}

#[test]
fn namespaces_are_shared_as_asked() {
    each("share", |docker, runtime| {
        docker.idle(&format!(
            "{runtime} --pid host --network host --ipc host --uts host --cgroupns host"
        ));
        let host = docker.beside("cat /peers/dockerd.pid").ok();
        let (pid, host) = (docker.pid("@"), host.text().parse().expect("a number"));
        for name in ["pid", "net", "ipc", "uts", "cgroup", "user"] {
            assert_eq!(namespace(pid, name), namespace(host, name), "{name}");
        }
        docker.says("rm -f @");
        docker.idle(&format!("{runtime} --network none --ipc shareable"));
        docker.at_end("rm -f @-two");
        let joins = "--pid container:@ --ipc container:@ --network container:@";
        docker.says(&format!(
            "run -d --name @-two {runtime} {joins} localhost/bb sleep 100"
        ));
        let (one, two) = (docker.pid("@"), docker.pid("@-two"));
        for name in ["pid", "net", "ipc"] {
            assert_eq!(namespace(one, name), namespace(two, name), "{name}");
        }
        assert_ne!(namespace(one, "mnt"), namespace(two, "mnt"));
        assert!(docker.says("exec @-two ps").contains("sleep 100000"));
    });
}

#[test]
fn init_and_privilege() {
    each("privileged", |docker, runtime| {
        let run = format!("run --rm --network none {runtime}");
        let processes = docker.says(&format!("{run} --init localhost/bb ps -o pid,args"));
        assert!(processes.contains("1 /sbin/docker-init"), "{processes}");
        let mount = "sh -c 'mount -t tmpfs none /mnt && echo mounted; ls /dev | wc -l'";
        let all = docker.says(&format!("{run} --privileged localhost/bb {mount}"));
        let none = docker.call(&format!("{run} localhost/bb {mount}")).ok();
        let devices = |text: &str| {
            text.lines()
                .last()
                .and_then(|line| line.parse::<u32>().ok())
        };
        assert!(all.starts_with("mounted"), "{all}");
        assert!(none.err.contains("denied"), "{}", none.told());
        assert!(devices(&all) > devices(none.text()), "{all} {}", none.out);
        let masked = docker.says(&format!(
            "{run} localhost/bb sh -c 'cat /proc/keys | wc -c'"
        ));
        assert_eq!(masked, "0");
        // What the group of devices lets through: nothing but what was asked for.
        let device = "run --rm --network none --device /dev/fuse:/dev/thing:r";
        let read = "true </dev/thing && echo read; true >/dev/thing";
        let opened = docker.call(&format!("{device} {runtime} localhost/bb sh -c '{read}'"));
        assert_eq!(opened.out, "read\n", "{}", opened.told());
        assert!(
            opened.err.contains("Operation not permitted"),
            "{}",
            opened.told()
        );
        let rule = "--device-cgroup-rule 'c 10:229 rm' --cap-add MKNOD";
        let make = "mknod /f c 10 229 && true </f && echo read; true >/f; mknod /m c 1 1; true </m";
        let opened = docker.call(&format!("{run} {rule} localhost/bb sh -c '{make}'"));
        assert_eq!(opened.out, "read\n", "{}", opened.told());
        for denied in ["/f: Operation not permitted", "/m: Operation not permitted"] {
            assert!(opened.err.contains(denied), "{}", opened.told());
        }
    });
}
