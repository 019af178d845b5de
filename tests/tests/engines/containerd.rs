//! containerd by its own client, `ctr`: with gamut's shim, and with gamut's OCI runtime under runc's. A test
//! has a namespace of its own.

use gamut_tests::cgroup;
use gamut_tests::engine::{Engine, namespace, status};
use gamut_tests::patience::{eventually, until};

/// gamut's own shim, and runc's with gamut's OCI runtime.
const RUNTIMES: [&str; 2] = [
    "--runtime io.containerd.gamut.v2",
    "--runc-binary /usr/local/bin/gamut-oci",
];

/// containerd, and how it is to run containers.
struct Containerd {
    ctr: Engine,
    runtime: &'static str,
}

/// Runs a test with each of these runtimes.
fn each(name: &str, runtimes: &[&'static str], test: impl Fn(&Containerd)) {
    for runtime in runtimes {
        let shim = if runtime.contains("gamut.v2") {
            "gamut"
        } else {
            "runc"
        };
        let Some(ctr) = Engine::new("ctr -n @", &format!("ctr-{name}-{shim}")) else {
            return;
        };
        let containerd = Containerd { ctr, runtime };
        containerd.clear();
        containerd
            .ctr
            .beside("ctr -n @ image import /peers/bb.tar")
            .ok();
        test(&containerd);
    }
}

impl Containerd {
    /// `ctr run` of a container's name and command.
    fn run(&self, flags: &str, container: &str) -> gamut_tests::Outcome {
        let runtime = self.runtime;
        self.ctr.call(&format!(
            "run {flags} {runtime} localhost/bb:latest {container}"
        ))
    }

    fn shims(&self) -> Vec<String> {
        let found = self
            .ctr
            .beside("pgrep -f '^(/usr/bin/)?containerd-shim-(gamut|runc)-v2 -namespace @ '");
        found.out.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn pid(&self, container: &str) -> i32 {
        let listed = self.ctr.call("task ls").ok();
        let line = listed
            .lines()
            .into_iter()
            .find(|line| line.starts_with(container));
        let pid = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        pid.unwrap_or_else(|| panic!("{container} has no task\n{}", listed.told()))
    }

    /// Ends a container and forgets it.
    #[track_caller]
    fn remove(&self, container: &str) {
        self.ctr
            .call(&format!("task kill -s KILL {container}"))
            .ok();
        eventually("the task has stopped", || {
            let deleted = self.ctr.call(&format!("task delete {container}"));
            deleted.err.contains("exit code 137").then_some(())
        });
        self.ctr.call(&format!("container rm {container}")).ok();
    }

    fn clear(&self) {
        self.ctr.beside(
            "for task in $(ctr -n @ task ls -q); do ctr -n @ task delete -f $task; done; \
             for container in $(ctr -n @ container ls -q); do ctr -n @ container rm $container; done; \
             for image in $(ctr -n @ image ls -q); do ctr -n @ image rm --sync $image; done; ctr namespace rm @",
        );
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.clear();
    }
}

#[test]
fn output_and_exit_status_come_back() {
    each("run", &RUNTIMES, |containerd| {
        let ran = containerd.run("--rm", "one sh -c 'echo out; echo err >&2; exit 7'");
        let ran = ran.code(7);
        assert_eq!(ran.out, "out\n");
        assert!(ran.err.starts_with("err\n"), "{}", ran.err);
        let refused = containerd.run("--rm", "two /no/such/program");
        assert!(refused.err.contains("no such file"), "{}", refused.err);
        until("the shims have ended", || containerd.shims().is_empty());
    });
}

#[test]
fn options_reach_the_process() {
    each("options", &RUNTIMES, |containerd| {
        containerd.ctr.file("given/file", "from the host\n");
        let flags = "-d --user 1000:1000 --env A=b --cwd /tmp --memory-limit 67108864 --cpus 0.5 --read-only --seccomp \
             --mount type=bind,src=/peers/@/given,dst=/given,options=rbind:ro --cap-drop CAP_CHOWN --cap-add CAP_SYS_NICE \
             --hostname host1 --device /dev/fuse";
        containerd.run(flags, "one sleep 100000").ok();
        let pid = containerd.pid("one");
        assert_eq!(status(pid, "Uid"), "1000\t1000\t1000\t1000");
        assert_eq!(
            (status(pid, "NoNewPrivs"), status(pid, "Seccomp")),
            ("1".into(), "2".into())
        );
        let bounding = u64::from_str_radix(&status(pid, "CapBnd"), 16).expect("a number");
        assert_eq!((bounding & 1, bounding >> 23 & 1), (0, 1), "{bounding:x}");
        let limit = cgroup::read(pid, "memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(limit, "67108864");
        let quota = cgroup::read(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert!(quota.starts_with("50000"), "{quota}");
        for name in ["pid", "net", "ipc", "uts", "mnt"] {
            let own = std::process::id().cast_signed();
            assert_ne!(namespace(pid, name), namespace(own, name), "{name}");
        }
        let script = "id -u; echo $A; pwd; hostname; cat /given/file; ls /dev/fuse; echo x >/new; echo x >/given/new";
        let seen = containerd
            .ctr
            .call(&format!("task exec --exec-id e one sh -c '{script}'"));
        assert_eq!(
            seen.out,
            "1000\nb\n/tmp\nhost1\nfrom the host\n/dev/fuse\n",
            "{}",
            seen.told()
        );
        assert_eq!(
            seen.err.matches("Read-only file system").count(),
            2,
            "{}",
            seen.told()
        );
        containerd.remove("one");
    });
}

#[test]
fn terminals_are_real() {
    each("tty", &RUNTIMES, |containerd| {
        let runtime = containerd.runtime;
        let mut screen = containerd
            .ctr
            .terminal(&format!("run --rm -t {runtime} localhost/bb:latest one sh"));
        screen.expect("# ");
        screen.send("tty; stty size\n");
        screen.expect("/dev/pts/0");
        screen.expect("24 80");
        screen.resize(50, 132);
        screen.send("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; echo res''ized\n");
        screen.expect("resized");
        let mut other = containerd.ctr.terminal("task exec -t --exec-id e one sh");
        other.expect("# ");
        other.send("tty; exit 4\n");
        other.expect("/dev/pts/1");
        assert_eq!(other.wait(), 4);
        screen.send("exit 9\n");
        assert_eq!(screen.wait(), 9);
    });
}

#[test]
fn a_process_can_be_added_paused_and_killed() {
    each("exec", &RUNTIMES, |containerd| {
        let ctr = &containerd.ctr;
        containerd.run("-d", "one sleep 1000").ok();
        let exec = ctr.call("task exec --exec-id e one sh -c 'echo in; exit 3'");
        assert_eq!(exec.code(3).out, "in\n");
        // Not to the end of its input: ctr may see that before it can tell of it.
        let reads = "sh -c 'read word; echo $word'";
        let piped = ctr.beside(&format!(
            "echo through | ctr -n @ task exec --exec-id f one {reads}"
        ));
        piped.ok().prints("through");
        ctr.call("task pause one").ok();
        assert!(ctr.says("task ls").contains("PAUSED"));
        ctr.call("task resume one").ok();
        assert!(ctr.says("task ls").contains("RUNNING"));
        let metrics = ctr.says("task metrics one");
        assert!(metrics.contains("memory.usage"), "{metrics}");
        let pid = containerd.pid("one");
        assert!(ctr.says("task ps one").contains(&pid.to_string()));
        containerd.remove("one");
        until("the shim has ended", || containerd.shims().is_empty());
    });
}

/// `Checkpoint` of the task service, and a task that begins with one.
#[test]
fn a_checkpoint_is_taken_and_restored() {
    each("checkpoint", &RUNTIMES[..1], |containerd| {
        let ctr = &containerd.ctr;
        let able = ctr.beside("criu check >&2");
        if able.code != 0 {
            return gamut_tests::skip::skipped(&format!("criu cannot here: {}", able.err.trim()));
        }
        let script = "sh -c 'i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.05; done'";
        containerd.run("-d", &format!("one {script}")).ok();
        let count = |container: &str| {
            let said = ctr.call(&format!(
                "task exec --exec-id count-{} {container} cat /tmp/count",
                rand()
            ));
            said.out.trim().parse::<u64>().unwrap_or(0)
        };
        until("it counts", || count("one") > 5);
        ctr.call("container checkpoint --rw --task --image one @-saved")
            .ok();
        let before = count("one");
        until("it goes on", || count("one") > before);
        containerd.remove("one");
        ctr.call("container restore --rw --live two @-saved").ok();
        let after = count("two");
        assert!(after > 5, "it is at {after}");
        until("it counts from there", || count("two") > after);
        containerd.remove("two");
        until("the shims have ended", || containerd.shims().is_empty());
    });
}

/// A name that no other exec has.
fn rand() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos())
}

#[test]
fn a_signal_and_a_lack_of_memory_are_told() {
    each("told", &RUNTIMES, |containerd| {
        let ctr = &containerd.ctr;
        let script = "sh -c 'trap \"exit 9\" USR1; while :; do sleep 0.05; done'";
        containerd.run("-d", &format!("one {script}")).ok();
        // Not before it has its trap.
        until("it sleeps", || ctr.says("task ps one").lines().count() > 2);
        ctr.call("task kill -s USR1 one").ok();
        eventually("it has ended as it says", || {
            ctr.call("task delete one")
                .err
                .contains("exit code 9")
                .then_some(())
        });
        ctr.file("events", "");
        ctr.beside(
            "timeout 400 ctr -n @ events >/peers/@/events 2>&1 & echo $! >/peers/@/events.pid",
        )
        .ok();
        until("the events are told", || {
            // Again if it was too early for the one who listens.
            let flags = "--rm --memory-limit 16777216";
            containerd.run(flags, "two tail /dev/zero").code(137);
            let told = ctr.beside("cat /peers/@/events").ok().out;
            let all = ["create", "start", "oom", "exit", "delete"];
            all.iter()
                .all(|event| told.contains(&format!("/tasks/{event}")))
        });
        ctr.beside("kill $(cat /peers/@/events.pid)");
    });
}

#[test]
fn a_pod_has_one_shim_and_its_death_leaves_nothing() {
    each("pod", &RUNTIMES[..1], |containerd| {
        let pod = "-d --annotation io.kubernetes.cri.sandbox-id=pod";
        containerd.run(pod, "one sleep 1000").ok();
        containerd.run(pod, "two sleep 1000").ok();
        let shims = containerd.shims();
        assert_eq!(shims.len(), 1, "{shims:?}");
        containerd.remove("one");
        assert_eq!(containerd.shims(), shims, "it still has the other");
        let ctr = &containerd.ctr;
        ctr.beside(&format!("kill -9 {}", shims[0])).ok();
        until("containerd has cleaned up", || {
            ctr.says("task ls -q").is_empty()
        });
        let bundles = "/run/containerd/io.containerd.runtime.v2.task/@";
        let left = ctr.beside(&format!("ls {bundles}; grep {bundles} /proc/mounts"));
        assert_eq!(left.out, "");
        ctr.call("container rm two").ok();
        let again = containerd.run(&pod.replace("-d", "--rm"), "three echo again");
        let why = "the dead shim's socket is not in the way";
        assert_eq!(again.ok().out, "again\n", "{why}");
    });
}
