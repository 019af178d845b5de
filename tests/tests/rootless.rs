//! The engine of a user without privileges: what is particular to it. The rest is what root's is, and is
//! tested with the same tests (`tests/levels/rootless`).

use gamut_tests::patience::until;
use gamut_tests::user::{USER, session};
use gamut_tests::world::{HOST4, WORLD4};
use gamut_tests::{Gamut, World, census};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The first of the user's subordinate ids.
const FIRST: u32 = 100_000;

/// The host's numbers behind a process, as `Uid` or `Gid` has them.
fn ids(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[track_caller]
fn served(gamut: &Gamut, flags: &[&str]) -> String {
    let image = gamut.image("peer");
    let words = [&["run", "-d"], flags, &[&image, "lab-peer", "serve", "80"]].concat();
    let id = gamut.call(&words).ok().text().to_owned();
    gamut.learn_ids();
    id
}

#[test]
fn root_inside_is_the_user_outside() {
    let Some(gamut) = Gamut::of_user() else {
        return;
    };
    assert_eq!(gamut.inside(&[], "id -u; id -g; whoami"), "0\n0\nroot");
    let id = gamut.idle(&["--name", "box", "-v", "kept:/kept"]);
    let pid = gamut.pid(&id);
    assert_eq!(ids(pid, "Uid:"), USER.to_string());
    gamut.exec(
        "box",
        "echo mine >/kept/own; echo >/kept/other; chown 33:34 /kept/other",
    );
    let volume = gamut.root().join("volumes/kept/_data");
    let of = |name: &str| {
        let found = fs::metadata(volume.join(name)).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(of("own"), (USER, USER));
    assert_eq!(of("other"), (FIRST + 32, FIRST + 33));
    // What is given up for an exec is given up outside, too.
    let shown = gamut.call(&[
        "exec",
        "-u",
        "33:34",
        "box",
        "sh",
        "-c",
        "id -u; touch /kept/x 2>/dev/null || echo refused",
    ]);
    assert_eq!(shown.ok().text(), "33\nrefused");
    // Nothing of the host's root is within reach.
    let try_it = "head -c 1 /dev/kmsg 2>/dev/null | wc -c; mknod /tmp/null c 1 3 2>/dev/null || echo no node";
    assert_eq!(gamut.inside(&["--privileged"], try_it), "0\nno node");
}

#[test]
fn a_published_port_keeps_the_source_address() {
    let Some(gamut) = Gamut::of_user() else {
        return;
    };
    let world = World::new();
    let id = served(&gamut, &["-p", "8080:80", "-p", "5353:80/udp"]);
    until("the port is served", || {
        world
            .talk(HOST4, 8080, "hello")
            .is_ok_and(|said| !said.is_empty())
    });
    assert_eq!(world.talk(HOST4, 8080, "hello").unwrap().trim(), WORLD4);
    assert_eq!(world.ask(HOST4, 5353).unwrap().trim(), WORLD4);
    assert_eq!(gamut.inspect(&id)["HostConfig"]["NetworkMode"], "pasta");
    let explained = gamut.call(&["explain", &id]).ok();
    assert!(explained.out.contains("by pasta"), "{}", explained.told());
    // Outside is reached, and seen as the host.
    let image = gamut.image("peer");
    let seen = gamut.call(&[
        "run",
        "--rm",
        &image,
        "sh",
        "-c",
        "lab-peer tcp 192.0.2.2:7007",
    ]);
    assert_eq!(seen.ok().text().trim(), HOST4);
    // The port is somebody's, and then nobody's.
    gamut
        .call(&["run", "--rm", "-p", "8080:80", &image, "true"])
        .refused(125, &["8080"]);
    gamut.call(&["rm", "-f", &id]).ok();
    assert!(world.talk(HOST4, 8080, "hello").is_err());
    gamut
        .call(&["run", "--rm", "-p", "80:80", &image, "true"])
        .refused(125, &["80"])
        .hinted();
}

#[test]
fn networks_are_made_in_the_home() {
    let Some(gamut) = Gamut::of_user() else {
        return;
    };
    let world = World::new();
    gamut.call(&["network", "create", "yard"]).ok();
    served(
        &gamut,
        &["--name", "web", "--network", "yard", "-p", "8080:80"],
    );
    let image = gamut.image("peer");
    let inside = |network: &str, script: &str| {
        let words = [
            "run",
            "--rm",
            "--network",
            network,
            &image,
            "sh",
            "-c",
            script,
        ];
        gamut.call(&words).out.trim().to_owned()
    };
    until("the other is reached by its name", || {
        let at = "at=$(nslookup -type=a web | sed -n 's/^Address: //p' | tail -n 1)";
        !inside("yard", &format!("{at}; lab-peer tcp $at:80")).is_empty()
    });
    assert_eq!(
        inside("yard", "lab-peer tcp 192.0.2.2:7007"),
        HOST4,
        "led out"
    );
    assert_eq!(
        inside("bridge", "nslookup web >/dev/null 2>&1 || echo nobody"),
        "nobody"
    );
    assert!(!world.talk(HOST4, 8080, "hello").unwrap().is_empty());
    // The host has nothing of it.
    let links = census::links();
    assert!(
        !links
            .iter()
            .any(|link| link.starts_with("gm-") || link.starts_with("ve")),
        "{links:?}"
    );
    gamut.call(&["rm", "-f", "web"]).ok();
    gamut.call(&["network", "rm", "yard"]).ok();
    gamut.call(&["system", "check"]).ok();
}

#[test]
fn a_page_of_nginx_and_a_key_of_redis() {
    let Some(gamut) = Gamut::of_user() else {
        return;
    };
    let world = World::new();
    for (image, port, hello, answer) in [
        ("nginx", "8080:80", "GET / HTTP/1.0\r\n\r\n", "200 OK"),
        ("redis", "6379:6379", "PING\r\nQUIT\r\n", "+PONG"),
    ] {
        let image = gamut.image(image);
        gamut.call(&["run", "-d", "-p", port, &image]).ok();
        gamut.learn_ids();
        let port = port.split(':').next().unwrap().parse().unwrap();
        let talks = || {
            world
                .talk(HOST4, port, hello)
                .is_ok_and(|said| said.contains(answer))
        };
        until(&image, talks);
    }
}

#[test]
fn what_takes_control_groups_is_refused_without_them() {
    let Some(gamut) = Gamut::of_user() else {
        return;
    };
    let doctor = gamut.call(&["doctor"]);
    if !doctor.out.contains("control groups for users") {
        assert_eq!(
            gamut.inside(&["--memory", "32m"], "echo limited"),
            "limited"
        );
        return;
    }
    for flag in ["--memory=32m", "--cpus=0.5", "--pids-limit=9"] {
        gamut
            .run(&[flag], &["true"])
            .refused(125, &["control groups"])
            .hinted();
    }
    gamut.assert_untouched();
    gamut.idle(&["--name", "box"]);
    gamut
        .call(&["pause", "box"])
        .refused(1, &["control group"])
        .hinted();
    assert_eq!(gamut.exec("box", "ls /sys/fs/cgroup | wc -l"), "0");
    let top = gamut.call(&["top", "box"]).ok();
    assert!(top.out.contains("sleep"), "{}", top.told());
    for (flags, word) in [
        (&["--userns", "auto"][..], "--userns auto"),
        (&["--system"], "--system"),
        (&["--isolation", "microvm"], "microvm"),
    ] {
        gamut.run(flags, &["true"]).refused(125, &[word]).hinted();
    }
}

#[test]
fn a_home_whose_holder_is_killed_is_made_again() {
    let Some(gamut) = Gamut::of_user() else {
        return;
    };
    gamut.idle(&["--name", "old"]);
    let [holder] = census::homes(&gamut)[..] else {
        panic!("there is one home");
    };
    let holder = rustix::process::Pid::from_raw(holder).unwrap();
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).unwrap();
    // It goes on, is spoken to, and ends as told; a new one starts beside it.
    assert_eq!(gamut.exec("old", "echo still here"), "still here");
    assert_eq!(gamut.inside(&[], "echo new"), "new");
    gamut.call(&["restart", "-t", "1", "old"]).ok();
    assert_eq!(gamut.exec("old", "echo again"), "again");
    gamut.call(&["rm", "-f", "old"]).ok();
    // Who comes first makes it; the others wait.
    let [holder] = census::homes(&gamut)[..] else {
        panic!("there is one home");
    };
    let holder = rustix::process::Pid::from_raw(holder).unwrap();
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).unwrap();
    let many: Vec<_> = (0..8).map(|_| gamut.spawn(&["ps", "-q"])).collect();
    for one in many {
        one.finish().ok();
    }
    assert_eq!(census::homes(&gamut).len(), 1);
}

#[test]
fn what_a_user_lacks_is_told() {
    let Some(gamut) = Gamut::of_user() else {
        return;
    };
    let given = gamut.dir().join("subuid");
    fs::write(&given, "somebody:1:2\n").unwrap();
    gamut
        .call(&["ps"])
        .refused(1, &["nobody", "no subordinate ids", "/etc/subuid"])
        .hinted();
    let doctor = gamut.call(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(
        doctor.out.contains("usermod --add-subuids"),
        "{}",
        doctor.told()
    );
    // What keeps nothing needs nothing.
    gamut.call(&["version"]).ok();
    assert!(
        !Path::new(&session(gamut.dir()))
            .join("gamut/home/holder")
            .exists()
    );
    fs::write(&given, "nobody:100000:65536\n").unwrap();
    gamut.call(&["ps"]).ok();
    // A directory that is somebody else's is not trusted.
    let run = session(gamut.dir()).join("gamut");
    for pid in census::homes(&gamut) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    std::os::unix::fs::chown(&run, Some(0), Some(0)).unwrap();
    gamut
        .call(&["ps"])
        .refused(1, &["not this user's alone"])
        .hinted();
    std::os::unix::fs::chown(&run, Some(USER), Some(USER)).unwrap();
}
