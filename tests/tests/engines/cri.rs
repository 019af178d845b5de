//! Kubernetes' interface of containerd, with gamut's own shim and with gamut's OCI runtime under runc's: what
//! a kubelet asks for, by a small client of the interface (`tests/engines/cri.py`).

use base64::Engine as _;
use gamut_tests::cgroup;
use gamut_tests::engine::{Engine, namespace, status};
use gamut_tests::patience::{eventually, until};
use serde_json::{Value, json};

/// A node with one pod of its own, which goes when this does.
struct Pod {
    node: Engine,
    config: Value,
    id: String,
}

/// `NamespaceMode` of the interface.
const CONTAINER: i32 = 1;
const NODE: i32 = 2;

/// gamut's own shim, and runc's with gamut's OCI runtime.
const HANDLERS: [&str; 2] = ["gamut", "gamut-oci"];

/// Runs a test with each of these handlers; `linux` is the pod's configuration for Linux.
fn each(name: &str, handlers: &[&str], linux: &Value, test: impl Fn(&Pod)) {
    for handler in handlers {
        let Some(node) = Engine::new("python3 /peers/cri.py", &format!("cri-{name}-{handler}"))
        else {
            return;
        };
        test(&Pod::run(node, handler, linux));
    }
}

/// A pod in the node's network.
fn on_the_node() -> Value {
    json!({"security_context": {"namespace_options": {"network": NODE, "pid": CONTAINER}}})
}

/// Asks the interface.
#[track_caller]
fn ask(node: &Engine, method: &str, request: &Value) -> Value {
    let asked = node.call(&format!("{method} '{request}'"));
    assert!(!request.to_string().contains('\''), "{request}");
    asked.ok().json()
}

impl Pod {
    #[track_caller]
    fn run(node: Engine, handler: &str, linux: &Value) -> Pod {
        let mut config = json!({
            "metadata": {"name": "@", "uid": "@", "namespace": "default"},
            "log_directory": "/peers/@",
            "linux": linux,
        });
        if linux.pointer("/security_context/namespace_options/network") != Some(&json!(NODE)) {
            config["hostname"] = json!("poddy");
            config["port_mappings"] = json!([]);
        }
        // A pod that an earlier run has left.
        let pods = ask(&node, "ListPodSandbox", &json!({}));
        let name = node.beside("echo @").ok();
        for pod in pods["items"].as_array().into_iter().flatten() {
            if pod["metadata"]["name"] == name.text() {
                ask(
                    &node,
                    "StopPodSandbox",
                    &json!({"pod_sandbox_id": pod["id"]}),
                );
                ask(
                    &node,
                    "RemovePodSandbox",
                    &json!({"pod_sandbox_id": pod["id"]}),
                );
            }
        }
        node.file("here", "");
        let request = json!({"config": config, "runtime_handler": handler});
        let id = ask(&node, "RunPodSandbox", &request)["pod_sandbox_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Pod { node, config, id }
    }

    /// Makes a container and starts it; its ID.
    #[track_caller]
    fn start(&self, name: &str, command: &[&str], more: &Value) -> String {
        let mut config = json!({
            "metadata": {"name": name},
            "image": {"image": "localhost/bb:latest"},
            "command": command,
            "log_path": format!("{name}.log"),
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let request =
            json!({"pod_sandbox_id": self.id, "config": config, "sandbox_config": self.config});
        let made = ask(&self.node, "CreateContainer", &request);
        let id = made["container_id"].as_str().unwrap_or_default().to_owned();
        ask(&self.node, "StartContainer", &json!({"container_id": id}));
        id
    }

    #[track_caller]
    fn status(&self, id: &str) -> Value {
        let request = json!({"container_id": id, "verbose": true});
        ask(&self.node, "ContainerStatus", &request)
    }

    /// The status, when the container has ended.
    #[track_caller]
    fn ended(&self, id: &str) -> Value {
        eventually("the container has ended", || {
            let status = self.status(id)["status"].clone();
            (status["state"] == 2).then_some(status)
        })
    }

    #[track_caller]
    fn pid(&self, id: &str) -> i32 {
        let info = self.status(id)["info"]["info"].clone();
        let info: Value = serde_json::from_str(info.as_str().unwrap_or("{}")).expect("JSON");
        i32::try_from(info["pid"].as_i64().unwrap_or(0)).expect("a small number")
    }

    /// What a script prints in a container, its errors and its exit code.
    #[track_caller]
    fn exec(&self, id: &str, script: &str) -> (String, String, i64) {
        let request = json!({"container_id": id, "cmd": ["sh", "-c", script], "timeout": 60});
        let ran = ask(&self.node, "ExecSync", &request);
        let text = |name: &str| {
            let bytes =
                base64::prelude::BASE64_STANDARD.decode(ran[name].as_str().unwrap_or_default());
            String::from_utf8(bytes.expect("base64")).expect("text")
        };
        (
            text("stdout"),
            text("stderr"),
            ran["exit_code"].as_i64().unwrap_or(-1),
        )
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let request = json!({"pod_sandbox_id": self.id});
        self.node.call(&format!("StopPodSandbox '{request}'"));
        self.node.call(&format!("RemovePodSandbox '{request}'"));
    }
}

#[test]
fn a_container_lives_as_a_kubelet_has_it() {
    each("life", &HANDLERS, &on_the_node(), |pod| {
        let script = "echo out; echo err >&2; trap \"exit 9\" TERM; while :; do sleep 0.05; done";
        let id = pod.start(
            "one",
            &["sh", "-c", script],
            &json!({"envs": [{"key": "A", "value": "b"}]}),
        );
        let status = pod.status(&id)["status"].clone();
        assert_eq!(status["state"], 1, "{status}");
        assert_eq!(
            pod.exec(&id, "echo $A; echo x >&2; exit 3"),
            ("b\n".into(), "x\n".into(), 3)
        );
        let late = json!({"container_id": id, "cmd": ["sleep", "1000"], "timeout": 1});
        let late = pod.node.call(&format!("ExecSync '{late}'")).code(1);
        assert!(late.err.contains("DEADLINE_EXCEEDED"), "{}", late.err);
        let log = || {
            pod.node
                .beside("cut -d' ' -f2- /peers/@/one.log | sort")
                .ok()
                .out
        };
        until("its log is written", || {
            log() == "stderr F err\nstdout F out\n"
        });
        pod.node.beside("mv /peers/@/one.log /peers/@/one.old").ok();
        ask(
            &pod.node,
            "ReopenContainerLog",
            &json!({"container_id": id}),
        );
        pod.node.beside("test -e /peers/@/one.log").ok();
        let pid = pod.pid(&id);
        let stats = ask(&pod.node, "ContainerStats", &json!({"container_id": id}))["stats"].clone();
        assert_ne!(
            stats["memory"]["working_set_bytes"]["value"], "0",
            "{stats}"
        );
        assert_ne!(
            stats["cpu"]["usage_core_nano_seconds"]["value"], "0",
            "{stats}"
        );
        ask(
            &pod.node,
            "StopContainer",
            &json!({"container_id": id, "timeout": 60}),
        );
        let ended = pod.ended(&id);
        assert_eq!(ended["exit_code"], 9, "{ended}");
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        ask(&pod.node, "RemoveContainer", &json!({"container_id": id}));
        // One that does not heed its signal, and one that cannot be.
        let id = pod.start(
            "two",
            &["sh", "-c", "trap \"\" TERM; while :; do sleep 0.05; done"],
            &json!({}),
        );
        ask(
            &pod.node,
            "StopContainer",
            &json!({"container_id": id, "timeout": 1}),
        );
        assert_eq!(pod.ended(&id)["exit_code"], 137);
        let request = json!({"pod_sandbox_id": pod.id, "sandbox_config": pod.config, "config":
            {"metadata": {"name": "three"}, "image": {"image": "localhost/bb:latest"}, "command": ["nosuch"]}});
        let made = ask(&pod.node, "CreateContainer", &request);
        let refused = pod.node.call(&format!("StartContainer '{made}'")).code(1);
        assert!(
            refused.err.contains("not found") || refused.err.contains("no such file"),
            "{}",
            refused.err
        );
    });
}

/// What `kubectl exec`, `attach` and `port-forward` are made of.
#[test]
fn streams_lead_into_the_container() {
    each("streams", &HANDLERS, &on_the_node(), |pod| {
        let script = "nc -ll -p 28099 -e cat & while read line; do echo \"heard $line\"; done";
        let more = json!({"stdin": true});
        let id = pod.start("one", &["sh", "-c", script], &more);
        let stream = |method: &str, request: &Value, input: &str| {
            assert!(!request.to_string().contains('\''), "{request}");
            pod.node.call(&format!("{method} '{request}' '{input}'"))
        };
        let exec = |cmd: &[&str], tty: bool| json!({"container_id": id, "cmd": cmd, "tty": tty, "stdin": true, "stdout": true, "stderr": !tty});
        let talks = [
            "sh",
            "-c",
            "read line; echo out $line; echo err >&2; exit 7",
        ];
        let said = stream("Exec", &exec(&talks, false), "input\n").code(7);
        assert_eq!(
            (said.out.as_str(), said.err.as_str()),
            ("out input\n", "err\n")
        );
        let said = stream("Exec", &exec(&["tty"], true), "").ok();
        assert_eq!(said.text(), "/dev/pts/0");
        let attach = json!({"container_id": id, "stdin": true, "stdout": true});
        assert_eq!(stream("Attach", &attach, "word\n").ok().out, "heard word\n");
        let forward = json!({"pod_sandbox_id": pod.id, "port": [28099]});
        until("a port of the pod answers", || {
            stream("PortForward", &forward, "echo\n").out == "echo\n"
        });
    });
}

#[test]
fn resources_are_set_and_changed() {
    let mut linux = on_the_node();
    linux["cgroup_parent"] = json!("/kubepods-test/pod1");
    each("resources", &HANDLERS, &linux, |pod| {
        let resources = json!({"memory_limit_in_bytes": 64 << 20, "cpu_period": 100_000, "cpu_quota": 50_000,
            "cpu_shares": 512, "cpuset_cpus": "0", "oom_score_adj": 800});
        let id = pod.start(
            "one",
            &["sleep", "100000"],
            &json!({"linux": {"resources": resources}}),
        );
        let pid = pod.pid(&id);
        let directory = cgroup::directory(pid, "memory")
            .to_string_lossy()
            .into_owned();
        assert!(directory.contains("/kubepods-test/pod1/"), "{directory}");
        let memory = || cgroup::read(pid, "memory", "memory.limit_in_bytes", "memory.max");
        let quota = || cgroup::read(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert_eq!(memory(), (64 << 20).to_string());
        assert!(quota().starts_with("50000"), "{}", quota());
        assert_eq!(
            cgroup::read(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"),
            "0"
        );
        let score =
            std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
        assert_eq!(score, "800\n");
        let more = json!({"memory_limit_in_bytes": 128 << 20, "cpu_period": 100_000, "cpu_quota": 150_000});
        ask(
            &pod.node,
            "UpdateContainerResources",
            &json!({"container_id": id, "linux": more}),
        );
        assert_eq!(memory(), (128 << 20).to_string());
        assert!(quota().starts_with("150000"), "{}", quota());
        let told = pod.status(&id)["status"]["resources"]["linux"].clone();
        assert_eq!(
            told["memory_limit_in_bytes"],
            (128 << 20).to_string(),
            "{told}"
        );
        let small = json!({"resources": {"memory_limit_in_bytes": 16 << 20, "memory_swap_limit_in_bytes": 16 << 20}});
        let id = pod.start("two", &["tail", "/dev/zero"], &json!({"linux": small}));
        let ended = pod.ended(&id);
        assert_eq!(
            (&ended["reason"], &ended["exit_code"]),
            (&json!("OOMKilled"), &json!(137)),
            "{ended}"
        );
    });
}

#[test]
fn the_context_of_security_is_kept() {
    let mut linux = on_the_node();
    linux["sysctls"] = json!({"kernel.shmmax": "123456"});
    each("security", &HANDLERS, &linux, |pod| {
        let context = json!({
            "run_as_user": {"value": 1000}, "run_as_group": {"value": 1000}, "supplemental_groups": [3000],
            "readonly_rootfs": true, "no_new_privs": true, "capabilities": {"drop_capabilities": ["ALL"]},
            "seccomp": {"profile_type": 0}, "masked_paths": ["/etc/passwd"], "namespace_options": {"network": NODE, "pid": CONTAINER},
        });
        let mounts =
            json!([{"container_path": "/given", "host_path": "/peers/@", "readonly": true}]);
        let more = json!({"linux": {"security_context": context}, "mounts": mounts, "working_dir": "/tmp"});
        let id = pod.start("one", &["sleep", "100000"], &more);
        let pid = pod.pid(&id);
        assert_eq!(status(pid, "Uid"), "1000\t1000\t1000\t1000");
        assert!(
            status(pid, "Groups").contains("3000"),
            "{}",
            status(pid, "Groups")
        );
        for (field, value) in [
            ("CapBnd", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status(pid, field), value, "{field}");
        }
        let (seen, told, _) = pod.exec(&id, "pwd; wc -c </etc/passwd; cat /proc/sys/kernel/shmmax; ls /given/here; echo >/tmp/x; echo >/given/x");
        assert_eq!(seen, "/tmp\n0\n123456\n/given/here\n");
        assert_eq!(told.matches("Read-only file system").count(), 2, "{told}");
        // Its neighbour is in the pod's namespaces, and in its first one's where that is asked for.
        let joins = json!({"namespace_options": {"network": NODE, "pid": 3, "target_id": id}});
        let two = pod.start(
            "two",
            &["sleep", "4321"],
            &json!({"linux": {"security_context": joins}}),
        );
        let other = pod.pid(&two);
        for name in ["pid", "ipc"] {
            assert_eq!(namespace(pid, name), namespace(other, name), "{name}");
        }
        assert!(pod.exec(&two, "ps").0.contains("sleep 100000"));
    });
}

#[test]
fn a_privileged_container_has_it_all() {
    let mut linux = on_the_node();
    linux["security_context"]["privileged"] = json!(true);
    linux["security_context"]["namespace_options"]["pid"] = json!(NODE);
    each("privileged", &HANDLERS, &linux, |pod| {
        let context =
            json!({"privileged": true, "namespace_options": {"network": NODE, "pid": NODE}});
        let id = pod.start(
            "one",
            &["sleep", "100000"],
            &json!({"linux": {"security_context": context}}),
        );
        assert_eq!(status(pod.pid(&id), "Seccomp"), "0");
        let daemon = pod.node.beside("cat /peers/containerd.pid").ok();
        let node = daemon.text().parse().expect("a number");
        assert_eq!(namespace(pod.pid(&id), "pid"), namespace(node, "pid"));
        assert_eq!(
            pod.exec(&id, "mount -t tmpfs none /mnt && echo mounted").0,
            "mounted\n"
        );
    });
}

#[test]
fn pods_have_a_network_by_plugins() {
    let linux = json!({"sysctls": {"net.ipv4.ip_unprivileged_port_start": "99"}});
    each("network", &HANDLERS, &linux, |pod| {
        let serve = "mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www";
        pod.start("web", &["sh", "-c", serve], &json!({}));
        let client = pod.start("client", &["sleep", "100000"], &json!({}));
        let fetch =
            "wget -q -O - http://127.0.0.1/; cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
        until("the neighbour in the pod answers", || {
            pod.exec(&client, fetch).0 == "poddy\n99\n"
        });
        let state = ask(
            &pod.node,
            "PodSandboxStatus",
            &json!({"pod_sandbox_id": pod.id}),
        )["status"]
            .clone();
        let address = state["network"]["ip"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(address.starts_with("10.88.77."), "{state}");
        pod.node
            .beside(&format!("curl -s http://{address}/"))
            .ok()
            .prints("poddy");
    });
}

#[test]
fn a_pod_can_have_users_of_its_own() {
    let mapping = json!([{"host_id": 100_000, "container_id": 0, "length": 65_536}]);
    let users = json!({"mode": 0, "uids": mapping, "gids": mapping});
    let options = json!({"pid": CONTAINER, "userns_options": users});
    let linux = json!({"security_context": {"namespace_options": options}});
    each(
        "users",
        &["gamut", "gamut-users", "gamut-oci"],
        &linux,
        |pod| {
            let features = ask(&pod.node, "Status", &json!({}));
            let handlers = features["runtime_handlers"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            // containerd 2.1 asks for the features of what it takes for runc's shim, and of no other.
            for name in ["gamut-users", "gamut-oci"] {
                let handler = handlers.iter().find(|handler| handler["name"] == name);
                let told = handler.map(|handler| handler["features"].clone());
                let wanted = json!({"user_namespaces": true, "recursive_read_only_mounts": true});
                assert_eq!(told, Some(wanted), "{name}");
            }
            let mounts = json!([{"container_path": "/given", "host_path": "/peers/@", "uidMappings": mapping, "gidMappings": mapping}]);
            let context = json!({"security_context": {"namespace_options": options}});
            let id = pod.start(
                "one",
                &["sleep", "100000"],
                &json!({"linux": context, "mounts": mounts}),
            );
            assert_eq!(
                status(pod.pid(&id), "Uid"),
                "100000\t100000\t100000\t100000"
            );
            let (seen, told, _) = pod.exec(
                &id,
                "id -u; touch /given/new; stat -c %u /given/new /etc/passwd",
            );
            assert_eq!(seen, "0\n0\n0\n", "{told}");
            pod.node.beside("stat -c %u /peers/@/new").ok().prints("0");
        },
    );
}
