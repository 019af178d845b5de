//! The network: the default bridge, published ports, and the other modes. Each test has a host with a
//! neighbour on a wire ([`World`]); `peer:lab` tells each caller the address it came from.

use gamut_tests::world::{HOST4, HOST6, WHOAMI, WORLD4, WORLD6, ask, talk};
use gamut_tests::{Gamut, World, census, patience};
use std::net::SocketAddr;

/// Starts the peer on the default network; its ID. It listens on port 80, TCP and UDP, and on what else `ports` says.
#[track_caller]
fn peer(gamut: &Gamut, flags: &[&str], ports: &[&str]) -> String {
    let image = gamut.image("peer");
    let words = [
        &["run", "-d"],
        flags,
        &[image.as_str(), "lab-peer", "serve", "80"],
        ports,
    ]
    .concat();
    let id = gamut.call(&words).ok().text().to_owned();
    gamut.learn_ids();
    patience::until("the peer listens", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    id
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// What a script prints in a busybox on the default network.
#[track_caller]
fn on_bridge(gamut: &Gamut, flags: &[&str], script: &str) -> String {
    let image = gamut.image("peer");
    gamut
        .call(
            &[
                &["run", "--rm"],
                flags,
                &[image.as_str(), "sh", "-c", script],
            ]
            .concat(),
        )
        .ok()
        .text()
        .to_owned()
}

fn address(gamut: &Gamut, id: &str, family: &str) -> String {
    let field = if family == "6" {
        "GlobalIPv6Address"
    } else {
        "IPAddress"
    };
    gamut.inspect(id)["NetworkSettings"]["Networks"]["bridge"][field]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_bridge_gives_addresses_and_routes_of_both_families() {
    let Some(gamut) = Gamut::new() else { return };
    let said = on_bridge(
        &gamut,
        &[],
        "ip -o addr show eth0; ip route; ip -6 route; cat /sys/class/net/eth0/mtu",
    );
    assert!(
        said.contains("inet ") && said.contains("inet6 ") && said.contains("default via"),
        "{said}"
    );
    assert!(
        said.lines()
            .filter(|line| line.starts_with("default via"))
            .count()
            >= 2,
        "no default route of each family\n{said}"
    );
    assert!(
        !said
            .lines()
            .any(|line| line.contains("scope global") && line.contains("tentative")),
        "the address is not usable at once\n{said}"
    );
    assert!(said.ends_with("1500"), "{said}");
}

#[test]
fn the_outside_is_reached_through_the_hosts_address() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let script = format!(
        "lab-peer tcp {WORLD4}:{WHOAMI}; lab-peer udp {WORLD4}:{WHOAMI}; lab-peer tcp [{WORLD6}]:{WHOAMI}; lab-peer udp [{WORLD6}]:{WHOAMI}"
    );
    assert_eq!(
        on_bridge(&gamut, &[], &script),
        [HOST4, HOST4, HOST6, HOST6].join("\n")
    );
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    let Some(gamut) = Gamut::new() else { return };
    let world = World::new();
    let id = peer(&gamut, &["-p", "8080:80"], &[]);
    for host in ["127.0.0.1", "::1", HOST4, HOST6] {
        talk(at(host, 8080), "hello")
            .unwrap_or_else(|error| panic!("from the host to {host}: {error}"));
    }
    assert_eq!(
        world.talk(HOST4, 8080, "hello").unwrap().trim(),
        WORLD4,
        "the source address over IPv4"
    );
    assert_eq!(
        world.talk(HOST6, 8080, "hello").unwrap().trim(),
        WORLD6,
        "the source address over IPv6"
    );
    let said = on_bridge(
        &gamut,
        &[],
        &format!(
            "lab-peer tcp {HOST4}:8080 >/dev/null && lab-peer tcp [{HOST6}]:8080 >/dev/null && echo reached"
        ),
    );
    assert_eq!(said, "reached", "from another container");
    // Through the host back to itself.
    assert_eq!(
        gamut
            .call(&["exec", &id, "lab-peer", "tcp", &format!("{HOST4}:8080")])
            .ok()
            .lines()
            .len(),
        1
    );
}

#[test]
fn a_published_udp_port() {
    let Some(gamut) = Gamut::new() else { return };
    let world = World::new();
    peer(&gamut, &["-p", "5353:80/udp"], &[]);
    for host in ["127.0.0.1", "::1", HOST4, HOST6] {
        ask(at(host, 5353), "hello")
            .unwrap_or_else(|error| panic!("from the host to {host}: {error}"));
    }
    assert_eq!(world.ask(HOST4, 5353).unwrap().trim(), WORLD4);
    assert_eq!(world.ask(HOST6, 5353).unwrap().trim(), WORLD6);
    assert!(
        talk(at("127.0.0.1", 5353), "hello").is_err(),
        "TCP was published as well"
    );
}

#[test]
fn a_range_of_ports() {
    let Some(gamut) = Gamut::new() else { return };
    let world = World::new();
    peer(
        &gamut,
        &["-p", "9000-9002:7000-7002"],
        &["7000", "7001", "7002"],
    );
    for port in 9000..=9002 {
        assert_eq!(
            world.talk(HOST4, port, "hello").unwrap().trim(),
            WORLD4,
            "port {port}"
        );
    }
    assert!(world.talk(HOST4, 9003, "hello").is_err());
}

#[test]
fn a_host_address_limits_who_reaches_the_port() {
    let Some(gamut) = Gamut::new() else { return };
    let world = World::new();
    peer(
        &gamut,
        &["-p", "127.0.0.1:8080:80", "-p", "192.0.2.1:8081:80"],
        &[],
    );
    talk(at("127.0.0.1", 8080), "hello").unwrap();
    assert!(talk(at("::1", 8080), "hello").is_err());
    assert!(
        world.talk(HOST4, 8080, "hello").is_err(),
        "a port on loopback is open to the neighbour"
    );
    assert_eq!(world.talk(HOST4, 8081, "hello").unwrap().trim(), WORLD4);
    assert!(talk(at("127.0.0.1", 8081), "hello").is_err());
}

#[test]
fn a_free_port_is_found_and_told() {
    let Some(gamut) = Gamut::new() else { return };
    let id = peer(&gamut, &["-p", "80", "--name", "any"], &[]);
    let ports = gamut.inspect(&id)["NetworkSettings"]["Ports"]["80/tcp"].clone();
    let port: u16 = ports[0]["HostPort"].as_str().unwrap().parse().unwrap();
    talk(at("127.0.0.1", port), "hello").unwrap();
    let listed = gamut.call(&["ps", "--format", "{{.Ports}}"]).ok();
    assert!(
        listed.out.contains(&format!("0.0.0.0:{port}->80/tcp")),
        "{}",
        listed.told()
    );
    let all = peer(&gamut, &["-P"], &[]);
    let ports = gamut.inspect(&all)["NetworkSettings"]["Ports"].clone();
    assert!(
        ports["80/tcp"][0]["HostPort"].is_string() && ports["80/udp"][0]["HostPort"].is_string(),
        "{ports}"
    );
}

#[test]
fn an_exposed_port_is_published_with_the_images_own() {
    let Some(gamut) = Gamut::new() else { return };
    let id = peer(&gamut, &["--expose", "81", "--publish-all"], &["81"]);
    let told = gamut.inspect(&id);
    assert!(
        told["Config"]["ExposedPorts"]["81/tcp"].is_object(),
        "{}",
        told["Config"]
    );
    let port = &told["NetworkSettings"]["Ports"]["81/tcp"][0]["HostPort"];
    let port: u16 = port.as_str().unwrap().parse().unwrap();
    talk(at("127.0.0.1", port), "hello").unwrap();
    // Without -P it is told and no more.
    let quiet = peer(&gamut, &["--expose", "82"], &[]);
    let told = gamut.inspect(&quiet)["NetworkSettings"]["Ports"]["82/tcp"].clone();
    assert!(told.is_null(), "{told}");
}

#[test]
fn aliases_are_refused_where_they_mean_nothing() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&["--network-alias", "db"], &["true"])
        .refused(125, &["alias"])
        .hinted();
    gamut.assert_untouched();
}

#[test]
fn containers_reach_each_other_and_the_gateway() {
    let Some(gamut) = Gamut::new() else { return };
    let id = peer(&gamut, &[], &[]);
    let _whoami = gamut_tests::whoami::serve(6060).unwrap();
    let (four, six) = (address(&gamut, &id, "4"), address(&gamut, &id, "6"));
    let said = on_bridge(
        &gamut,
        &[],
        &format!(
            "lab-peer tcp {four}:80; lab-peer udp {four}:80; lab-peer tcp [{six}]:80; ip -4 -o addr show eth0 | awk '{{print $4}}'"
        ),
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert_eq!(
        lines[0],
        lines[3].split('/').next().unwrap(),
        "the source address between containers\n{said}"
    );
    on_bridge(
        &gamut,
        &[],
        "lab-peer tcp $(ip route | awk '/^default/ {print $3}'):6060",
    );
}

#[test]
fn a_port_is_closed_when_its_container_stops() {
    let Some(gamut) = Gamut::new() else { return };
    let id = peer(&gamut, &["-p", "8080:80"], &[]);
    gamut.call(&["stop", "-t", "1", &id]).ok();
    assert!(talk(at("127.0.0.1", 8080), "hello").is_err());
    assert!(
        !census::rules().iter().any(|rule| rule.contains("8080")),
        "{:?}",
        census::rules()
    );
    gamut.call(&["start", &id]).ok();
    patience::until("the port is open again", || {
        talk(at("127.0.0.1", 8080), "hello").is_ok()
    });
}

#[test]
fn none_has_only_loopback() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.inside(
            &[],
            "ls /sys/class/net; ip -o addr show lo | grep -c inet; ip route | wc -l"
        ),
        "lo\n2\n0"
    );
}

#[test]
fn host_is_the_hosts() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let said = on_bridge(
        &gamut,
        &["--network", "host"],
        &format!("readlink /proc/self/ns/net; lab-peer tcp {WORLD4}:{WHOAMI}"),
    );
    assert_eq!(said, format!("{}\n{HOST4}", own.display()));
}

#[test]
fn another_containers_network() {
    let Some(gamut) = Gamut::new() else { return };
    let id = peer(
        &gamut,
        &["--name", "owner", "--hostname", "owners-name"],
        &[],
    );
    let said = on_bridge(
        &gamut,
        &["--network", "container:owner"],
        "lab-peer tcp 127.0.0.1:80; ip -4 -o addr show eth0 | awk '{print $4}'; hostname; cat /etc/hosts",
    );
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("127.0.0.1"));
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with(&address(&gamut, &id, "4"))
    );
    assert!(said.contains("owners-name"), "{said}");
    gamut
        .run(&["--network", "container:owner", "-p", "80:80"], &["true"])
        .code(125);
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "container:nobody",
            &gamut.image("busybox"),
            "true",
        ])
        .refused(125, &["nobody"]);
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "no-such-net",
            &gamut.image("busybox"),
            "true",
        ])
        .refused(125, &["no-such-net"]);
}

#[test]
fn hosts_names_the_container_and_what_was_added() {
    let Some(gamut) = Gamut::new() else { return };
    let hosts = on_bridge(
        &gamut,
        &[
            "--hostname",
            "box",
            "--add-host",
            "db:192.0.2.77",
            "--add-host",
            "up:host-gateway",
        ],
        "cat /etc/hosts; ip -4 -o addr show eth0 | awk '{print $4}'; ip route | awk '/^default/ {print $3}'",
    );
    let lines: Vec<Vec<&str>> = hosts
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let named = |name: &str| {
        lines
            .iter()
            .filter(|words| words[1..].contains(&name))
            .map(|words| words[0])
            .collect::<Vec<_>>()
    };
    let (gateway, own) = (
        lines[lines.len() - 1][0],
        lines[lines.len() - 2][0].split('/').next().unwrap(),
    );
    assert!(
        named("localhost").contains(&"127.0.0.1") && named("localhost").contains(&"::1"),
        "{hosts}"
    );
    assert!(named("box").contains(&own), "{hosts}");
    assert_eq!(named("db"), ["192.0.2.77"]);
    assert!(named("up").contains(&gateway), "{hosts}");
}

#[test]
fn resolv_conf_is_the_hosts_or_as_asked() {
    let Some(gamut) = Gamut::new() else { return };
    let asked = on_bridge(
        &gamut,
        &[
            "--dns",
            "192.0.2.53",
            "--dns-search",
            "lab.example",
            "--dns-option",
            "ndots:3",
        ],
        "grep -v '^#' /etc/resolv.conf",
    );
    for line in [
        "nameserver 192.0.2.53",
        "search lab.example",
        "options ndots:3",
    ] {
        assert!(
            asked.lines().any(|found| found == line),
            "no {line:?} in\n{asked}"
        );
    }
    // A resolver on the host's own loopback would be of no use inside.
    let usual = on_bridge(&gamut, &[], "cat /etc/resolv.conf");
    assert!(!usual.contains("nameserver 127."), "{usual}");
}

#[test]
fn the_address_and_the_hardware_address_can_be_chosen() {
    let Some(gamut) = Gamut::new() else { return };
    let id = peer(&gamut, &[], &[]);
    let (prefix, _) = address(&gamut, &id, "4")
        .rsplit_once('.')
        .map(|(prefix, rest)| (prefix.to_owned(), rest.to_owned()))
        .unwrap();
    let wanted = format!("{prefix}.200");
    let said = on_bridge(
        &gamut,
        &["--ip", &wanted, "--mac-address", "02:00:00:00:12:34"],
        "ip -4 -o addr show eth0; cat /sys/class/net/eth0/address",
    );
    assert!(
        said.contains(&format!("inet {wanted}/")) && said.ends_with("02:00:00:00:12:34"),
        "{said}"
    );
    let (prefix, _) = address(&gamut, &id, "6")
        .rsplit_once(':')
        .map(|(prefix, rest)| (prefix.to_owned(), rest.to_owned()))
        .unwrap();
    let wanted = format!("{prefix}:beef");
    let chosen = peer(&gamut, &["--ip6", &wanted], &[]);
    assert_eq!(address(&gamut, &chosen, "6"), wanted);
    let inside = gamut.exec(&chosen, "ip -6 -o addr show eth0 scope global");
    assert!(inside.contains(&format!("inet6 {wanted}/")), "{inside}");
    talk(at(&wanted, 80), "hello").unwrap();
    let taken = address(&gamut, &id, "4");
    gamut
        .call(&[
            "run",
            "--rm",
            "--ip",
            &taken,
            &gamut.image("busybox"),
            "true",
        ])
        .refused(125, &[&taken]);
}

#[test]
fn a_container_cannot_touch_its_network_or_forge_anothers() {
    let Some(gamut) = Gamut::new() else { return };
    let said = on_bridge(
        &gamut,
        &[],
        "ip link set eth0 down 2>&1; ip addr add 192.0.2.9/24 dev eth0 2>&1; true",
    );
    assert_eq!(said.matches("not permitted").count(), 2, "{said}");
}
