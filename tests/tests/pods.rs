//! Pods: containers that share what an infra container holds, seen from inside each of them and from the host.

mod life;
mod lists;

use gamut_tests::world::talk;
use gamut_tests::{Gamut, Outcome, World, cgroup, eventually, patience};
use serde_json::Value;
use std::net::SocketAddr;

/// A gamut whose pods go when it does.
struct Pods(Gamut);

impl std::ops::Deref for Pods {
    type Target = Gamut;

    fn deref(&self) -> &Gamut {
        &self.0
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.learn_ids();
            self.0.call(&["pod", "rm", "--force", "--all"]).ok();
        }
    }
}

impl Pods {
    fn new() -> Option<Self> {
        Gamut::new().map(Self)
    }

    #[track_caller]
    fn create(&self, flags: &[&str]) -> String {
        let id = self.call(&[&["pod", "create"], flags].concat()).ok();
        assert_eq!(id.text().len(), 64, "{}", id.told());
        id.text().to_owned()
    }

    /// A container that waits in a pod.
    #[track_caller]
    fn member(&self, pod: &str, flags: &[&str]) -> String {
        let image = self.image("busybox");
        let waits = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";
        let first = ["run", "-d", "--pod", pod];
        let rest = [image.as_str(), "sh", "-c", waits];
        self.call(&[&first, flags, &rest].concat())
            .ok()
            .text()
            .to_owned()
    }

    #[track_caller]
    fn told(&self, pod: &str) -> Value {
        self.call(&["pod", "inspect", pod]).ok().json()[0].clone()
    }

    #[track_caller]
    fn infra(&self, pod: &str) -> String {
        let told = self.told(pod);
        told["InfraContainerID"].as_str().unwrap().to_owned()
    }

    fn refused(&self, flags: &[&str]) -> Outcome {
        let image = self.image("busybox");
        self.call(&[&["run", "--rm"], flags, &[image.as_str(), "true"]].concat())
    }

    #[track_caller]
    fn state(&self, pod: &str) -> String {
        self.call(&[
            "pod",
            "ps",
            "-f",
            &format!("name={pod}"),
            "--format",
            "{{.Status}}",
        ])
        .ok()
        .text()
        .to_owned()
    }

    fn namespace(&self, id: &str, kind: &str) -> String {
        let path = format!("/proc/{}/ns/{kind}", self.pid(id));
        let link = std::fs::read_link(path).unwrap();
        link.to_string_lossy().into_owned()
    }
}

#[test]
fn its_containers_share_what_the_infra_container_holds() {
    let Some(gamut) = Pods::new() else { return };
    let pod = gamut.create(&["--name", "web", "--shm-size", "3m"]);
    let one = gamut.member("web", &["--name", "one"]);
    let two = gamut.member(&pod[..12], &["--name", "two"]);
    let infra = gamut.infra("web");
    for kind in ["net", "uts", "ipc"] {
        let held = gamut.namespace(&infra, kind);
        for id in [&one, &two] {
            assert_eq!(gamut.namespace(id, kind), held, "{kind} outside");
            let inside = gamut.exec(id, &format!("readlink /proc/self/ns/{kind}"));
            assert_eq!(inside, held, "{kind} inside");
        }
    }
    for kind in ["pid", "mnt"] {
        assert_ne!(gamut.namespace(&one, kind), gamut.namespace(&two, kind));
    }
    // One loopback, one host name, one shared memory.
    assert_eq!(gamut.exec("one", "hostname; cat /etc/hostname"), "web\nweb");
    gamut.exec(
        "one",
        "echo hello > /dev/shm/note; (nc -l -p 7000 < /dev/shm/note > /dev/null 2>&1) &",
    );
    let said = eventually("the other answers on the loopback", || {
        let asked = gamut.call(&["exec", "two", "nc", "-w", "2", "127.0.0.1", "7000"]);
        Some(asked.out.trim().to_owned()).filter(|said| !said.is_empty())
    });
    assert_eq!(said, "hello");
    let shared = gamut.exec(
        "two",
        "cat /dev/shm/note; df -k /dev/shm | awk 'END { print $2 }'",
    );
    assert_eq!(shared, "hello\n3072");
    let told = gamut.inspect("one");
    assert_eq!(told["Pod"], *pod);
    assert_eq!(told["IsInfra"], false);
    assert_eq!(told["Dependencies"][0], *infra);
    assert_eq!(
        told["HostConfig"]["NetworkMode"],
        format!("container:{infra}")
    );
    let told = gamut.inspect(&infra);
    assert_eq!(told["Name"], format!("/{}-infra", &pod[..12]));
    assert_eq!(told["IsInfra"], true);
}

#[test]
fn what_is_shared_is_chosen() {
    let Some(gamut) = Pods::new() else { return };
    gamut.create(&["--name", "all", "--share", "+pid,cgroup"]);
    gamut.create(&["--name", "less", "--share", "uts"]);
    gamut.create(&["--name", "nothing", "--infra=false"]);
    gamut.create(&[
        "--name",
        "hosts",
        "--network",
        "none",
        "--uts",
        "host",
        "--pid",
        "host",
        "--share",
        "+pid",
    ]);
    let open = gamut.member("hosts", &[]);
    for kind in ["uts", "pid"] {
        let hosts = gamut.namespace(&gamut.infra("hosts"), kind);
        assert_eq!(gamut.namespace(&open, kind), hosts, "{kind}");
    }
    let one = gamut.member("all", &[]);
    let two = gamut.member("all", &[]);
    for kind in ["pid", "cgroup", "net"] {
        assert_eq!(
            gamut.namespace(&one, kind),
            gamut.namespace(&two, kind),
            "{kind}"
        );
    }
    let seen = gamut.exec(&one, "cat /proc/1/comm; ps | grep -c 'root  *sleep 3600$'");
    assert!(seen.ends_with("\n2"), "{seen}");
    // What a container says itself counts.
    let own = gamut.member("all", &["--pid", "private", "--network", "none"]);
    assert_ne!(gamut.namespace(&own, "pid"), gamut.namespace(&one, "pid"));
    assert_ne!(gamut.namespace(&own, "net"), gamut.namespace(&one, "net"));
    assert_eq!(gamut.namespace(&own, "ipc"), gamut.namespace(&one, "ipc"));
    let less = gamut.member("less", &["--network", "none"]);
    let infra = gamut.infra("less");
    assert_eq!(
        gamut.namespace(&less, "uts"),
        gamut.namespace(&infra, "uts")
    );
    assert_ne!(
        gamut.namespace(&less, "ipc"),
        gamut.namespace(&infra, "ipc")
    );
    let shared = gamut.told("all")["SharedNamespaces"].clone();
    assert_eq!(shared.as_array().unwrap().len(), 5, "{shared}");
    let alone = gamut.member("nothing", &["--network", "none"]);
    assert_ne!(
        gamut.namespace(&alone, "uts"),
        gamut.namespace(&less, "uts")
    );
    assert_eq!(gamut.told("nothing")["InfraContainerID"], "");
    assert_eq!(gamut.told("nothing")["NumContainers"], 1);
    let create = |flags: &[&str]| gamut.call(&[&["pod", "create"], flags].concat());
    create(&["--share", "mnt"]).code(125);
    create(&["--infra=false", "--share", "net"])
        .refused(1, &["infra"])
        .hinted();
    create(&["--infra=false", "-p", "80"])
        .refused(1, &["published ports"])
        .hinted();
}

#[test]
fn ports_names_and_addresses_are_the_pods() {
    let Some(gamut) = Pods::new() else { return };
    let _world = World::new();
    let peer = gamut.image("peer");
    gamut.create(&[
        "--name",
        "front",
        "-p",
        "8080:80",
        "--hostname",
        "shop",
        "--add-host",
        "db:192.0.2.7",
        "--dns",
        "192.0.2.53",
        "--mac-address",
        "02:11:22:33:44:55",
        "--sysctl",
        "net.ipv4.ip_default_ttl=77",
    ]);
    let id = gamut
        .call(&[
            "run", "-d", "--pod", "front", "--name", "server", &peer, "lab-peer", "serve", "80",
        ])
        .ok()
        .text()
        .to_owned();
    patience::until("the peer listens", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    let at: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    talk(at, "hello").unwrap();
    let format = ["ps", "--filter", "name=server", "--format", "{{.Ports}}"];
    let ports = gamut.call(&format).ok();
    assert!(ports.text().contains(":8080->80/tcp"), "{ports:?}");
    assert_eq!(
        gamut.exec(
            "server",
            "hostname; grep -c '192.0.2.7.db' /etc/hosts; grep -c 192.0.2.53 /etc/resolv.conf; \
             cat /sys/class/net/eth0/address /proc/sys/net/ipv4/ip_default_ttl"
        ),
        "shop\n1\n1\n02:11:22:33:44:55\n77"
    );
    let told = gamut.told("front");
    assert_eq!(told["Hostname"], "shop");
    let config = &told["InfraConfig"];
    assert_eq!(config["PortBindings"]["80/tcp"][0]["HostPort"], "8080");
    assert_eq!(config["StaticMAC"], "02:11:22:33:44:55");
    assert_eq!(config["DNSServer"][0], "192.0.2.53");
    assert_eq!(config["HostAdd"][0], "db:192.0.2.7");
    // Who is in it cannot say what is the pod's.
    for (flags, word) in [
        (&["-p", "81"][..], "published port"),
        (&["--hostname", "x"], "host name"),
        (&["--dns", "192.0.2.1"], "DNS"),
        (&["--add-host", "a:192.0.2.1"], "extra host"),
    ] {
        gamut
            .refused(&[&["--pod", "front"], flags].concat())
            .refused(125, &[word])
            .hinted();
    }
    gamut.create(&["--name", "hosts", "--network", "host"]);
    let id = gamut.member("hosts", &[]);
    let hosts = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert_eq!(gamut.namespace(&id, "net"), hosts.to_string_lossy());
    assert_eq!(gamut.told("hosts")["InfraConfig"]["HostNetwork"], true);
}

#[test]
fn on_a_network_it_is_found_by_its_names() {
    let Some(gamut) = Pods::new() else { return };
    gamut
        .call(&["network", "create", "--subnet", "10.90.0.0/16", "lane"])
        .ok();
    gamut.create(&[
        "--name",
        "shop",
        "--infra-name",
        "holder",
        "--network",
        "lane",
        "--network-alias",
        "till",
        "--ip",
        "10.90.7.7",
    ]);
    gamut.member("shop", &[]);
    let image = gamut.image("busybox");
    let asked = ["run", "--rm", "--network", "lane", &image, "sh", "-c"];
    for name in ["holder", "till"] {
        let script = format!("ping -c 1 -W 5 {name} | head -1");
        let said = gamut.call(&[&asked[..], &[&script]].concat()).ok();
        assert!(said.text().contains("10.90.7.7"), "{name}: {}", said.told());
    }
    let told = gamut.told("shop");
    assert_eq!(told["InfraConfig"]["StaticIP"], "10.90.7.7");
    assert_eq!(told["InfraConfig"]["Networks"][0], "lane");
    let listed = gamut.call(&["pod", "ps", "-q", "-f", "network=lane"]).ok();
    assert_eq!(listed.lines().len(), 1);
    gamut.call(&["pod", "rm", "-f", "shop"]).ok();
    gamut.call(&["network", "rm", "lane"]).ok();
}

#[test]
fn limits_hold_for_all_together() {
    let Some(gamut) = Pods::new() else { return };
    let id = gamut.create(&[
        "--name",
        "tight",
        "--network",
        "none",
        "--memory",
        "48m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
    ]);
    let one = gamut.member("tight", &["--memory", "32m"]);
    let own = cgroup::directory(gamut.pid(&one), "memory");
    let above = own.parent().unwrap();
    assert!(above.ends_with(format!("pod_{id}")), "{}", own.display());
    let read = |file: &str| {
        std::fs::read_to_string(above.join(file))
            .unwrap()
            .trim()
            .to_owned()
    };
    let file = match cgroup::unified() {
        true => "memory.max",
        false => "memory.limit_in_bytes",
    };
    assert_eq!(read(file), (48 << 20).to_string());
    let parent = gamut.inspect(&one)["HostConfig"]["CgroupParent"].clone();
    assert!(parent.as_str().unwrap().ends_with(&format!("pod_{id}")));
    assert_eq!(gamut.told("tight")["memory_limit"], 48 << 20);
    // Nobody's own limit is met, and all together meet the pod's.
    let image = gamut.image("busybox");
    gamut
        .call(&[
            "run",
            "--rm",
            "--pod",
            "tight",
            &image,
            "sh",
            "-c",
            "head -c 9m /dev/zero | tail > /dev/null",
        ])
        .ok();
    let killed = gamut.call(&[
        "run",
        "--rm",
        "--pod",
        "tight",
        &image,
        "sh",
        "-c",
        "head -c 90m /dev/zero | tail > /dev/null",
    ]);
    assert_eq!(killed.code, 137, "{}", killed.told());
    gamut.create(&[
        "--name",
        "apart",
        "--network",
        "none",
        "--share-parent=false",
    ]);
    let apart = cgroup::directory(gamut.pid(&gamut.member("apart", &[])), "memory");
    assert!(
        !apart.to_string_lossy().contains("pod_"),
        "{}",
        apart.display()
    );
    gamut
        .call(&["pod", "create", "--cpus", "9999"])
        .refused(1, &["CPUs"])
        .hinted();
    gamut
        .call(&["pod", "create", "--memory", "64m", "--share-parent=false"])
        .refused(1, &["limits"])
        .hinted();
    gamut.call(&["pod", "rm", "-f", "-t", "0", "-a"]).ok();
    assert!(!above.exists(), "{}", above.display());
}

#[test]
fn mounts_and_devices_of_the_pod_are_in_each_container() {
    let Some(gamut) = Pods::new() else { return };
    gamut.create(&[
        "--name",
        "data",
        "--network",
        "none",
        "-v",
        "common:/common",
        "--device",
        "/dev/zero:/dev/nothing",
    ]);
    let one = gamut.member("data", &[]);
    gamut.exec(&one, "echo x > /common/file");
    let two = gamut.member("data", &["--read-only"]);
    assert_eq!(gamut.exec(&two, "cat /common/file"), "x");
    let seen = "head -c 3 /dev/nothing | wc -c; test -c /dev/nothing && echo there";
    assert_eq!(gamut.exec(&two, seen), "3\nthere");
    gamut.call(&["pod", "rm", "-f", "data"]).ok();
    gamut.call(&["volume", "rm", "common"]).ok();
}

#[test]
fn the_infra_container_can_have_an_image() {
    let Some(gamut) = Pods::new() else { return };
    let image = gamut.image("busybox");
    gamut.create(&[
        "--name",
        "own",
        "--network",
        "none",
        "--infra-image",
        &image,
        "--infra-command",
        "sleep 4321",
    ]);
    gamut.call(&["pod", "start", "own"]).ok();
    let infra = gamut.infra("own");
    assert_eq!(gamut.exec(&infra, "cat /proc/1/comm"), "sleep");
    assert_eq!(gamut.inspect(&infra)["Config"]["Image"], *image);
    gamut
        .call(&["pod", "create", "--infra-command", "sleep 1"])
        .code(1);
}
