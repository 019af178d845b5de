//! OCI containers of root of a user namespace, as rootless podman and buildah call a runtime, and of
//! those who join a user namespace that is there.

use gamut_tests::Bundle;
use gamut_tests::bundle::ID;
use gamut_tests::host::program;
use gamut_tests::rootless::rootless;
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};

/// Has the rest called by root of a user namespace.
fn unshare(bundle: &mut Bundle, flags: &str) {
    bundle.by.push("unshare".to_owned());
    bundle.by.extend(flags.split(' ').map(str::to_owned));
    bundle.by.push("--".to_owned());
}

#[test]
fn root_of_a_user_namespace_needs_no_other() {
    for flags in ["--user --map-root-user --mount", "--user --map-root-user"] {
        let Some(mut bundle) = rootless() else { return };
        unshare(&mut bundle, flags);
        without_own_users(&bundle);
        let script = "id -u; cat /proc/self/uid_map; echo x >/dev/null; echo $?";
        let said = bundle.inside(script);
        let words: Vec<_> = said.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "65534", "1", "0"], "{flags}");
    }
}

#[test]
fn root_of_a_user_namespace_makes_one_below() {
    for flags in ["--user --map-root-user --mount", "--user --map-root-user"] {
        let Some(mut bundle) = rootless() else { return };
        unshare(&mut bundle, flags);
        let maps = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        bundle.put("/linux/uidMappings", maps.clone());
        bundle.put("/linux/gidMappings", maps);
        let said = bundle.inside("id -u; readlink /proc/self/ns/user");
        let (id, namespace) = said.split_once('\n').unwrap();
        assert_eq!(id, "0", "{flags}");
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        assert_ne!(namespace.trim(), own.to_str().unwrap());
    }
}

/// By one's own user namespace the containers of a pod see each other's files as they are.
#[test]
fn a_user_joins_a_namespace_of_its_own() {
    let Some(bundle) = rootless() else { return };
    let pid = bundle.idle();
    join(&bundle, pid, &["user", "ipc", "uts"]);
    let shown = "for kind in user ipc mnt; do readlink /proc/self/ns/$kind; done";
    bundle.script(shown);
    let said = bundle.make("run", &[], "second").ok();
    let first = bundle.exec(shown);
    let (said, first): (Vec<_>, Vec<_>) = (said.text().lines().collect(), first.lines().collect());
    assert_eq!(said[..2], first[..2]);
    assert_ne!(said[2], first[2], "its mounts are its own");
    bundle.delete(ID);
}

#[test]
fn root_joins_a_user_namespace_and_makes_the_others() {
    let Some(bundle) = Bundle::new() else { return };
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    bundle.set(|config| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        list.push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = maps.clone();
        config["linux"]["gidMappings"] = maps.clone();
    });
    program("chmod", &["755", bundle.dir().to_str().unwrap()]);
    program(
        "chown",
        &["-R", "100000:100000", bundle.rootfs().to_str().unwrap()],
    );
    let pid = bundle.idle();
    let secret = bundle.dir().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "mine\n").unwrap();
    program("chmod", &["700", secret.to_str().unwrap()]);
    join(&bundle, pid, &["user"]);
    bundle.set(|config| {
        config["linux"]
            .as_object_mut()
            .unwrap()
            .remove("uidMappings");
        config["linux"]
            .as_object_mut()
            .unwrap()
            .remove("gidMappings");
        config["linux"]["cgroupsPath"] = json!(format!("/{}-second", bundle.name()));
    });
    // Root's rights open what is bound, and its owners are shown as the namespace has them.
    bundle.mount(
        "/secret",
        "bind",
        secret.to_str().unwrap(),
        &["bind", "idmap"],
    );
    let script = "id -u; cat /proc/self/uid_map; cat /secret/file; stat -c %u /secret; \
                  readlink /proc/self/ns/user; echo x >/dev/null; mount -t tmpfs t /tmp && echo mounted";
    bundle.capabilities(&["CAP_SYS_ADMIN"]);
    bundle.script(script);
    let said = bundle.make("run", &[], "second").ok();
    let lines: Vec<_> = said.text().lines().collect();
    let map: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!((lines[0], map), ("0", vec!["0", "100000", "1000"]));
    let expected = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    let namespace = expected.to_str().unwrap();
    assert_eq!(lines[2..], ["mine", "0", namespace, "mounted"]);
    bundle.delete(ID);
}

/// Has the next container join these namespaces of a process.
fn join(bundle: &Bundle, pid: i32, kinds: &[&str]) {
    bundle.set(|config| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        for one in list {
            let kind = one["type"].as_str().unwrap_or_default().to_owned();
            if kinds.contains(&kind.as_str()) {
                one["path"] = json!(format!("/proc/{pid}/ns/{kind}"));
            }
        }
        config.as_object_mut().unwrap().remove("hostname");
    });
}

/// Makes a container, one that joins its pid namespace, and looks into both.
const POD: &str = r#"
set -e
gamut() { "$PROGRAM" oci --root "$STATE" "$@"; }
gamut run -d first
pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/' "$STATE/first/state.json")
cp config.json kept
sed -i "s|\"type\": \"pid\"|\"type\": \"pid\", \"path\": \"/proc/$pid/ns/pid\"|" config.json
gamut run -d second
cp kept config.json
for name in first second; do gamut exec $name readlink /proc/self/ns/pid; done
gamut delete --force second
gamut delete --force first
"#;

/// A pod that shares its processes, in podman's user namespace: from a pid namespace there is no way
/// back for who is not the host's root.
#[test]
fn root_of_a_user_namespace_shares_processes() {
    let Some(bundle) = rootless() else { return };
    without_own_users(&bundle);
    bundle.script("sleep 1000");
    let mut command = Command::new(&bundle.by[0]);
    command.args(&bundle.by[1..]).current_dir(bundle.path());
    command.args("unshare --user --map-root-user --mount -- sh -c".split(' '));
    command.arg(POD).env("STATE", bundle.state_dir());
    command.env("PROGRAM", bundle.binary());
    let said = bundle.spawn(command, Stdio::null()).finish().ok();
    let lines: Vec<_> = said.text().lines().collect();
    assert_eq!(lines.len(), 2, "{}", said.told());
    assert_eq!(lines[0], lines[1]);
}

fn without_own_users(bundle: &Bundle) {
    bundle.set(|config| {
        let linux = config["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        let list = linux["namespaces"].as_array_mut().unwrap();
        list.retain(|one| one["type"] != "user");
    });
}
