//! What an OCI configuration takes of the host: its network devices, its mount namespace or another's, the
//! processor's classes of cache; and what it says of a container before there is a program.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, fails};
use gamut_tests::census;
use gamut_tests::host::{ip, program};
use gamut_tests::skip::skipped;
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Without the namespaces of these kinds.
fn without(bundle: &Bundle, kinds: &[&str]) {
    bundle.set(|config| {
        let listed = config["linux"]["namespaces"].as_array_mut().unwrap();
        listed.retain(|one| !kinds.contains(&one["type"].as_str().unwrap()));
    });
}

fn with(bundle: &Bundle, namespace: Value) {
    bundle.set(|config| {
        let listed = config["linux"]["namespaces"].as_array_mut().unwrap();
        listed.retain(|one| one["type"] != namespace["type"]);
        listed.push(namespace);
    });
}

/// A process in namespaces of its own, until the end of the test.
struct Holder(Child);

impl Holder {
    fn new(flags: &[&str]) -> Holder {
        let mut command = Command::new("unshare");
        command
            .args(flags)
            .args(["sh", "-c", "echo; exec sleep 3600"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Holder(child)
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }

    fn inside(&self, words: &[&str]) -> String {
        let pid = self.0.id().to_string();
        program(
            "nsenter",
            &[&["-t", &pid, "-n", "-m", "--"], words].concat(),
        )
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A virtual device whose other end stays here; dummy devices are not in every kernel.
fn link(name: &str, options: &str) {
    ip(&format!(
        "link add {name} {options} type veth peer name p-{name}"
    ));
    ip(&format!("link set p-{name} up"));
}

/// Runtime specification, "Network Devices".
#[test]
fn a_network_device_of_the_host_is_the_containers() {
    let Some(bundle) = Bundle::new() else { return };
    link("one", "mtu 1456");
    link("two", "");
    ip("addr add 192.0.2.7/24 dev one");
    ip("addr add 192.0.2.9/32 peer 192.0.2.10 dev one");
    ip("addr add 2001:db8::7/64 dev one nodad");
    ip("addr add 10.99.0.1/24 dev one scope link");
    ip("addr add 192.0.2.8/24 dev one valid_lft 3600 preferred_lft 3600");
    bundle.put(
        "/linux/netDevices",
        json!({"one": {"name": "eth0"}, "two": {}}),
    );
    let said = bundle.inside(
        "ip -o addr show dev eth0 | awk '{print $3, $4, $5, $6}' | grep -v fe80; \
         ip link show dev eth0 | grep -o 'mtu [0-9]*'; ip link show dev eth0 | grep -c UP; ip link show dev two | grep -c UP",
    );
    for there in [
        "inet 192.0.2.7/24",
        "inet 192.0.2.9 peer 192.0.2.10/32",
        "inet6 2001:db8::7/64",
        "mtu 1456\n1\n1",
    ] {
        assert!(said.contains(there), "no {there} in\n{said}");
    }
    assert!(
        !said.contains("10.99.0.1") && !said.contains("192.0.2.8"),
        "{said}"
    );
    let left = ip("-o link show");
    assert!(
        !left.contains(": one@") && !left.contains(": two@"),
        "{left}"
    );
    bundle.assert_nothing_left();
}

#[test]
fn a_network_device_goes_where_the_container_joins() {
    let Some(bundle) = Bundle::new() else { return };
    let holder = Holder::new(&["-n"]);
    let path = holder.path("net");
    with(&bundle, json!({"type": "network", "path": path}));
    link("one", "");
    link("two", "");
    ip("addr add 192.0.2.7/24 dev one");
    bundle.put(
        "/linux/netDevices",
        json!({"one": {"name": "eth%d"}, "two": {"name": "eth%d"}}),
    );
    let said =
        bundle.inside("ip -o -4 addr show dev eth0 | grep -o 192.0.2.7/24; ls /sys/class/net");
    assert_eq!(said, "192.0.2.7/24\neth0\neth1\nlo");
    let still = holder.inside(&["ip", "-o", "addr", "show"]);
    assert!(
        still.contains("eth0") && still.contains("192.0.2.7"),
        "it is the namespace's, not the container's: {still}"
    );
    // A name that is taken there.
    link("eth0", "");
    ip("addr add 198.51.100.1/24 dev eth0");
    ip("link set eth0 up");
    bundle.put("/linux/netDevices", json!({"eth0": {}}));
    fails(bundle.make("run", &[], ID), &["eth0", "exists", "%d"]);
    let home = ip("-o addr show dev eth0");
    assert!(home.contains("198.51.100.1/24"), "{home}");
    assert!(ip("link show dev eth0").contains(",UP"), "it is as it was");
}

/// What fails later gives the devices back, with their names, their addresses and their state.
#[test]
fn a_network_device_comes_back_from_a_container_that_fails() {
    let Some(bundle) = Bundle::new() else { return };
    link("one", "");
    ip("addr add 192.0.2.7/24 dev one");
    ip("addr add 2001:db8::7/64 dev one nodad");
    ip("link set one up");
    bundle.put("/linux/netDevices", json!({"one": {"name": "eth0"}}));
    bundle.put("/process/args", json!(["/nosuch"]));
    fails(bundle.make("create", &[], ID), &["/nosuch"]);
    let home = ip("-o addr show dev one");
    assert!(
        home.contains("192.0.2.7/24") && home.contains("2001:db8::7/64"),
        "{home}"
    );
    assert!(ip("link show dev one").contains(",UP"));
    bundle.put("/linux/netDevices", json!({"nosuch": {}}));
    bundle.script("true");
    fails(
        bundle.make("create", &[], ID),
        &["nosuch", "no such device"],
    );
    for (name, to) in [("a/b", "c"), ("one", "a b"), ("one", "sixteen_bytes_it")] {
        bundle.put("/linux/netDevices", json!({name: {"name": to}}));
        fails(
            bundle.make("create", &[], ID),
            &["invalid network device name"],
        );
    }
    bundle.put("/linux/netDevices", json!({"one": {}}));
    without(&bundle, &["network"]);
    fails(
        bundle.make("create", &[], ID),
        &["network devices", "NET namespace"],
    );
    bundle.assert_nothing_left();
}

/// "If a namespace type is not specified, the container MUST inherit the runtime namespace of that type":
/// the container's mounts are the host's, until it is deleted.
#[test]
fn a_container_in_the_mount_namespace_of_the_host() {
    let Some(bundle) = Bundle::new() else { return };
    without(&bundle, &["mount"]);
    bundle.mount("/data", "tmpfs", "tmpfs", &["size=64k"]);
    let before = census::mounts();
    let pid = bundle.idle();
    let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/mnt")).unwrap();
    assert_eq!(of(&pid.to_string()), of("thread-self"));
    let data = bundle.rootfs().join("data");
    let seen = census::mounts();
    assert!(
        seen.iter()
            .any(|mount| mount.contains(data.to_str().unwrap())),
        "{seen:?}"
    );
    assert_eq!(
        bundle.exec(
            "pwd; ls / | grep -c data; echo $$ >/data/x; cat /etc/passwd | head -n1 | cut -d: -f1"
        ),
        "/\n1\nroot"
    );
    assert!(
        data.join("x").exists(),
        "the host sees what is mounted for the container"
    );
    let masked = bundle
        .exec("wc -c </proc/keys; (echo x >/proc/sys/kernel/hostname) 2>/dev/null || echo fixed");
    assert_eq!(masked, "0\nfixed");
    bundle.delete(ID);
    assert_eq!(census::mounts(), before, "delete takes the mounts away");
    // So does a creation that fails.
    bundle.put("/process/args", json!(["/nosuch"]));
    fails(bundle.make("create", &[], ID), &["/nosuch"]);
    assert_eq!(census::mounts(), before);
    // What others have mounted over it since is theirs.
    bundle.idle();
    let place = bundle.rootfs();
    rustix::mount::mount("over", &place, "tmpfs", MountFlags::empty(), None).unwrap();
    bundle.delete(ID);
    let left: Vec<_> = census::mounts()
        .into_iter()
        .filter(|mount| !before.contains(mount))
        .collect();
    assert!(left.iter().any(|mount| mount.contains("over")), "{left:?}");
    program("umount", &["-R", "-l", place.to_str().unwrap()]);
    let _ = rustix::mount::unmount(&place, UnmountFlags::DETACH);
    bundle.put("/root/path", json!("/"));
    fails(bundle.make("create", &[], ID), &["root of its own"]);
    bundle.assert_nothing_left();
}

#[test]
fn a_container_in_the_mount_namespace_of_another_process() {
    let Some(bundle) = Bundle::new() else { return };
    let holder = Holder::new(&["-m", "--propagation", "private"]);
    with(
        &bundle,
        json!({"type": "mount", "path": holder.path("mnt")}),
    );
    let before = (
        census::mounts(),
        holder.inside(&["cat", "/proc/self/mountinfo"]),
    );
    let pid = bundle.idle();
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap(),
        fs::read_link(holder.path("mnt")).unwrap()
    );
    assert_eq!(
        bundle.exec("cat /proc/1/comm; ls -d /bundle 2>/dev/null || echo own"),
        "sh\nown"
    );
    assert_eq!(census::mounts(), before.0, "nothing is mounted here");
    bundle.delete(ID);
    assert_eq!(holder.inside(&["cat", "/proc/self/mountinfo"]), before.1);
    // Whoever ends the namespace has taken the mounts along.
    bundle.idle();
    drop(holder);
    bundle.delete(ID);
    bundle.put(
        "/linux/namespaces",
        json!([{"type": "mount", "path": "/proc/self/ns/net"}, {"type": "uts"}, {"type": "ipc"}]),
    );
    fails(
        bundle.make("create", &[], ID),
        &["join a namespace", "mount"],
    );
    bundle.put(
        "/linux/namespaces",
        json!([{"type": "mount"}, {"type": "uts", "path": "relative"}]),
    );
    fails(bundle.make("create", &[], ID), &["not absolute", "uts"]);
}

/// A directory in place of the kernel's resctrl, which a machine without such a processor cannot mount:
/// the runtime finds it in the table of mounts.
fn fake_resctrl(bundle: &mut Bundle) -> Option<std::path::PathBuf> {
    let root = bundle.dir().join("resctrl");
    fs::create_dir_all(root.join("gold/mon_groups")).unwrap();
    fs::write(
        root.join("gold/schemata"),
        "    MB:0=100\n    L3:0=0ff;1=f\n",
    )
    .unwrap();
    let table = bundle.dir().join("mountinfo");
    let (root_path, table) = (root.display(), table.display());
    let show = format!(
        "{{ cat /proc/$$/mountinfo; echo '36 35 0:30 / {root_path} rw - resctrl resctrl rw'; }} >'{table}'; \
         mount --bind '{table}' /proc/$$/mountinfo && exec \"$@\""
    );
    bundle.by = ["unshare", "-m", "sh", "-c", &show, "sh"]
        .map(String::from)
        .into();
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", &show, "sh", "cat", "/proc/self/mountinfo"])
        .output();
    let shown = tried.is_ok_and(|shown| shown.stdout.ends_with(b"resctrl rw\n"));
    if !shown {
        skipped("this kernel lets nobody mount over /proc/PID/mountinfo");
    }
    shown.then_some(root)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runtime specification, "IntelRdt".
#[test]
fn a_class_of_cache_and_bandwidth() {
    let Some(mut bundle) = Bundle::new() else {
        return;
    };
    if !fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .contains(" - resctrl ")
    {
        bundle.put("/linux/intelRdt", json!({"schemata": ["L3:0=f"]}));
        fails(
            bundle.make("create", &[], ID),
            &["intelRdt", "not enabled", "resctrl"],
        );
    }
    let Some(root) = fake_resctrl(&mut bundle) else {
        return;
    };
    // Its own, by its name, gone with it.
    bundle.put(
        "/linux/intelRdt",
        json!({
            "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=f", "L2:1=1"],
        }),
    );
    let pid = bundle.idle();
    assert_eq!(
        read(&root.join("c/schemata")),
        "L3:0=f\nMB:0=20\nL2:0=f\nL2:1=1\n"
    );
    assert_eq!(read(&root.join("c/tasks")), pid.to_string());
    // The kernel's files go with their directory.
    for file in ["schemata", "tasks"] {
        fs::remove_file(root.join("c").join(file)).unwrap();
    }
    bundle.delete(ID);
    assert!(!root.join("c").exists());
    // One that is there stays, and its monitor goes.
    bundle.put(
        "/linux/intelRdt",
        json!({"closID": "gold", "l3CacheSchema": "L3:1=f;0=ff", "enableMonitoring": true}),
    );
    let pid = bundle.idle();
    assert_eq!(read(&root.join("gold/tasks")), pid.to_string());
    let monitor = root.join("gold/mon_groups/c");
    assert_eq!(read(&monitor.join("tasks")), pid.to_string());
    fs::remove_file(monitor.join("tasks")).unwrap();
    bundle.delete(ID);
    assert!(!monitor.exists() && root.join("gold").exists());
    for (rdt, words) in [
        (
            json!({"closID": "gold", "l3CacheSchema": "L3:0=1"}),
            ["another schema", "gold"],
        ),
        (json!({"closID": "nosuch"}), ["no class", "nosuch"]),
        (json!({"closID": "../x"}), ["invalid", "closID"]),
        (json!({"memBwSchema": "L3:0=1"}), ["memBwSchema", "MB:"]),
        (json!({"schemata": ["a\nb"]}), ["schema", "line"]),
    ] {
        bundle.put("/linux/intelRdt", rdt);
        fails(bundle.make("create", &[], ID), &words);
    }
    // A creation that fails later leaves neither a class nor a monitor.
    bundle.put(
        "/linux/intelRdt",
        json!({"closID": "/", "enableMonitoring": true}),
    );
    fails(bundle.make("create", &[], ID), &["mon_groups/c"]);
    let told = bundle.set_and_run(json!({"enableCMT": true}));
    assert!(
        told.contains("enableCMT") && told.contains("enableMonitoring"),
        "{told}"
    );
}

trait Told {
    fn set_and_run(&self, rdt: Value) -> String;
}

impl Told for Bundle {
    /// What is warned of where a class is asked for that has no file to write to.
    fn set_and_run(&self, rdt: Value) -> String {
        self.put("/linux/intelRdt", rdt);
        let told = self.run("true").err;
        let _ = fs::remove_file(self.dir().join("resctrl/c/tasks"));
        let _ = fs::remove_dir(self.dir().join("resctrl/c"));
        told
    }
}

/// "This property is REQUIRED when `start` is called", and not before.
#[test]
fn a_container_without_a_process_is_made_and_not_started() {
    let Some(bundle) = Bundle::new() else { return };
    let mut process = Value::Null;
    bundle.set(|config| process = config.as_object_mut().unwrap().remove("process").unwrap());
    bundle.make("create", &[], ID).ok();
    assert_eq!(bundle.status(ID), "created");
    fails(bundle.call(&["start", ID]), &["no process", ID]);
    assert_eq!(bundle.status(ID), "created", "that has no effect on it");
    let text = bundle.dir().join("process.json");
    process["args"] = json!(["hostname"]);
    fs::write(&text, process.to_string()).unwrap();
    let said = bundle.call(&["exec", "--process", text.to_str().unwrap(), ID]);
    assert_eq!(said.ok().text(), "gamut");
    bundle.delete(ID);
    bundle.assert_nothing_left();
}

/// A time namespace is one without offsets, too, and no offsets are set without one. Hooks are none of it.
#[test]
fn a_time_namespace_is_made_if_it_is_listed() {
    let Some(bundle) = Bundle::new() else { return };
    let own = fs::read_link("/proc/self/ns/time").unwrap();
    let inside = || bundle.inside("readlink /proc/self/ns/time");
    assert_eq!(inside(), own.to_str().unwrap());
    bundle.put("/linux/timeOffsets", json!({"monotonic": {"secs": 7200}}));
    fails(
        bundle.make("run", &[], ID),
        &["time namespace", "isn't enabled"],
    );
    with(&bundle, json!({"type": "time"}));
    bundle.put("/linux/timeOffsets", json!({"realtime": {"secs": 1}}));
    fails(bundle.make("run", &[], ID), &["timeOffsets", "realtime"]);
    let told = bundle.dir().join("hook");
    let note = format!("readlink /proc/self/ns/time >{}", told.display());
    bundle.put("/linux/timeOffsets", Value::Null);
    bundle.put(
        "/hooks",
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", note]}]}),
    );
    assert_ne!(inside(), own.to_str().unwrap());
    assert_eq!(read(&told).trim(), own.to_str().unwrap());
    with(
        &bundle,
        json!({"type": "time", "path": "/proc/self/ns/time"}),
    );
    assert_eq!(inside(), own.to_str().unwrap());
    bundle.put("/linux/timeOffsets", json!({"boottime": {"secs": 1}}));
    fails(
        bundle.make("run", &[], ID),
        &["namespace path and time offsets"],
    );
}
