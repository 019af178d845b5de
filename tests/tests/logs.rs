//! What a container wrote, kept and followed.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;

use gamut_tests::Gamut;
use gamut_tests::host::program;
use gamut_tests::patience::until;

#[test]
fn logs_are_kept_in_order_and_followed() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(&[], &["sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done; sleep 0.3; trap 'echo last; exit' TERM; echo ready; while :; do sleep 0.1; done"]);
    until("it is ready", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    let logs = gamut.call(&["logs", &id]).ok();
    assert_eq!(
        (logs.out.as_str(), logs.err.as_str()),
        ("out 1\nout 2\nout 3\nready\n", "err 1\nerr 2\nerr 3\n")
    );
    gamut.call(&["logs", "-n", "1", &id]).ok().prints("ready");
    let stamped = gamut.call(&["logs", "-t", "-n", "1", &id]).ok();
    assert!(
        stamped.out.starts_with("20") && stamped.out.contains("Z ready"),
        "{}",
        stamped.told()
    );
    let follower = gamut.spawn(&["logs", "-f", "-n", "1", &id]);
    gamut.call(&["stop", &id]).ok();
    follower.finish().ok().prints("ready\nlast");
    gamut.call(&["logs", "--since", "1h", &id]).ok();
    assert_eq!(
        gamut
            .call(&["logs", "--until", "2020-01-01T00:00:00Z", &id])
            .ok()
            .out,
        ""
    );
}

#[test]
fn logs_are_json_lines_and_rotate() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(
        &["--log-opt", "max-size=10k", "--log-opt", "max-file=2"],
        &["seq", "1", "5000"],
    );
    gamut.call(&["wait", &id]).ok();
    let path = gamut.inspect(&id)["LogPath"].as_str().unwrap().to_owned();
    let line = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .last()
        .unwrap()
        .to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (line["log"].as_str(), line["stream"].as_str()),
        (Some("5000\n"), Some("stdout"))
    );
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    assert!(std::fs::metadata(&path).unwrap().len() <= 11_000);
    assert!(
        std::path::Path::new(&format!("{path}.1")).exists()
            && !std::path::Path::new(&format!("{path}.2")).exists()
    );
    assert!(gamut.call(&["logs", &id]).ok().out.ends_with("\n5000\n"));
    let silent = gamut.detached(&["--log-driver", "none"], &["echo", "unheard"]);
    gamut.call(&["wait", &silent]).ok();
    gamut.call(&["logs", &silent]).code(1);
}

/// What a daemon at a datagram socket is told, a message each, until `enough`.
fn told(socket: &UnixDatagram, enough: usize) -> Vec<Vec<u8>> {
    let patience = Some(gamut_tests::patience::limit());
    socket.set_read_timeout(patience).unwrap();
    let mut buffer = [0; 4096];
    (0..enough)
        .map(|_| {
            let length = socket.recv(&mut buffer).expect("it is told");
            buffer[..length].to_vec()
        })
        .collect()
}

fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).into_owned()
}

#[test]
fn lines_are_told_to_syslog() {
    let Some(gamut) = Gamut::new() else { return };
    let path = gamut.dir().join("log.sock");
    let daemon = UnixDatagram::bind(&path).unwrap();
    let address = format!("syslog-address=unixgram://{}", path.display());
    let script = ["sh", "-c", "echo one; echo two >&2"];
    let run = |options: &[&str]| {
        let driver = ["--log-driver", "syslog", "--log-opt", &address];
        let options: Vec<&str> = options.iter().flat_map(|o| ["--log-opt", o]).collect();
        gamut
            .run(
                &[&driver[..], &["--name", "box"], &options].concat(),
                &script,
            )
            .ok();
        let mut said: Vec<String> = told(&daemon, 2).iter().map(|m| text(m)).collect();
        // Two pipes have no order between them.
        said.sort_by_key(|message| message.contains("two"));
        said
    };
    let said = run(&["tag={{.Name}}/x", "syslog-facility=local0"]);
    assert!(
        said[0].starts_with("<134>") && said[0].ends_with("]: one\n"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("<131>") && said[1].ends_with("]: two\n"),
        "{said:?}"
    );
    assert!(said[0].contains(" box/x["), "{said:?}");
    let said = run(&["syslog-format=rfc5424"]);
    let fields: Vec<&str> = said[0].split(' ').collect();
    assert_eq!(fields[0], "<30>1");
    assert_eq!((fields[3].len(), fields[5]), (12, fields[3]), "{said:?}");
    assert!(said[0].ends_with(" - one\n"), "{said:?}");
    // What is told is kept as well.
    let driver = [
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "--name",
        "kept",
    ];
    gamut.detached(&driver, &["echo", "here too"]);
    gamut.call(&["wait", "kept"]).ok();
    gamut.call(&["logs", "kept"]).ok().prints("here too");
    let found = &gamut.inspect("kept")["HostConfig"]["LogConfig"];
    assert_eq!(found["Type"], "syslog");
    assert_eq!(
        found["Config"]["syslog-address"],
        address["syslog-address=".len()..]
    );
    // One that goes away harms nobody.
    told(&daemon, 1);
    drop(daemon);
    gamut.idle(&["--name", "none"]);
    gamut
        .run(&driver[..4], &["true"])
        .refused(125, &["log.sock"])
        .hinted();
}

#[test]
fn lines_are_told_over_the_network() {
    let Some(gamut) = Gamut::new() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("syslog-address=tcp://{}", listener.local_addr().unwrap());
    let driver = [
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "--name",
        "box",
    ];
    // Nobody reads: the workload goes on all the same.
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i of many; i=$((i+1)); done; echo end";
    gamut.detached(&driver, &["sh", "-c", script]);
    gamut.call(&["wait", "box"]).ok().prints("0");
    let lines = gamut.call(&["logs", "-n", "1", "box"]);
    lines.ok().prints("end");
    // The first connection only asked whether somebody is there.
    let _first = listener.accept().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let first = BufReader::new(stream).lines().next().unwrap().unwrap();
    assert!(
        first.starts_with("<30> 20") && first.ends_with("]: line 0 of many"),
        "{first}"
    );
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("syslog-address=udp://{}", udp.local_addr().unwrap());
    let driver = ["--log-driver", "syslog", "--log-opt", &address];
    gamut.run(&driver, &["echo", "by datagram"]).ok();
    let mut buffer = [0; 1024];
    let length = udp.recv(&mut buffer).unwrap();
    assert!(text(&buffer[..length]).ends_with("]: by datagram\n"));
    drop(listener);
    gamut
        .run(
            &[
                "--log-driver",
                "syslog",
                "--log-opt",
                "syslog-address=tcp://127.0.0.1:9",
            ],
            &["true"],
        )
        .refused(125, &["127.0.0.1:9"])
        .hinted();
}

#[test]
fn lines_are_told_to_the_journal() {
    let Some(gamut) = Gamut::new() else { return };
    let place = std::path::Path::new("/run/systemd/journal");
    let was_there = place.exists();
    std::fs::create_dir_all(place).unwrap();
    // Of this test alone: it has mounts of its own.
    program("mount", &["-t", "tmpfs", "tmpfs", "/run/systemd/journal"]);
    let driver = [
        "--log-driver",
        "journald",
        "--log-opt",
        "labels=team",
        "--label",
        "team=blue",
    ];
    gamut
        .run(&driver, &["true"])
        .refused(125, &["/run/systemd/journal/socket"])
        .hinted();
    let daemon = UnixDatagram::bind(place.join("socket")).unwrap();
    gamut
        .run(
            &[&driver[..], &["--name", "box"]].concat(),
            &["sh", "-c", "echo text >&2"],
        )
        .ok();
    let entry = text(&told(&daemon, 1)[0]);
    for field in [
        "CONTAINER_NAME=box\n",
        "TEAM=blue\n",
        "PRIORITY=3\n",
        "MESSAGE=text\n",
        "IMAGE_NAME=",
    ] {
        assert!(entry.contains(field), "{field}: {entry}");
    }
    drop(daemon);
    program("umount", &["/run/systemd/journal"]);
    if !was_there {
        let _ = std::fs::remove_dir(place);
    }
}

#[test]
fn lines_have_labels_and_variables_with_them() {
    let Some(gamut) = Gamut::new() else { return };
    let flags = [
        "--log-driver",
        "local",
        "--log-opt",
        "labels=team,none",
        "--log-opt",
        "env=COLOUR",
        "--log-opt",
        "tag={{.Name}}",
        "--label",
        "team=blue",
        "-e",
        "COLOUR=red",
        "--name",
        "box",
    ];
    gamut.detached(&flags, &["echo", "text"]);
    gamut.call(&["wait", "box"]).ok();
    gamut.call(&["logs", "box"]).ok().prints("text");
    let details = gamut.call(&["logs", "--details", "box"]).ok();
    assert_eq!(details.out, "COLOUR=red,tag=box,team=blue text\n");
    assert_eq!(
        gamut.inspect("box")["HostConfig"]["LogConfig"]["Type"],
        "local"
    );
    gamut
        .run(&["--log-opt", "tag={{.Nothing}}"], &["true"])
        .refused(125, &[".Nothing"])
        .hinted();
    for (driver, option) in [
        ("local", "syslog-format=rfc5424"),
        ("none", "max-size=1m"),
        ("syslog", "syslog-facility=x"),
    ] {
        gamut
            .run(&["--log-driver", driver, "--log-opt", option], &["true"])
            .refused(125, &[option])
            .hinted();
    }
}
