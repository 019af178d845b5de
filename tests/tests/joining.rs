//! Several networks for one container, joined at its start or while it runs, and networks of others.

use gamut_tests::world::{WHOAMI, WORLD4, talk};
use gamut_tests::{Gamut, World, patience};

use crate::networks::{address, inside, peer};

/// A script that says whether it has reached what is called so.
fn by_name(name: &str) -> String {
    format!(
        "at=$(nslookup {name} 2>/dev/null | sed -n 's/^Address: //p' | head -n 1); \
         timeout 3 lab-peer tcp $at:80 >/dev/null 2>&1 && echo reached || echo not"
    )
}

#[test]
fn a_container_is_on_several_networks() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    gamut
        .call(&["network", "create", "--internal", "back"])
        .ok();
    gamut
        .call(&["network", "create", "--subnet", "10.81.0.0/24", "front"])
        .ok();
    let flags = [
        "--network",
        "back",
        "--network",
        "name=front,alias=shop,ip=10.81.0.9",
        "--name",
        "web",
        "-p",
        "8080:80",
    ];
    let web = peer(&gamut, &flags);
    assert_eq!(address(&gamut, &web, "front"), "10.81.0.9");
    let said = gamut.call(&["exec", "web", "ip", "-o", "-4", "addr"]).ok();
    assert!(
        said.out.contains("eth0") && said.out.contains("eth1"),
        "{}",
        said.out
    );
    // The way out is the network that has one.
    let routes = gamut.call(&["exec", "web", "ip", "route"]).ok();
    assert!(
        routes.out.contains("default via 10.81.0.1 dev eth1"),
        "{}",
        routes.out
    );
    let out = format!("{WORLD4}:{WHOAMI}");
    gamut.call(&["exec", "web", "lab-peer", "tcp", &out]).ok();
    talk("127.0.0.1:8080".parse().unwrap(), "hello").unwrap();
    // Or the one that is wanted.
    gamut
        .call(&["network", "create", "--subnet", "10.82.0.0/24", "side"])
        .ok();
    let wanted = ["--network", "front", "--network", "name=side,gw-priority=1"];
    let routes = inside(&gamut, &wanted, "ip route");
    assert!(
        routes.contains("default via 10.82.0.1 dev eth1"),
        "{routes}"
    );
    // Each network has its names.
    let ask = by_name;
    assert_eq!(
        inside(&gamut, &["--network", "front"], &ask("shop")),
        "reached"
    );
    assert_eq!(
        inside(&gamut, &["--network", "back"], &ask("web")),
        "reached"
    );
    let listed = gamut.call(&["ps", "--format", "{{.Networks}}"]).ok();
    assert_eq!(listed.text(), "back,front");
    let image = gamut.image("peer");
    for words in [&["--network", "host"][..], &["--network", "front"]] {
        let words = [
            &["run", "--rm", "--network", "front"],
            words,
            &[&image, "true"],
        ]
        .concat();
        let refused = gamut.call(&words);
        assert_eq!(refused.code, 125, "{}", refused.told());
    }
}

#[test]
fn networks_are_joined_and_left_while_it_runs() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    for name in ["one", "two"] {
        gamut.call(&["network", "create", name]).ok();
    }
    let web = peer(&gamut, &["--name", "web", "-p", "8080:80"]);
    let ask = &by_name("shop");
    assert_eq!(inside(&gamut, &["--network", "one"], ask), "not");
    gamut
        .call(&["network", "connect", "--alias", "shop", "one", "web"])
        .ok();
    assert_eq!(inside(&gamut, &["--network", "one"], ask), "reached");
    // It finds others from now on.
    let other = peer(&gamut, &["--network", "one", "--name", "other"]);
    let at = address(&gamut, &other, "one");
    let said = gamut.call(&["exec", "web", "nslookup", "other"]).ok();
    assert!(said.out.contains(&at), "{}", said.out);
    let hosts = gamut.call(&["exec", "web", "cat", "/etc/hosts"]).ok();
    assert!(
        hosts.out.contains(&address(&gamut, &web, "one")),
        "{}",
        hosts.out
    );
    gamut
        .call(&["network", "connect", "one", "web"])
        .refused(1, &["web", "one", "already"])
        .hinted();
    // The ports and the way out move when the network they went by is left.
    gamut.call(&["network", "disconnect", "bridge", "web"]).ok();
    talk("127.0.0.1:8080".parse().unwrap(), "hello").unwrap();
    let out = format!("{WORLD4}:{WHOAMI}");
    gamut.call(&["exec", "web", "lab-peer", "tcp", &out]).ok();
    gamut.call(&["network", "disconnect", "one", "web"]).ok();
    assert!(talk("127.0.0.1:8080".parse().unwrap(), "hello").is_err());
    let links = gamut.call(&["exec", "web", "ip", "-o", "link"]).ok();
    assert!(!links.out.contains("eth"), "{}", links.out);
    assert_eq!(inside(&gamut, &["--network", "one"], ask), "not");
    gamut
        .call(&["network", "disconnect", "one", "web"])
        .refused(1, &["web", "one", "not on that network"]);
    gamut.call(&["network", "connect", "two", "web"]).ok();
    talk("127.0.0.1:8080".parse().unwrap(), "hello").unwrap();
    // It is kept: also through a stop, and while it is stopped.
    gamut.call(&["stop", "-t", "1", "web"]).ok();
    gamut
        .call(&[
            "network",
            "connect",
            "--ip",
            &at.replace(&at[at.rfind('.').unwrap()..], ".200"),
            "one",
            "web",
        ])
        .ok();
    gamut.call(&["start", "web"]).ok();
    let told = gamut.inspect(&web)["NetworkSettings"]["Networks"].clone();
    assert!(told["one"].is_object() && told["two"].is_object(), "{told}");
    assert!(address(&gamut, &web, "one").ends_with(".200"), "{told}");
    let image = gamut.image("peer");
    let alone = gamut
        .call(&["run", "-d", "--network", "none", &image, "sleep", "100"])
        .ok();
    gamut.learn_ids();
    gamut
        .call(&["network", "connect", "one", alone.text()])
        .refused(1, &["--network none"]);
    gamut
        .call(&["network", "connect", "host", "web"])
        .refused(1, &["host"])
        .hinted();
}

#[test]
fn a_namespace_of_others_is_shared() {
    let Some(gamut) = Gamut::new() else { return };
    let holder = waiting_namespace();
    let path = format!("ns:/proc/{}/ns/net", holder.id());
    let theirs = std::fs::read_link(path.strip_prefix("ns:").unwrap()).unwrap();
    let script = "readlink /proc/self/ns/net";
    assert_eq!(
        inside(&gamut, &["--network", &path], script),
        theirs.to_str().unwrap()
    );
    let image = gamut.image("peer");
    gamut
        .call(&["run", "--rm", "--network", "ns:/nowhere", &image, "true"])
        .refused(125, &["/nowhere"]);
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            &path,
            "-p",
            "80:80",
            &image,
            "true",
        ])
        .refused(125, &["published port"]);
    drop(holder);
}

/// A process in a network namespace of its own, for as long as the value is kept.
fn waiting_namespace() -> Holder {
    let child = std::process::Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .spawn()
        .unwrap();
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    patience::until("the namespace is there", || {
        let theirs = std::fs::read_link(format!("/proc/{}/ns/net", child.id()));
        theirs.is_ok_and(|theirs| theirs != own)
    });
    Holder(child)
}

struct Holder(std::process::Child);

impl Holder {
    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
