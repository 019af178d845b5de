//! A machine's files: the file server as it is started for a machine, and a real guest kernel that works on
//! what it serves, emulated by QEMU. Without a container: what a container makes of them is tried where
//! machines run containers.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gamut_sys::socket;
use gamut_tests::patience::limit;
use gamut_tests::skip::skipped;
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The guest's program, run by a busybox: each line that it prints is a word and what it is about.
const GUEST: &str = include_str!("shares/guest.sh");

/// A file server, with the shares that a container would have.
struct Server {
    process: Child,
    control: OwnedFd,
    machine: OwnedFd,
    directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Self {
        // Not below /tmp: where that is in memory, no overlay can have its upper directory.
        let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for name in [
            "upper",
            "upper/fs",
            "upper/work",
            "binds",
            "binds/rw",
            "binds/ro",
        ] {
            fs::create_dir(at(name)).expect("made");
        }
        for (name, text) in [
            ("binds/rw/host", "from the host"),
            ("binds/ro/host", "read only"),
            ("binds/file", "one file"),
            ("binds/ro-file", "one file, read only"),
            ("secret", "not for the guest"),
        ] {
            fs::write(at(name), text).expect("written");
        }
        symlink(at("secret"), at("binds/rw/escape")).expect("linked");
        symlink("../../secret", at("binds/rw/up")).expect("linked");
        let (control, theirs) = socket::pair().expect("a pair");
        let process = Command::new(gamut_tests::gamut::binary())
            .arg0("gamut-fs")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .expect("started");
        let (machine, theirs) = UnixStream::pair().expect("a pair");
        let server = Self {
            process,
            control,
            machine: machine.into(),
            directory,
        };
        for (name, path, access) in [
            ("upper", "upper", "read_write"),
            ("0", "binds/rw", "read_write"),
            ("1", "binds/ro", "read_only"),
            ("2", "binds/file", "read_write"),
            ("3", "binds/ro-file", "read_only"),
        ] {
            let told = json!({"share": {"name": name, "access": access}});
            server.tell(&told, detached(&server.at(path)));
        }
        let told = json!({"serve": {"tag": "gamut", "private": "upper"}});
        server.tell(&told, &theirs);
        server
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tell(&self, told: &Value, descriptor: impl AsFd) {
        let packet = told.to_string();
        let sent = socket::send(
            self.control.as_fd(),
            &[packet.as_bytes()],
            &[descriptor.as_fd()],
        );
        sent.expect("told");
    }
}

/// What a file server says.
fn answer(control: &OwnedFd) -> Value {
    let mut buffer = [0; 4096];
    let received = match socket::receive(control.as_fd(), &mut buffer) {
        // It ended before it had read everything.
        Err(rustix::io::Errno::CONNRESET) => socket::receive(control.as_fd(), &mut buffer),
        other => other,
    };
    let (length, _) = received.expect("an answer");
    serde_json::from_slice(&buffer[..length]).expect("JSON")
}

fn detached(path: &Path) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags).expect("a mount")
}

#[test]
fn the_file_server_is_jailed() {
    let server = Server::start();
    assert_eq!(answer(&server.control), json!("serving"));
    let pid = server.process.id();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let has = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        status
            .lines()
            .any(|line| line.split_whitespace().eq(words.iter().copied()))
    };
    assert!(has("Uid: 65534 65534 65534 65534"), "{status}");
    assert!(has("Gid: 65534 65534 65534 65534"), "{status}");
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID, MKNOD and SETFCAP.
    assert!(has("CapEff: 00000000880000db"), "{status}");
    assert!(has("CapPrm: 00000000880000db"), "{status}");
    for set in ["CapInh", "CapBnd", "CapAmb"] {
        assert!(has(&format!("{set}: 0000000000000000")), "{status}");
    }
    assert!(has("NoNewPrivs: 1") && has("Seccomp: 2"), "{status}");
    for namespace in ["mnt", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).expect("there");
        assert_ne!(of(&pid.to_string()), of("self"), "{namespace}");
    }
    let mut names: Vec<String> = fs::read_dir(format!("/proc/{pid}/root"))
        .expect("its root")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["0", "1", "2", "3", "upper"]);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mounts");
    assert_eq!(mounts.lines().count(), 6, "{mounts}");
    for mount in mounts.lines() {
        assert!(mount.contains("nosuid,nodev,noexec"), "{mount}");
    }
    // It ends with who started it.
    let mut server = server;
    let (ours, _) = socket::pair().expect("a pair");
    server.control = ours;
    let ended = server.process.wait().expect("ended");
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_file_server_says_what_it_cannot_do() {
    for (told, word) in [
        (
            json!({"share": {"name": "..", "access": "read_only"}}),
            "mount what is served",
        ),
        (
            json!({"share": {"name": "a/b", "access": "read_only"}}),
            "mount what is served",
        ),
        (
            json!({"serve": {"tag": "", "private": "upper"}}),
            "serve the tree",
        ),
        (json!({"shares": []}), "makes no sense"),
    ] {
        let (control, theirs) = socket::pair().expect("a pair");
        let mut process = Command::new(gamut_tests::gamut::binary())
            .arg0("gamut-fs")
            .stdin(Stdio::from(theirs))
            .spawn()
            .expect("started");
        let tell = |told: &Value, descriptor: &OwnedFd| {
            let packet = told.to_string();
            let _ = socket::send(control.as_fd(), &[packet.as_bytes()], &[descriptor.as_fd()]);
        };
        tell(&told, &detached(Path::new("/var/tmp")));
        let (_ours, machine) = UnixStream::pair().expect("a pair");
        tell(
            &json!({"serve": {"tag": "t", "private": "upper"}}),
            &machine.into(),
        );
        let answer = answer(&control);
        let reason = answer["refused"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(word), "{told}: {answer}");
        assert!(!process.wait().expect("ended").success());
    }
}

#[test]
fn a_guest_works_on_the_hosts_files() {
    let kernel = std::env::var_os("GAMUT_TEST_KERNEL")
        .unwrap_or_else(|| "/var/cache/gamut-lab/kernel/vmlinux".into());
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    for (is_there, what) in [
        (Path::new(&kernel).exists(), "guest kernel"),
        (Path::new("/bin/busybox").exists(), "/bin/busybox"),
        (qemu.is_ok(), "QEMU"),
    ] {
        if !is_there {
            return skipped(&format!("there is no {what} here"));
        }
    }
    let server = Server::start();
    assert_eq!(answer(&server.control), json!("serving"));
    let initramfs = server.at("initramfs");
    fs::write(&initramfs, initial_tree()).expect("written");
    let mut guest = boot(&server, &kernel, &initramfs);
    let serial = BufReader::new(guest.stdout.take().expect("a pipe"));
    let (teller, lines) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in serial.lines().map_while(Result::ok) {
            let _ = teller.send(line.trim_end().to_owned());
        }
    });
    let mut told = Vec::new();
    // A guest that hangs says nothing more.
    while let Ok(line) = lines.recv_timeout(limit()) {
        if line == "tell the host" {
            fs::write(server.at("binds/rw/host"), "another word").expect("written");
        }
        let is_last = line == "the end";
        told.push(line);
        if is_last {
            break;
        }
    }
    let _ = guest.kill();
    let _ = guest.wait();
    reader.join().expect("read");
    let wrong: Vec<&String> = told
        .iter()
        .filter(|line| line.starts_with("WRONG"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{told:#?}");
    assert_eq!(
        told.last().map(String::as_str),
        Some("the end"),
        "{told:#?}"
    );
    look_at_upper(&server);
    let read = |name: &str| fs::read_to_string(server.at(name)).expect("there");
    assert_eq!(read("binds/rw/guest"), "from the guest\n");
    assert_eq!(read("binds/file"), "changed by the guest\n");
    assert_eq!(read("binds/ro-file"), "one file, read only");
    assert_eq!(read("binds/ro/host"), "read only");
    assert_eq!(read("secret"), "not for the guest");
}

/// What the guest's overlay left in its upper directory is what the host's would have.
fn look_at_upper(server: &Server) {
    let upper = server.at("upper/fs");
    let of = |name: &str| fs::symlink_metadata(upper.join(name)).expect(name);
    assert_eq!(
        fs::read_to_string(upper.join("new")).expect("there"),
        "new\n"
    );
    let copied = fs::read_to_string(upper.join("file")).expect("there");
    assert_eq!(copied, "lower\nmore\n", "copied up");
    let whiteout = of("directory/gone");
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    let mut value = [0; 8];
    let opaque = rustix::fs::getxattr(upper.join("again"), "user.overlay.opaque", &mut value);
    assert_eq!(
        opaque.map(|length| value[..length].to_vec()),
        Ok(b"y".to_vec())
    );
    let by_user = of("by-user");
    assert_eq!((by_user.uid(), by_user.gid()), (1000, 1000));
    assert_eq!(of("set-id").permissions().mode() & 0o7777, 0o4755);
    assert_eq!(
        (of("link").uid(), of("link").gid()),
        (5, 6),
        "a link, copied up"
    );
    assert!(of("fifo").file_type().is_fifo());
    assert_eq!(of("one").ino(), of("two").ino());
    assert_eq!(of("sparse").len(), 10 << 20);
    assert!(of("sparse").blocks() < 1024);
}

/// A machine as the level `microvm` makes it, with the tree and nothing else.
fn boot(server: &Server, kernel: &OsString, initramfs: &Path) -> Child {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ])
    .args([
        "-machine",
        "microvm,acpi=off,rtc=on,pit=on,pic=on,memory-backend=memory",
    ])
    .args([
        "-object",
        "memory-backend-memfd,id=memory,size=256M,share=on",
    ])
    .args(["-m", "256M", "-accel", "tcg", "-cpu", "max"])
    .args(["-global", "virtio-mmio.force-legacy=off"])
    .args(["-chardev", "socket,id=share,fd=3"])
    .args([
        "-device",
        "vhost-user-fs-device,chardev=share,tag=gamut,queue-size=1024",
    ])
    .args([
        "-serial",
        "stdio",
        "-append",
        "console=ttyS0 reboot=t panic=-1 quiet",
    ])
    .arg("-kernel")
    .arg(kernel)
    .arg("-initrd")
    .arg(initramfs)
    .stdin(Stdio::null())
    .stdout(Stdio::piped());
    let machine = rustix::io::fcntl_dupfd_cloexec(&server.machine, 3).expect("a descriptor");
    gamut_sys::command::pass_on(&mut qemu, &[machine]).expect("passed on");
    qemu.spawn().expect("started")
}

/// The guest's first file system: a cpio archive (`newc`) of a busybox and its script.
fn initial_tree() -> Vec<u8> {
    let mut archive = Vec::new();
    let mut number = 0;
    let mut add = |name: &str, mode: u32, device: (u32, u32), content: &[u8]| {
        number += 1;
        let (major, minor) = device;
        let size = content.len();
        let length = name.len() + 1;
        write!(
            archive,
            "070701{number:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}\
             {major:08x}{minor:08x}{length:08x}{0:08x}{name}\0",
            0, 1
        )
        .expect("into memory");
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    for name in ["bin", "dev", "etc", "proc", "sys", "mnt", "lower", "merged"] {
        add(name, 0o040_755, (0, 0), &[]);
    }
    add("dev/console", 0o020_600, (5, 1), &[]);
    let busybox = fs::read("/bin/busybox").expect("a busybox");
    add("bin/busybox", 0o100_755, (0, 0), &busybox);
    add(
        "etc/passwd",
        0o100_644,
        (0, 0),
        b"user:x:1000:1000::/:/bin/sh\n",
    );
    add("etc/group", 0o100_644, (0, 0), b"user:x:1000:\n");
    add("init", 0o100_755, (0, 0), GUEST.as_bytes());
    add("TRAILER!!!", 0, (0, 0), &[]);
    archive
}
