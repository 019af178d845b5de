//! Networks that users make: their commands, who reaches whom, addresses, and what is left.

use gamut_tests::host::ip;
use gamut_tests::world::{HOST4, WHOAMI, WORLD4};
use gamut_tests::{Gamut, World, patience};

/// Starts the peer on a network; its ID. It listens on port 80, TCP and UDP.
#[track_caller]
pub(crate) fn peer(gamut: &Gamut, flags: &[&str]) -> String {
    let image = gamut.image("peer");
    let words = [
        &["run", "-d"],
        flags,
        &[image.as_str(), "lab-peer", "serve", "80"],
    ]
    .concat();
    let id = gamut.call(&words).ok().text().to_owned();
    gamut.learn_ids();
    patience::until("the peer listens", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    id
}

/// What a script prints in a busybox.
#[track_caller]
pub(crate) fn inside(gamut: &Gamut, flags: &[&str], script: &str) -> String {
    let image = gamut.image("peer");
    let words = [
        &["run", "--rm"],
        flags,
        &[image.as_str(), "sh", "-c", script],
    ]
    .concat();
    gamut.call(&words).ok().text().to_owned()
}

pub(crate) fn address(gamut: &Gamut, id: &str, network: &str) -> String {
    let told = gamut.inspect(id);
    let address = &told["NetworkSettings"]["Networks"][network]["IPAddress"];
    address.as_str().unwrap_or_default().to_owned()
}

/// The links of the host that begin with these words.
fn links(prefix: &str) -> Vec<String> {
    let listed = ip("-o link");
    let names = listed.lines().filter_map(|line| line.split(": ").nth(1));
    let names = names.map(|name| name.split('@').next().unwrap_or(name).to_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn a_network_is_made_listed_inspected_and_removed() {
    let Some(gamut) = Gamut::new() else { return };
    let made = gamut
        .call(&[
            "network",
            "create",
            "--subnet",
            "10.77.0.0/24",
            "--gateway",
            "10.77.0.254",
            "--ip-range",
            "10.77.0.128/25",
            "--label",
            "team=blue",
            "--aux-address",
            "router=10.77.0.129",
            "--opt",
            "com.docker.network.bridge.name=blue0",
            "--opt",
            "com.docker.network.driver.mtu=1400",
            "blue",
        ])
        .ok();
    let id = made.text().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(links("blue"), ["blue0"]);
    let told = gamut.call(&["network", "inspect", "blue"]).ok().json();
    let told = &told[0];
    assert_eq!(told["Id"], id.as_str());
    assert_eq!(told["Driver"], "bridge");
    assert_eq!(told["Labels"]["team"], "blue");
    assert_eq!(told["Options"]["com.docker.network.driver.mtu"], "1400");
    let config = &told["IPAM"]["Config"][0];
    assert_eq!(config["Subnet"], "10.77.0.0/24");
    assert_eq!(config["Gateway"], "10.77.0.254");
    assert_eq!(config["IPRange"], "10.77.0.128/25");
    assert_eq!(config["AuxiliaryAddresses"]["router"], "10.77.0.129");
    // From inside: the range, the gateway, the packets' size.
    let said = inside(
        &gamut,
        &["--network", "blue"],
        "ip -o -4 addr show eth0; ip route; cat /sys/class/net/eth0/mtu",
    );
    assert!(said.contains("10.77.0.128/24"), "{said}");
    assert!(said.contains("default via 10.77.0.254"), "{said}");
    assert!(said.ends_with("1400"), "{said}");
    gamut.call(&["network", "exists", "blue"]).ok();
    gamut.call(&["network", "exists", "green"]).code(1);
    // By the beginning of its id, and beside the others.
    let name = ["network", "inspect", "-f", "{{.Name}}", &id[..12]];
    gamut.call(&name).ok().prints("blue");
    gamut
        .call(&["network", "ls", "--format", "{{.Name}} {{.Driver}}"])
        .ok()
        .prints("blue bridge\nbridge bridge\nhost host\nnone null");
    gamut
        .call(&["network", "ls", "-q", "--filter", "label=team=blue"])
        .ok()
        .prints(&id[..12]);
    gamut
        .call(&[
            "network",
            "ls",
            "--filter",
            "type=custom",
            "--format",
            "{{.Name}}",
        ])
        .ok()
        .prints("blue");
    let heading = gamut.call(&["network", "ls"]).ok();
    assert!(
        heading
            .out
            .starts_with("NETWORK ID     NAME      DRIVER    SCOPE\n"),
        "{}",
        heading.out
    );
    gamut.call(&["network", "rm", "blue"]).ok().prints("blue");
    assert_eq!(links("blue"), [""; 0]);
    gamut
        .call(&["network", "rm", "blue"])
        .refused(1, &["there is no network", "blue"]);
    gamut.call(&["network", "rm", "-f", "blue"]).ok();
}

#[test]
fn what_cannot_be_a_network_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    for (words, said) in [
        (&["bridge"][..], "predefined"),
        (&["host"][..], "predefined"),
        (&["-x"][..], "unexpected argument"),
        (&["a b"][..], "invalid network name"),
        (&["--driver", "overlay", "net"][..], "driver"),
        (&["--subnet", "10.0.0.1/8", "net"][..], "bits set behind"),
        (
            &["--gateway", "10.0.0.1", "net"][..],
            "no subnet of the network",
        ),
        (&["--opt", "colour=red", "net"][..], "colour"),
        (
            &["--subnet", "10.5.0.0/24", "--subnet", "10.6.0.0/24", "net"][..],
            "several",
        ),
    ] {
        let refused = gamut.call(&[&["network", "create"], words].concat());
        assert!(refused.code != 0, "{words:?}: {}", refused.told());
        assert!(refused.err.contains(said), "{words:?}: {}", refused.told());
    }
    gamut
        .call(&["network", "create", "--subnet", "10.5.0.0/16", "one"])
        .ok();
    gamut
        .call(&["network", "create", "one"])
        .refused(1, &["network with name one already exists"])
        .hinted();
    gamut
        .call(&["network", "create", "--ignore", "one"])
        .ok()
        .prints("one");
    gamut
        .call(&["network", "create", "--subnet", "10.5.7.0/24", "two"])
        .refused(1, &["10.5.7.0/24", "overlaps"]);
    gamut
        .call(&["network", "rm", "bridge"])
        .refused(1, &["bridge is a pre-defined network"]);
    let image = gamut.image("peer");
    gamut
        .call(&["run", "--rm", "--network", "nowhere", &image, "true"])
        .refused(125, &["there is no network", "nowhere"])
        .hinted();
    assert_eq!(gamut.call(&["ps", "-aq"]).ok().out, "");
}

#[test]
fn networks_are_apart() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    for name in ["one", "two"] {
        gamut.call(&["network", "create", name]).ok();
    }
    let first = peer(&gamut, &["--network", "one"]);
    let at = address(&gamut, &first, "one");
    let ask = format!("timeout 3 lab-peer tcp {at}:80 >/dev/null 2>&1 && echo reached || echo not");
    assert_eq!(inside(&gamut, &["--network", "one"], &ask), "reached");
    assert_eq!(inside(&gamut, &["--network", "two"], &ask), "not");
    assert_eq!(inside(&gamut, &[], &ask), "not", "from the default network");
    let out = format!("lab-peer tcp {WORLD4}:{WHOAMI}");
    assert_eq!(inside(&gamut, &["--network", "two"], &out), HOST4);
    // Who is on it, and that it cannot go while somebody is.
    let told = gamut.call(&["network", "inspect", "one"]).ok().json();
    let member = &told[0]["Containers"][&first];
    assert_eq!(
        member["IPv4Address"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap(),
        at
    );
    gamut
        .call(&["network", "rm", "one"])
        .refused(1, &["one", "in use"])
        .hinted();
    let pruned = gamut.call(&["network", "prune", "-f"]).ok();
    assert_eq!(pruned.out, "Deleted Networks:\ntwo\n\n");
    gamut.call(&["rm", "-f", &first]).ok();
    gamut.call(&["network", "rm", "one"]).ok();
    assert_eq!(links("gm-").len(), 1, "only the default bridge is left");
}

#[test]
fn an_internal_network_has_no_way_out() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    gamut
        .call(&["network", "create", "--internal", "quiet"])
        .ok();
    let told = gamut.call(&["network", "inspect", "quiet"]).ok().json();
    assert_eq!(told[0]["Internal"], true);
    let first = peer(&gamut, &["--network", "quiet"]);
    let at = address(&gamut, &first, "quiet");
    let ask = |to: &str| {
        format!("timeout 3 lab-peer tcp {to} >/dev/null 2>&1 && echo reached || echo not")
    };
    let on = ["--network", "quiet"];
    assert_eq!(inside(&gamut, &on, &ask(&format!("{at}:80"))), "reached");
    assert_eq!(inside(&gamut, &on, "ip route | grep -c default; true"), "0");
    // Nor with a route of its own.
    let told = gamut.call(&[
        "network",
        "inspect",
        "quiet",
        "-f",
        "{{(index .IPAM.Config 0).Gateway}}",
    ]);
    let gateway = told.ok().text().to_owned();
    let own = format!(
        "ip route add default via {gateway}; {}",
        ask(&format!("{WORLD4}:{WHOAMI}"))
    );
    assert_eq!(
        inside(
            &gamut,
            &["--network", "quiet", "--cap-add", "NET_ADMIN"],
            &own
        ),
        "not"
    );
}

#[test]
fn both_families_and_addresses_that_are_asked_for() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .call(&[
            "network",
            "create",
            "--ipv6",
            "--subnet",
            "10.78.0.0/16",
            "--subnet",
            "fd00:78::/80",
            "six",
        ])
        .ok();
    let said = inside(
        &gamut,
        &[
            "--network",
            "six",
            "--ip",
            "10.78.3.3",
            "--ip6",
            "fd00:78::33",
            "--mac-address",
            "02:42:0a:4e:03:63",
        ],
        "ip -o addr show eth0; ip -6 route; cat /sys/class/net/eth0/address",
    );
    for word in [
        "10.78.3.3/16",
        "fd00:78::33/80",
        "default via fd00:78::1",
        "02:42:0a:4e:03:63",
    ] {
        assert!(said.contains(word), "{word}\n{said}");
    }
    gamut.call(&["network", "create", "--ipv6", "made-up"]).ok();
    let said = inside(&gamut, &["--network", "made-up"], "ip -o -6 addr show eth0");
    assert!(said.contains("scope global"), "{said}");
    gamut.call(&["network", "create", "four"]).ok();
    let said = inside(
        &gamut,
        &["--network", "four"],
        "ip -o -6 addr show eth0 scope global",
    );
    assert_eq!(said, "");
    let image = gamut.image("peer");
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "six",
            "--ip",
            "10.79.0.1",
            &image,
            "true",
        ])
        .refused(125, &["10.79.0.1", "six"]);
    assert_eq!(gamut.call(&["ps", "-aq"]).ok().out, "");
}

#[test]
fn a_network_outlives_its_bridge() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .call(&[
            "network",
            "create",
            "--opt",
            "com.docker.network.bridge.name=lost0",
            "lost",
        ])
        .ok();
    // As after a boot: the row is there, the bridge is not.
    ip("link delete lost0");
    assert_eq!(links("lost"), [""; 0]);
    inside(&gamut, &["--network", "lost"], "ip route | grep -q default");
    assert_eq!(links("lost"), ["lost0"]);
    gamut.call(&["system", "prune", "-f"]).ok();
    assert_eq!(links("lost"), [""; 0]);
}

#[test]
fn commands_that_are_killed_leave_nothing_that_stays() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["network", "ls"]).ok();
    let id = peer(&gamut, &["--name", "web"]);
    // Killed at another instant each time, from before the row to after the bridge.
    for round in 0..24_u64 {
        let name = format!("cut-{}", round % 4);
        let words: &[&[&str]] = &[
            &["network", "create", &name],
            &["network", "connect", &name, "web"],
            &["network", "disconnect", &name, "web"],
            &["network", "rm", &name],
        ];
        for words in words {
            let command = gamut.spawn(words);
            std::thread::sleep(std::time::Duration::from_micros(1500 * (round + 1)));
            command.signal(rustix::process::Signal::KILL);
            command.finish();
        }
    }
    gamut.call(&["system", "repair"]).ok();
    for round in 0..4 {
        let name = format!("cut-{round}");
        gamut.call(&["network", "disconnect", &name, "web"]);
        gamut.call(&["network", "rm", "-f", &name]).ok();
    }
    assert_eq!(links("gm-").len(), 1, "{:?}", links("gm-"));
    assert_eq!(links("v1e"), [""; 0]);
    let left = gamut
        .call(&["network", "ls", "-q", "--filter", "type=custom"])
        .ok();
    assert_eq!(left.out, "");
    // The container is as it was.
    let at = address(&gamut, &id, "bridge");
    let ask = format!("timeout 3 lab-peer tcp {at}:80 >/dev/null 2>&1 && echo reached || echo not");
    assert_eq!(inside(&gamut, &[], &ask), "reached");
    let inside = gamut.call(&["exec", "web", "ip", "-o", "link"]).ok();
    assert!(!inside.out.contains("eth1"), "{}", inside.out);
}
