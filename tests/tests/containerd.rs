//! containerd runs containers with gamut's shim and gamut's OCI runtime. It has to be there: in the lab's
//! root of peers (`lab/peers up` and `lab/peers daemons`); else these are skipped.
//!
//! A test has a directory of its own in the peers' data, which is `/peers` inside, and containers named
//! like it. The root of a container is a directory with busybox: no image is needed for any of this.

use std::path::PathBuf;
use std::process::Command;

use gamut_tests::patience::{eventually, until};
use gamut_tests::{Outcome, gamut, skip};

/// containerd, with the binary under test where it finds it.
struct Containerd {
    name: &'static str,
    directory: PathBuf,
}

/// Runs a shell's words beside containerd.
fn beside(script: &str) -> Outcome {
    let peers = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/peers");
    let line = script.to_owned();
    let output = Command::new(peers)
        .args(["run", "sh", "-c", script])
        .output();
    match output {
        Ok(output) => Outcome {
            line,
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        // The machine of the lab has the tests, and not the lab.
        Err(error) => Outcome {
            line,
            code: 127,
            out: String::new(),
            err: error.to_string(),
        },
    }
}

impl Containerd {
    fn new(name: &'static str) -> Option<Containerd> {
        if beside("ctr version").code != 0 {
            skip::skipped("no containerd: `lab/peers up` and `lab/peers daemons`");
            return None;
        }
        let cache = std::env::var("GAMUT_CACHE").unwrap_or("/var/cache/gamut-lab".to_owned());
        let directory = PathBuf::from(cache).join("peers/data").join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("the peers' data can be written");
        std::fs::copy(gamut::binary(), directory.join("gamut")).expect("the binary is there");
        for link in ["gamut-oci", "containerd-shim-gamut-v2"] {
            std::os::unix::fs::symlink("gamut", directory.join(link)).expect("a new link");
        }
        beside(&format!(
            "mkdir -p /peers/{name}/root/bin && cd /peers/{name}/root/bin && cp /bin/busybox . && \
             for word in sh echo cat sleep true; do ln -s busybox $word; done"
        ))
        .ok();
        Some(Containerd { name, directory })
    }

    /// `ctr` with these arguments.
    fn ctr(&self, arguments: &str) -> Outcome {
        beside(&format!("timeout 100 ctr -n {} {arguments}", self.name))
    }

    /// `ctr run` of a container's name and command.
    fn run(&self, flags: &str, container: &str) -> Outcome {
        let name = self.name;
        self.ctr(&format!(
            "run {flags} --env PATH=/bin --runtime /peers/{name}/containerd-shim-gamut-v2 \
             --rootfs /peers/{name}/root {container}"
        ))
    }

    fn shims(&self) -> Vec<String> {
        let found = beside(&format!(
            "pgrep -f '^containerd-shim-gamut-v2 -namespace {} '",
            self.name
        ));
        found.out.lines().map(str::to_owned).collect()
    }

    /// Ends a container and forgets it.
    fn remove(&self, container: &str) {
        self.ctr(&format!("task kill -s KILL {container}")).ok();
        eventually("the task has stopped", || {
            let deleted = self.ctr(&format!("task delete {container}"));
            deleted.err.contains("exit code 137").then_some(())
        });
        self.ctr(&format!("container rm {container}")).ok();
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let name = self.name;
        let left = format!(
            "for task in $(ctr -n {name} task ls -q); do ctr -n {name} task delete -f $task; done; \
             ctr -n {name} container rm $(ctr -n {name} container ls -q); ctr namespace rm {name}"
        );
        beside(&left);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn output_and_exit_status_come_back() {
    let Some(containerd) = Containerd::new("shim-run") else {
        return;
    };
    let ran = containerd.run("--rm", "one sh -c 'echo out; echo err >&2; exit 7'");
    let ran = ran.code(7);
    assert_eq!(ran.out, "out\n");
    assert!(ran.err.starts_with("err\n"), "{}", ran.err);
    let refused = containerd.run("--rm", "two /no/such/program");
    assert!(refused.err.contains("no such file"), "{}", refused.err);
    until("the shims have ended", || containerd.shims().is_empty());
}

#[test]
fn a_process_can_be_added_paused_and_killed() {
    let Some(containerd) = Containerd::new("shim-exec") else {
        return;
    };
    containerd.run("-d", "one sleep 1000").ok();
    let exec = containerd.ctr("task exec --exec-id e one sh -c 'echo in; exit 3'");
    assert_eq!(exec.code(3).out, "in\n");
    containerd.ctr("task pause one").ok();
    assert!(containerd.ctr("task ls").ok().out.contains("PAUSED"));
    containerd.ctr("task resume one").ok();
    assert!(containerd.ctr("task ls").ok().out.contains("RUNNING"));
    let metrics = containerd.ctr("task metrics one").ok();
    assert!(metrics.out.contains("memory.usage"), "{}", metrics.out);
    containerd.remove("one");
    until("the shim has ended", || containerd.shims().is_empty());
}

#[test]
fn a_pod_has_one_shim_and_its_death_leaves_nothing() {
    let Some(containerd) = Containerd::new("shim-pod") else {
        return;
    };
    let pod = "-d --annotation io.kubernetes.cri.sandbox-id=pod";
    containerd.run(pod, "one sleep 1000").ok();
    containerd.run(pod, "two sleep 1000").ok();
    let shims = containerd.shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    containerd.remove("one");
    assert_eq!(containerd.shims(), shims, "it still has the other");
    beside(&format!("kill -9 {}", shims[0])).ok();
    until("containerd has cleaned up", || {
        containerd.ctr("task ls -q").out.is_empty()
    });
    let bundles = "/run/containerd/io.containerd.runtime.v2.task/shim-pod";
    let left = beside(&format!("ls {bundles}; grep {bundles} /proc/mounts"));
    assert_eq!(left.out, "");
    containerd.ctr("container rm two").ok();
    let again = containerd.run(&pod.replace("-d", "--rm"), "three echo again");
    assert_eq!(
        again.ok().out,
        "again\n",
        "the dead shim's socket is not in the way"
    );
}
