//! `--egress`: what a container may reach, whatever it does inside, and what is told of the rest.

mod forgery;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use gamut_tests::world::{HOST4, WHOAMI, WORLD4, WORLD6, ask, talk};
use gamut_tests::{Gamut, World, census, host, level, patience, whoami};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::networks::{address, inside, peer};

/// A script that says whether a server answers.
fn reaches(protocol: &str, target: &str) -> String {
    format!("timeout 2 lab-peer {protocol} {target} >/dev/null 2>&1 && echo yes || echo no")
}

/// What it says in a container that runs.
#[track_caller]
fn tries(gamut: &Gamut, container: &str, protocol: &str, target: &str) -> String {
    gamut.exec(container, &reaches(protocol, target))
}

/// A container that waits, on a network.
#[track_caller]
fn idle(gamut: &Gamut, flags: &[&str]) -> String {
    let image = gamut.image("peer");
    let words = [&["run", "-d"], flags, &[image.as_str(), "sleep", "1000"]].concat();
    let id = gamut.call(&words).ok().text().to_owned();
    gamut.learn_ids();
    id
}

/// The attributes of all that was told of denials.
fn denials(gamut: &Gamut) -> Vec<Value> {
    let words = ["events", "--stream=false", "--format", "json"];
    let only = ["--filter", "event=egress_denied"];
    let told = gamut.call(&[&words[..], &only].concat()).ok().json_lines();
    let attributes = told.iter().map(|one| one["Actor"]["Attributes"].clone());
    attributes.collect()
}

#[track_caller]
fn is_told(gamut: &Gamut, wanted: &[(&str, &str)]) {
    patience::until(&format!("{wanted:?} is told of"), || {
        let fits = |one: &Value| wanted.iter().all(|(name, value)| one[*name] == *value);
        denials(gamut).iter().any(fits)
    });
}

/// The tables of links, of which only policies have any.
fn tables() -> Vec<String> {
    let rules = census::rules().into_iter();
    rules
        .filter(|line| line.starts_with("table netdev"))
        .collect()
}

/// A server of names that knows one, at an address of the host; every other is nobody's.
fn serve_names(at: &str, known: &'static str, of: Ipv4Addr) {
    let socket = UdpSocket::bind((at, 53)).unwrap();
    std::thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut message) {
            let mut end = 12;
            let mut name = String::new();
            while message[end] != 0 {
                let length = usize::from(message[end]);
                name += &String::from_utf8_lossy(&message[end + 1..=end + length]);
                name += ".";
                end += 1 + length;
            }
            let is_known = name.trim_end_matches('.') == known;
            let has_answer = is_known && message[end + 2] == 1;
            let code = if is_known { 0x80 } else { 0x83 };
            let mut answer = message[..end + 5].to_vec();
            answer[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
            if has_answer {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                answer.extend(of.octets());
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

#[test]
fn nothing_is_reached_and_everything_is_told() {
    let Some(gamut) = Gamut::new() else { return };
    let world = World::new();
    let _host = whoami::serve(9009).unwrap();
    let neighbour = peer(&gamut, &[]);
    let beside = address(&gamut, &neighbour, "bridge");
    let flags = ["-p", "8080:80", "-p", "8080:80/udp", "--egress", "deny"];
    let id = peer(&gamut, &flags);
    let told = gamut.inspect(&id);
    let gateway = told["NetworkSettings"]["Gateway"]
        .as_str()
        .unwrap()
        .to_owned();
    for (target, port) in [
        (WORLD4, WHOAMI),
        (&beside, 80),
        (&gateway, 9009),
        (HOST4, 9009),
        (WORLD6, WHOAMI),
    ] {
        let ip: IpAddr = target.parse().unwrap();
        let socket = SocketAddr::new(ip, port).to_string();
        for protocol in ["tcp", "udp"] {
            // What serves at every address of the host answers datagrams with another one's.
            if (target, protocol) == (HOST4, "udp") {
                continue;
            }
            // Who has no policy reaches it.
            assert_eq!(
                tries(&gamut, &neighbour, protocol, &socket),
                "yes",
                "{socket}"
            );
            assert_eq!(
                tries(&gamut, &id, protocol, &socket),
                "no",
                "{socket} {protocol}"
            );
            let port = port.to_string();
            let wanted = [
                ("destination", target),
                ("port", &port),
                ("protocol", protocol),
            ];
            is_told(&gamut, &wanted);
        }
    }
    let ping = format!("ping -c 1 -W 1 {WORLD4} >/dev/null 2>&1 && echo yes || echo no");
    assert_eq!(gamut.exec(&neighbour, &ping), "yes");
    assert_eq!(gamut.exec(&id, &ping), "no");
    is_told(&gamut, &[("destination", WORLD4), ("protocol", "icmp")]);
    assert!(
        denials(&gamut)
            .iter()
            .all(|one| one["port"] != Value::Null || one["protocol"] == "icmp")
    );
    // Its published ports answer whoever asks: who is far, the host, and who is beside it.
    world.talk(HOST4, 8080, "hello").unwrap();
    world.ask(HOST4, 8080).unwrap();
    for loopback in ["127.0.0.1:8080", "[::1]:8080"] {
        talk(loopback.parse().unwrap(), "hello").unwrap();
    }
    ask("127.0.0.1:8080".parse().unwrap(), "hello").unwrap();
    let own = format!("{}:80", address(&gamut, &id, "bridge"));
    assert_eq!(tries(&gamut, &neighbour, "tcp", &own), "yes");
    let echo = format!(
        // In several parts, of which one only says what it is.
        "ping -c 1 -W 2 -s 4000 {} >/dev/null && echo yes",
        own.trim_end_matches(":80")
    );
    assert_eq!(gamut.exec(&neighbour, &echo), "yes");
    assert_eq!(told["HostConfig"]["Egress"], serde_json::json!(["deny"]));
    assert_eq!(
        gamut.inspect(&neighbour)["HostConfig"]["Egress"],
        Value::Null
    );
    gamut.call(&["rm", "-f", &id, &neighbour]).ok();
    assert_eq!(tables(), [""; 0]);
    gamut.assert_nothing_left();
}

#[test]
fn what_is_allowed_is_reached_at_its_port() {
    let Some(gamut) = Gamut::new() else { return };
    let world = World::new();
    world.run(|| std::mem::forget(whoami::serve(7008).unwrap()));
    let of = |words: &[&str], protocol: &str, target: &str| {
        let flags: Vec<&str> = words.iter().flat_map(|word| ["--egress", word]).collect();
        inside(&gamut, &flags, &reaches(protocol, target))
    };
    let world4 = |port: u16| format!("{WORLD4}:{port}");
    let world6 = |port: u16| format!("[{WORLD6}]:{port}");
    let range = ["deny", "allow=192.0.2.0/24:7007"];
    assert_eq!(of(&range, "tcp", &world4(7007)), "yes");
    assert_eq!(of(&range, "udp", &world4(7007)), "no");
    assert_eq!(of(&range, "tcp", &world4(7008)), "no");
    assert_eq!(of(&range, "tcp", &world6(7007)), "no");
    assert_eq!(
        of(&["allow=192.0.2.2:7008/udp"], "udp", &world4(7008)),
        "yes"
    );
    assert_eq!(
        of(&["allow=192.0.2.2:7008/udp"], "tcp", &world4(7008)),
        "no"
    );
    assert_eq!(of(&["allow=192.0.2.0/24"], "udp", &world4(7008)), "yes");
    assert_eq!(of(&["allow=192.0.2.64/26"], "tcp", &world4(7007)), "no");
    assert_eq!(of(&["allow=0.0.0.0/0"], "tcp", &world4(7008)), "yes");
    assert_eq!(
        of(&["allow=[2001:db8::/32]:7007"], "tcp", &world6(7007)),
        "yes"
    );
    assert_eq!(
        of(&["allow=[2001:db8::2]:7007"], "udp", &world6(7007)),
        "no"
    );
    assert_eq!(of(&["allow=2001:db8::2"], "udp", &world6(7008)), "yes");
    assert_eq!(of(&["allow=::/0"], "tcp", &world4(7007)), "no");
    assert_eq!(of(&["allow"], "tcp", &world4(7008)), "yes");
}

#[test]
fn what_is_allowed_passes_whole_in_both_directions() {
    const BYTES: usize = 32 << 20;
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let sink = TcpListener::bind((HOST4, 9010)).unwrap();
    let source = TcpListener::bind((HOST4, 9011)).unwrap();
    let taken = std::thread::spawn(move || {
        let (mut from, _) = sink.accept().unwrap();
        std::io::copy(&mut from, &mut std::io::sink()).unwrap()
    });
    std::thread::spawn(move || {
        let (mut to, _) = source.accept().unwrap();
        to.write_all(&vec![7; BYTES]).unwrap();
    });
    let script =
        "head -c 33554432 /dev/zero | nc 192.0.2.1 9010; nc 192.0.2.1 9011 </dev/null | wc -c";
    let flags = [
        "--egress",
        "allow=192.0.2.1:9010",
        "--egress",
        "allow=192.0.2.1:9011",
    ];
    assert_eq!(inside(&gamut, &flags, script), BYTES.to_string());
    assert_eq!(taken.join().unwrap(), BYTES as u64);
}

#[test]
fn a_name_opens_the_way_to_what_it_was_answered_with() {
    let Some(gamut) = Gamut::new() else { return };
    let world = World::new();
    world.run(|| std::mem::forget(whoami::serve(7008).unwrap()));
    serve_names(HOST4, "good.example", WORLD4.parse().unwrap());
    gamut.call(&["network", "create", "blue"]).ok();
    for network in ["bridge", "blue"] {
        let flags = [
            &["--network", network, "--dns", HOST4],
            &["--egress", "allow=good.example:7007"][..],
        ]
        .concat();
        let id = idle(&gamut, &flags);
        let good = format!("{WORLD4}:7007");
        let bad = format!("{WORLD4}:7008");
        // Only who has asked for the name may go there.
        assert_eq!(tries(&gamut, &id, "tcp", &good), "no");
        let look = "nslookup -type=a good.example 2>&1 | tail -n 2";
        let said = gamut.exec(&id, look);
        assert!(said.contains(WORLD4), "{said}");
        assert_eq!(tries(&gamut, &id, "tcp", &good), "yes");
        assert_eq!(tries(&gamut, &id, "udp", &good), "no");
        assert_eq!(tries(&gamut, &id, "tcp", &bad), "no");
        let wanted = [
            ("destination", WORLD4),
            ("port", "7008"),
            ("host", "good.example"),
        ];
        is_told(&gamut, &wanted);
        // Nobody is asked for any other.
        let other = format!("secret.{network}.example");
        let said = gamut.exec(&id, &format!("nslookup -type=a {other} 2>&1; true"));
        assert!(said.contains("NXDOMAIN"), "{said}");
        is_told(&gamut, &[("host", &other), ("protocol", "dns")]);
        // Nor is the server that is asked to be reached otherwise.
        let said = gamut.exec(
            &id,
            &format!("nslookup -type=a good.example {HOST4} 2>&1; true"),
        );
        assert!(!said.contains(WORLD4), "{said}");
        is_told(&gamut, &[("destination", HOST4), ("port", "53")]);
        gamut.call(&["rm", "-f", &id]).ok();
    }
    assert_eq!(tables(), [""; 0]);
}

#[test]
fn what_was_denied_is_explained_with_the_flag_that_allows_it() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let image = gamut.image("peer");
    let script = format!(
        "nslookup -type=a far.example >/dev/null 2>&1; timeout 2 lab-peer tcp {WORLD4}:{WHOAMI}; sleep 2; exit 3"
    );
    let words = [
        "run", "--name", "box", "--egress", "deny", &image, "sh", "-c", &script,
    ];
    gamut.call(&words).code(3);
    is_told(&gamut, &[("destination", WORLD4)]);
    let (by_address, by_name) = (
        format!("--egress allow={WORLD4}:{WHOAMI}"),
        "--egress allow=far.example",
    );
    let explained = gamut.call(&["explain", "box"]).ok();
    for flag in [&*by_address, by_name] {
        assert!(
            explained.out.contains(&format!("allowed by {flag}")),
            "{}",
            explained.told()
        );
    }
    let failure = gamut.call(&["inspect", "--failure", "box"]).ok().json()[0].clone();
    let denied = failure["Denied"].as_array().unwrap();
    let flags: Vec<_> = denied
        .iter()
        .filter_map(|one| one["AllowedBy"].as_str())
        .collect();
    assert!(
        flags.contains(&&*by_address) && flags.contains(&by_name),
        "{denied:#?}"
    );
}

#[test]
fn names_of_containers_are_held_to_the_policy() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .call(&["network", "create", "--subnet", "10.83.0.0/24", "blue"])
        .ok();
    peer(&gamut, &["--network", "blue", "--name", "db"]);
    peer(&gamut, &["--network", "blue", "--name", "web"]);
    let by_name = |rule: &str, name: &str| {
        let script = format!(
            "at=$(nslookup -type=a {name} 2>/dev/null | sed -n 's/^Address: //p' | head -n 1); \
             timeout 2 lab-peer tcp $at:80 >/dev/null 2>&1 && echo reached || echo \"not $at\""
        );
        inside(&gamut, &["--network", "blue", "--egress", rule], &script)
    };
    assert_eq!(by_name("allow=db:80", "db"), "reached");
    assert_eq!(by_name("allow=db:80", "web"), "not");
    is_told(&gamut, &[("host", "web"), ("protocol", "dns")]);
    // A name that leads where it may go anyway need not be allowed.
    assert_eq!(by_name("allow=10.83.0.0/24:80", "web"), "reached");
    assert_eq!(by_name("allow=db:81", "db").split(' ').next(), Some("not"));
}

#[test]
fn it_holds_for_who_shares_the_network_and_ends_with_it() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let owner = idle(&gamut, &["--egress", "deny"]);
    let sharer = idle(&gamut, &["--network", &format!("container:{owner}")]);
    let target = format!("{WORLD4}:{WHOAMI}");
    assert_eq!(tries(&gamut, &sharer, "tcp", &target), "no");
    // Who stays behind has no way out at all.
    gamut.call(&["stop", "-t", "0", &owner]).ok();
    assert_eq!(tries(&gamut, &sharer, "tcp", &target), "no");
    assert_eq!(tables(), [""; 0]);
    // It holds again at the next start, and at a restart.
    gamut.call(&["start", &owner]).ok();
    gamut.call(&["restart", "-t", "0", &owner]).ok();
    assert_eq!(tries(&gamut, &owner, "tcp", &target), "no");
    assert_eq!(tables().len(), 1);
}

#[test]
fn a_keeper_that_is_killed_leaves_no_way_and_no_rules() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let id = idle(&gamut, &["--name", "box", "--egress", "deny"]);
    assert_eq!(tables().len(), 1);
    let status = std::fs::read_to_string(
        gamut
            .root()
            .join("containers")
            .join(&id)
            .join("status.json"),
    );
    let status: Value = serde_json::from_str(&status.unwrap()).unwrap();
    let keeper = status["keeper_pid"].as_i64().unwrap() as i32;
    kill_process(Pid::from_raw(keeper).unwrap(), Signal::KILL).unwrap();
    patience::until("the container is seen to have ended", || {
        gamut.call(&["ps", "-q"]).ok().text().is_empty()
    });
    assert_eq!(tables(), [""; 0]);
    gamut.call(&["start", "box"]).ok();
    // What nobody has any more is removed by a repair, and nothing else.
    let there = tables();
    let own = there[0].split(' ').nth(2).unwrap();
    let nobodys = own.replace(&id, &"f".repeat(64));
    host::program("nft", &["add", "table", "netdev", &nobodys]);
    assert_eq!(tables().len(), 2);
    let done = gamut.call(&["system", "repair"]).ok();
    assert!(done.out.contains(&nobodys), "{}", done.told());
    assert_eq!(tables(), there);
    let target = format!("{WORLD4}:{WHOAMI}");
    assert_eq!(tries(&gamut, "box", "tcp", &target), "no");
    gamut.call(&["rm", "-f", "box"]).ok();
    assert_eq!(tables(), [""; 0]);
    gamut.assert_nothing_left();
}

#[test]
fn a_flood_of_denials_does_not_fill_the_log() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let script =
        "for port in $(seq 1 200); do lab-peer udp 192.0.2.2:$port >/dev/null 2>&1 & done; wait";
    inside(&gamut, &["--egress", "deny"], script);
    let told = denials(&gamut);
    assert!((1..=100).contains(&told.len()), "{}", told.len());
}

#[test]
fn what_cannot_be_guarded_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    for (flags, code, said) in [
        (
            &["--network", "none", "--egress", "deny"][..],
            125,
            "an egress policy needs",
        ),
        (
            &["--network", "host", "--egress", "deny"],
            125,
            "an egress policy needs",
        ),
        (
            &["--network", "container:x", "--egress", "deny"],
            125,
            "an egress policy needs",
        ),
        (
            &["--egress", "allow", "--egress", "deny"],
            125,
            "lifts every restriction",
        ),
        (&["--egress", "allow=host:99999"], 125, "no port"),
        (
            &["--egress", "allow=192.0.2.1/24"],
            125,
            "behind its prefix",
        ),
        (&["--egress", "perhaps"], 125, "neither `deny`"),
    ] {
        let words = [&["run", "--rm"], flags, &[&image, "true"]].concat();
        gamut.call(&words).refused(code, &[said]).hinted();
    }
    gamut.assert_untouched();
    if level().is_some_and(|level| level == "microvm") {
        return;
    }
    gamut.call(&["network", "create", "blue"]).ok();
    let id = idle(&gamut, &["--egress", "deny"]);
    gamut
        .call(&["network", "connect", "blue", &id])
        .refused(1, &["joins no network while it runs"])
        .hinted();
    gamut.call(&["stop", "-t", "0", &id]).ok();
    gamut.call(&["network", "connect", "blue", &id]).ok();
    gamut.call(&["start", &id]).ok();
    let neighbour = peer(&gamut, &["--network", "blue"]);
    let beside = format!("{}:80", address(&gamut, &neighbour, "blue"));
    assert_eq!(tries(&gamut, &id, "tcp", &beside), "no");
}
