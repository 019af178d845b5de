//! Names on networks that users make: who is called what, who answers, and when it ends.

use gamut_tests::world::HOST4;
use gamut_tests::{Gamut, World, level, patience};
use std::net::UdpSocket;

/// Starts a container that waits.
#[track_caller]
fn waiting(gamut: &Gamut, flags: &[&str]) -> String {
    let image = gamut.image("peer");
    let words = [&["run", "-d"], flags, &[image.as_str(), "sleep", "1000"]].concat();
    let id = gamut.call(&words).ok().text().to_owned();
    gamut.learn_ids();
    id
}

/// What a script prints in a busybox.
#[track_caller]
fn inside(gamut: &Gamut, flags: &[&str], script: &str) -> String {
    let image = gamut.image("peer");
    let words = [
        &["run", "--rm"],
        flags,
        &[image.as_str(), "sh", "-c", script],
    ]
    .concat();
    gamut.call(&words).ok().text().to_owned()
}

/// The addresses that `nslookup` gives for a name; its failure is none.
#[track_caller]
fn looked_up(gamut: &Gamut, on: &[&str], name: &str) -> Vec<String> {
    // One family after the other: musl numbers its questions by the clock, and an emulated machine's is so
    // coarse that two at once have one number.
    let ask = |kind| format!("nslookup -type={kind} {name} 2>&1");
    let said = inside(gamut, on, &format!("{}; {}; true", ask("a"), ask("aaaa")));
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("Address: "));
    let mut addresses: Vec<_> = lines.map(|line| line.trim().to_owned()).collect();
    addresses.sort();
    addresses
}

/// Who is asked: a machine's kernel is not the host's, so what it asks leaves it.
fn own_server(gamut: &Gamut, network: &str) -> String {
    let format = "nameserver {{(index .IPAM.Config 0).Gateway}}";
    match level().as_deref() {
        Some("microvm") => gamut
            .call(&["network", "inspect", network, "-f", format])
            .ok()
            .text()
            .to_owned(),
        _ => "nameserver 127.0.0.11".to_owned(),
    }
}

fn addresses(gamut: &Gamut, id: &str, network: &str) -> Vec<String> {
    let told = gamut.inspect(id)["NetworkSettings"]["Networks"][network].clone();
    let mut addresses: Vec<_> = ["IPAddress", "GlobalIPv6Address"]
        .iter()
        .filter_map(|field| told[field].as_str())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect();
    addresses.sort();
    addresses
}

#[test]
fn containers_find_each_other_by_their_names() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["network", "create", "--ipv6", "Blue"]).ok();
    gamut.call(&["network", "create", "red"]).ok();
    let on = ["--network", "Blue"];
    let db = waiting(
        &gamut,
        &[
            &on[..],
            &[
                "--name",
                "db",
                "--network-alias",
                "Store",
                "--hostname",
                "dbhost",
            ],
        ]
        .concat(),
    );
    let expected = addresses(&gamut, &db, "Blue");
    assert_eq!(expected.len(), 2, "{expected:?}");
    for name in ["db", "DB", "store", "dbhost", &db[..12], "db.blue", "db."] {
        assert_eq!(looked_up(&gamut, &on, name), expected, "{name}");
    }
    let who = inside(&gamut, &on, &format!("nslookup {}", expected[0]));
    assert!(who.contains("name = db.Blue"), "{who}");
    let resolv = inside(&gamut, &on, "cat /etc/resolv.conf");
    assert!(resolv.starts_with(&own_server(&gamut, "Blue")), "{resolv}");
    assert!(resolv.contains("ndots:0"), "{resolv}");
    // Nobody else's business.
    for on in [&["--network", "red"][..], &[]] {
        assert_eq!(looked_up(&gamut, on, "db"), [""; 0], "{on:?}");
    }
    // By another name, if it gets one.
    gamut.call(&["rename", "db", "base"]).ok();
    assert_eq!(looked_up(&gamut, &on, "base"), expected);
    assert_eq!(looked_up(&gamut, &on, "db"), [""; 0]);
    gamut.call(&["rename", "base", "db"]).ok();
    // With the container ends its name.
    gamut.call(&["kill", "db"]).ok();
    gamut.call(&["wait", "db"]).ok();
    assert_eq!(looked_up(&gamut, &on, "db"), [""; 0]);
    gamut.call(&["start", "db"]).ok();
    assert_eq!(looked_up(&gamut, &on, "db"), expected);
    // Also if it ends without a word.
    let keeper = gamut.inspect(&db)["KeeperPid"].as_i64().unwrap();
    let keeper = rustix::process::Pid::from_raw(keeper as i32).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
    patience::until("the keeper is gone", || {
        !std::path::Path::new(&format!("/proc/{}", keeper.as_raw_nonzero())).exists()
    });
    assert_eq!(looked_up(&gamut, &on, "db"), [""; 0]);
}

#[test]
fn an_alias_of_several_has_all_their_addresses() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["network", "create", "blue"]).ok();
    let on = ["--network", "blue", "--network-alias", "web"];
    let mut expected = Vec::new();
    for _ in 0..3 {
        let id = waiting(&gamut, &on);
        expected.extend(addresses(&gamut, &id, "blue"));
    }
    expected.sort();
    assert_eq!(looked_up(&gamut, &["--network", "blue"], "web"), expected);
    let image = gamut.image("peer");
    gamut
        .call(&[
            "network",
            "create",
            "--disable-dns",
            "--scope",
            "local",
            "--ipv4",
            "mute",
        ])
        .ok();
    waiting(&gamut, &["--network", "mute", "--name", "dumb"]);
    assert_eq!(looked_up(&gamut, &["--network", "mute"], "dumb"), [""; 0]);
    gamut
        .call(&["run", "--rm", "--network-alias", "web", &image, "true"])
        .refused(125, &["only networks of your own"])
        .hinted();
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "blue",
            "--network-alias",
            "a/b",
            &image,
            "true",
        ])
        .refused(125, &["a/b"]);
}

/// A server that answers every question with one IPv4 address.
fn serve(address: &str) {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    std::thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut message) {
            let mut end = 12;
            while message[end] != 0 {
                end += 1 + usize::from(message[end]);
            }
            let kind = message[end + 2];
            let mut answer = message[..end + 5].to_vec();
            assert!(length >= answer.len());
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(kind == 1), 0, 0, 0, 0]);
            if kind == 1 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

#[test]
fn other_names_are_asked_of_others() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    serve(HOST4);
    gamut.call(&["network", "create", "blue"]).ok();
    gamut
        .call(&["network", "create", "--internal", "quiet"])
        .ok();
    let dns = [
        "--dns",
        HOST4,
        "--dns-search",
        "lab.example",
        "--dns-option",
        "timeout:1",
    ];
    let on = [&["--network", "blue"], &dns[..]].concat();
    assert_eq!(looked_up(&gamut, &on, "example.org"), ["192.0.2.77"]);
    let resolv = inside(&gamut, &on, "cat /etc/resolv.conf");
    let (server, rest) = resolv.split_once('\n').unwrap();
    assert_eq!(server, own_server(&gamut, "blue"));
    assert_eq!(rest, "search lab.example\noptions timeout:1 ndots:0");
    // A network without a way out has none for questions.
    let on = [&["--network", "quiet"], &dns[..]].concat();
    assert_eq!(looked_up(&gamut, &on, "example.org"), [""; 0]);
    // Whoever serves names in a container has port 53 to itself.
    let said = inside(
        &gamut,
        &["--network", "blue"],
        "lab-peer serve 53 >/dev/null 2>&1 & sleep 1; lab-peer tcp 127.0.0.1:53 >/dev/null && echo mine",
    );
    assert_eq!(said, "mine");
    patience::until("nothing is left of the names", || {
        let left = std::fs::read_dir(gamut.runroot().join("networks"));
        left.into_iter().flatten().flatten().all(|network| {
            let names = std::fs::read_dir(network.path().join("names"));
            names.into_iter().flatten().count() == 0
        })
    });
}
