//! Real programs from Debian in real images, used by a real client.

use gamut_tests::{Gamut, World, eventually, http, world};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

#[track_caller]
fn start(gamut: &Gamut, image: &str, flags: &[&str], words: &[&str]) -> String {
    let image = gamut.image(image);
    let id = gamut
        .call(&[&["run", "-d"], flags, &[image.as_str()], words].concat())
        .ok()
        .text()
        .to_owned();
    gamut.learn_ids();
    id
}

#[test]
fn debian_is_debian() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("debian");
    let run = |words: &[&str]| {
        gamut
            .call(&[&["run", "--rm", "--network", "none", image.as_str()], words].concat())
            .ok()
    };
    let release = run(&["cat", "/etc/os-release"]);
    assert!(
        release.out.contains("ID=debian") || release.out.contains("ID=ubuntu"),
        "{}",
        release.told()
    );
    assert!(run(&["dpkg", "--audit"]).out.is_empty());
    run(&["perl", "-e", "print qq(perl\\n)"]).prints("perl");
    run(&["bash", "-c", "id -un; getent passwd www-data | cut -d: -f3"]).prints("root\n33");
    run(&["sh", "-c", "stat -c %a /tmp; stat -Lc %a /usr/bin/passwd"]).prints("1777\n4755");
}

#[test]
fn nginx_serves_a_page_through_a_published_port() {
    let Some(gamut) = Gamut::new() else { return };
    let neighbour = World::new();
    let site = gamut.dir().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("index.html"), "<h1>first light</h1>\n").unwrap();
    let volume = format!("{}:/var/www/html:ro", site.display());
    let id = start(
        &gamut,
        "nginx",
        &[
            "-p",
            "8080:80",
            "--memory",
            "64m",
            "--pids-limit",
            "50",
            "-v",
            &volume,
        ],
        &[],
    );
    let page = eventually("nginx answers", || http::get("127.0.0.1:8080", "/").ok());
    assert_eq!(
        (page.status, String::from_utf8_lossy(&page.body).as_ref()),
        (200, "<h1>first light</h1>\n")
    );
    let from_outside = neighbour
        .run(|| http::get(&format!("{}:8080", world::HOST4), "/index.html"))
        .unwrap();
    assert_eq!(from_outside.status, 200);
    // Its log is the container's, with the neighbour's own address.
    eventually("the request is logged", || {
        gamut
            .call(&["logs", &id])
            .ok()
            .out
            .contains(world::WORLD4)
            .then_some(())
    });
    // SIGQUIT, as the image says: nginx ends by itself.
    gamut.call(&["stop", &id]).ok();
    assert_eq!(gamut.inspect(&id)["State"]["ExitCode"], 0);
}

#[test]
fn python_serves_and_computes() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("python");
    let script = "import os, threading, tempfile, hashlib\nt = threading.Thread(target=lambda: print(hashlib.sha256(b'x').hexdigest()[:8]))\nt.start(); t.join()\nprint(os.getpid(), os.cpu_count() >= 1)";
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "none",
            &image,
            "python3",
            "-c",
            script,
        ])
        .ok()
        .prints("2d711642\n1 True");
    start(
        &gamut,
        "python",
        &["-p", "8000:8000", "-w", "/srv"],
        &["python3", "-m", "http.server", "8000"],
    );
    let page = eventually("http.server answers", || {
        http::get("127.0.0.1:8000", "/").ok()
    });
    assert!(
        page.status == 200 && String::from_utf8_lossy(&page.body).contains("Directory listing")
    );
}

#[test]
fn calls_that_the_filter_forbids_are_refused_one_by_one() {
    let Some(gamut) = Gamut::new() else { return };
    // Numbers of x86-64 (asm/unistd_64.h); with arguments that would do no harm if they went through.
    let script = r#"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, *call in [("keyctl", 250, 0, 0, 0), ("bpf", 321, 99, 0, 0), ("userfaultfd", 323, 0), ("kexec_load", 246, 0, 0, 0, 0),
                    ("init_module", 175, 0, 0, 0), ("swapon", 167, 0, 0), ("clone_newuser", 272, 0x10000000), ("io_uring_setup", 425, 1, 0),
                    ("mount", 165, 0, 0, 0, 0, 0), ("perf_event_open", 298, 0, 0, 0, 0, 0), ("getpid", 39)]:
    result = libc.syscall(*map(ctypes.c_long, call))
    print(name, "ok" if result >= 0 else os.strerror(ctypes.get_errno()))
"#;
    if std::env::consts::ARCH != "x86_64" {
        return gamut_tests::skip::skipped("the system call numbers are of x86-64");
    }
    let image = gamut.image("python");
    let said = gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "none",
            &image,
            "python3",
            "-c",
            script,
        ])
        .ok();
    for line in said.lines() {
        let (name, result) = line.split_once(' ').unwrap();
        let expected = if name == "getpid" {
            "ok"
        } else {
            "Operation not permitted"
        };
        assert_eq!(result, expected, "{name}\n{}", said.told());
    }
}

#[test]
fn redis_keeps_what_it_is_told() {
    let Some(gamut) = Gamut::new() else { return };
    let id = start(
        &gamut,
        "redis",
        &[
            "-p",
            "127.0.0.1:6379:6379",
            "--memory",
            "128m",
            "--read-only",
        ],
        &[],
    );
    let stream = eventually("redis answers", || {
        let stream = TcpStream::connect("127.0.0.1:6379").ok()?;
        (ask(&stream, "PING")? == "+PONG").then_some(stream)
    });
    assert_eq!(ask(&stream, "SET light first").as_deref(), Some("+OK"));
    assert_eq!(ask(&stream, "INCRBY counter 42").as_deref(), Some(":42"));
    assert_eq!(ask(&stream, "GET light").as_deref(), Some("$5"));
    gamut
        .call(&["exec", &id, "redis-cli", "get", "counter"])
        .ok()
        .prints("42");
    // Not root inside, as the image says.
    assert_eq!(gamut.call(&["exec", &id, "id", "-un"]).ok().text(), "redis");
    gamut.call(&["stop", &id]).ok();
    assert_eq!(gamut.inspect(&id)["State"]["ExitCode"], 0);
}

/// One command, and the first line of the answer.
fn ask(mut stream: &TcpStream, command: &str) -> Option<String> {
    writeln!(stream, "{command}\r").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned()).filter(|line| !line.is_empty())
}
