//! What a process in a [`Jail`] cannot do, tried by one, and what it can. The binary starts itself again:
//! as `jailed`, in a pid namespace of its own, which goes into the jail, tries, and tells by its standard
//! input, a socket; this side holds the answers against [`EXPECTED`] and looks at it from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use gamut_container::caps::CapSet;
use gamut_container::jail::{Jail, Kept, NOBODY, Network, Root};
use gamut_sys::spawn;
use rustix::io::Errno;

const NAME: &str = "jailed";
/// The only test there is.
const TEST: &str = "a_jailed_process_can_do_nothing_but_its_work";

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        return inside();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        if !words.iter().any(|word| word == "--ignored") {
            println!("{TEST}: test");
        }
        return ExitCode::SUCCESS;
    }
    let mut names = words.iter().filter(|word| !word.starts_with('-'));
    if names
        .next()
        .is_some_and(|name| !TEST.contains(name.as_str()))
    {
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a jail is made by root");
        return ExitCode::SUCCESS;
    }
    outside();
    println!("test {TEST} ... ok");
    ExitCode::SUCCESS
}

/// What a try says: an error's number, or that it worked.
type Said = Result<(), i32>;

/// What is tried, and what comes of it.
const EXPECTED: &[(&str, Said)] = &[
    // Files: there are none, and what there is Landlock denies.
    ("open /", Err(libc::EACCES)),
    ("open /etc/passwd", Err(libc::ENOENT)),
    ("open /proc/self/status", Err(libc::ENOENT)),
    ("open /dev/null", Err(libc::ENOENT)),
    ("open /sys/fs/cgroup/cgroup.procs", Err(libc::ENOENT)),
    ("stat /etc", Err(libc::ENOENT)),
    ("stat /proc", Err(libc::ENOENT)),
    ("stat ..", Ok(())),
    ("make a file", Err(libc::EROFS)),
    ("make a directory", Err(libc::EPERM)),
    ("make a device", Err(libc::EPERM)),
    ("remove a file", Err(libc::EPERM)),
    // Descriptors that were open before.
    ("read a file that was not kept", Err(libc::EBADF)),
    (
        "write to a control group that was not kept",
        Err(libc::EBADF),
    ),
    // Others.
    ("socket of any family", Err(libc::EPERM)),
    ("connect", Err(libc::EPERM)),
    ("bind", Err(libc::EPERM)),
    ("kill the parent", Err(libc::ESRCH)),
    ("kill everybody", Err(libc::ESRCH)),
    ("ptrace the parent", Err(libc::EPERM)),
    ("ptrace itself", Err(libc::EPERM)),
    ("process_vm_readv", Err(libc::EPERM)),
    ("pidfd_getfd", Err(libc::EPERM)),
    ("keyctl", Err(libc::EPERM)),
    ("request_key", Err(libc::EPERM)),
    ("shmget", Err(libc::EPERM)),
    // Mounts, namespaces, programs.
    ("mount", Err(libc::EPERM)),
    ("fsopen", Err(libc::EPERM)),
    ("open_tree", Err(libc::EPERM)),
    ("pivot_root", Err(libc::EPERM)),
    ("chroot", Err(libc::EPERM)),
    ("unshare", Err(libc::EPERM)),
    ("setns", Err(libc::EPERM)),
    ("clone into a user namespace", Err(libc::EPERM)),
    ("clone3", Err(libc::ENOSYS)),
    ("execve", Err(libc::EPERM)),
    // Rights.
    ("become root", Err(libc::EPERM)),
    ("join root's group", Err(libc::EPERM)),
    ("have a capability", Err(libc::EPERM)),
    ("have more descriptors", Err(libc::EPERM)),
    ("set the host's name", Err(libc::EPERM)),
    ("set the clock", Err(libc::EPERM)),
    ("bpf", Err(libc::EPERM)),
    ("perf_event_open", Err(libc::EPERM)),
    ("io_uring_setup", Err(libc::EPERM)),
    ("userfaultfd", Err(libc::EPERM)),
    ("load a module", Err(libc::EPERM)),
    // Its work.
    ("write to a file that was kept", Ok(())),
    ("a memfd, mapped", Ok(())),
    ("an eventfd in an epoll set", Ok(())),
    ("a thread", Ok(())),
    ("randomness", Ok(())),
];

fn outside() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let name = std::ffi::CString::new(NAME).expect("a name");
    let stderr = std::io::stderr();
    let child = spawn::own_program(&name, theirs.as_fd(), Some(stderr.as_fd()), Vec::new())
        .expect("started");
    drop(theirs);
    (&ours)
        .write_all(
            &rustix::process::getpid()
                .as_raw_nonzero()
                .get()
                .to_le_bytes(),
        )
        .expect("said");
    let mut said = BTreeMap::new();
    for line in BufReader::new(&ours).lines() {
        let line = line.expect("a line");
        if line == "." {
            break;
        }
        let (what, errno) = line.split_once('=').expect("what=errno");
        let errno: i32 = errno.parse().expect("a number");
        said.insert(
            what.to_owned(),
            if errno == 0 { Ok(()) } else { Err(errno) },
        );
    }
    let pid = child.pid.as_raw_nonzero().get();
    let seen = std::panic::catch_unwind(|| look_at(pid));
    drop(ours);
    let (_, status) =
        rustix::process::waitpid(Some(child.pid), rustix::process::WaitOptions::empty())
            .expect("waited")
            .expect("ended");
    seen.expect("seen from outside");
    assert_eq!(status.exit_status(), Some(0), "{said:?}");
    let mut wrong = Vec::new();
    for (what, expected) in EXPECTED {
        match said.remove(*what) {
            Some(found) if found == *expected => {}
            Some(found) => wrong.push(format!("{what}: {found:?} instead of {expected:?}")),
            None => wrong.push(format!("{what} was not tried")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    match said.remove("ask /dev/kvm for its version") {
        Some(found) => assert_eq!(found, Ok(()), "an ioctl of a device that was kept"),
        None => eprintln!("skipped: there is no /dev/kvm to be kept"),
    }
    assert!(said.is_empty(), "not expected: {said:?}");
}

/// The jailed process, as the host sees it.
fn look_at(pid: i32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let field = |name: &str| -> Vec<String> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let nobody = NOBODY.to_string();
    assert!(
        field("Uid")
            .iter()
            .chain(&field("Gid"))
            .all(|id| *id == nobody),
        "{status}"
    );
    assert!(field("Groups").is_empty(), "{status}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&field(set)[0], 16), Ok(0), "{set}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    assert_eq!(field("Seccomp"), ["2"]);
    assert_eq!(
        field("NSpid").last().map(String::as_str),
        Some("1"),
        "a pid namespace of its own"
    );
    for namespace in ["mnt", "net", "ipc", "uts", "cgroup", "pid"] {
        let of =
            |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).expect("namespace");
        assert_ne!(of(&pid.to_string()), of("self"), "{namespace}");
    }
    let root: Vec<_> = fs::read_dir(format!("/proc/{pid}/root"))
        .expect("root")
        .collect();
    assert!(root.is_empty(), "{root:?}");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" / / ro,nosuid,nodev,noexec"), "{mounts}");
}

/// Goes into the jail and tries.
fn inside() -> ExitCode {
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).expect("a socket");
    let mut parent = [0; 4];
    rustix::io::read(&report, &mut parent).expect("the parent's number");
    let parent = i32::from_le_bytes(parent);
    let (read_end, group) = rustix::pipe::pipe().expect("a pipe");
    let mut kept_file: File = tempfile::tempfile().expect("a file");
    let lost = File::open("/etc/passwd").expect("a file");
    let lost_group = File::open("/sys/fs/cgroup").expect("a directory");
    let (lost, lost_group) = (lost.into_raw(), lost_group.into_raw());
    let kvm = File::options().read(true).write(true).open("/dev/kvm").ok();
    let mut kept = vec![report.as_fd(), kept_file.as_fd(), read_end.as_fd()];
    kept.extend(kvm.as_ref().map(AsFd::as_fd));
    let groups = [group];
    let jail = Jail {
        root: Root::Empty,
        network: Network::None,
        groups: &groups,
        uid: NOBODY,
        gid: NOBODY,
        capabilities: CapSet::of(&[]),
        descriptors_max: 64,
        kept: Kept::These(&kept),
    };
    if let Err(error) = jail.enter() {
        eprintln!("{error:?}");
        return ExitCode::FAILURE;
    }
    // Closed with all the others.
    let [_] = groups.map(IntoRaw::into_raw);
    let mut entered = [0; 8];
    assert_eq!(
        rustix::io::read(&read_end, &mut entered),
        Ok(1),
        "the group was entered, once"
    );
    assert_eq!(entered[0], b'0');
    let mut said = Vec::new();
    let mut say = |what: &str, found: Said| {
        said.extend_from_slice(format!("{what}={}\n", found.err().unwrap_or(0)).as_bytes());
    };
    files(&mut say);
    say(
        "read a file that was not kept",
        call(libc::SYS_lseek, [lost, 0, 0, 0]),
    );
    say(
        "write to a control group that was not kept",
        call(libc::SYS_fsync, [lost_group, 0, 0, 0]),
    );
    others(&mut say, i64::from(parent), i64::from(report.as_raw_fd()));
    rights(&mut say);
    work(&mut say, &mut kept_file);
    if let Some(kvm) = kvm {
        const KVM_GET_API_VERSION: i64 = 0xae00;
        let answer = call(
            libc::SYS_ioctl,
            [kvm.as_raw_fd().into(), KVM_GET_API_VERSION, 0, 0],
        );
        say("ask /dev/kvm for its version", answer);
    }
    said.extend_from_slice(b".\n");
    let mut left = &said[..];
    while !left.is_empty() {
        let written = rustix::io::write(&report, left).expect("said");
        left = &left[written..];
    }
    // Stays until it has been looked at.
    let _ = rustix::io::read(&report, &mut [0]);
    ExitCode::SUCCESS
}

/// A descriptor's number, its owner forgotten.
trait IntoRaw {
    fn into_raw(self) -> i64;
}

impl<T: Into<OwnedFd>> IntoRaw for T {
    fn into_raw(self) -> i64 {
        use std::os::fd::IntoRawFd;
        self.into().into_raw_fd().into()
    }
}

/// A system call by number.
fn call(number: i64, [a, b, c, d]: [i64; 4]) -> Said {
    // SAFETY: addresses among the arguments are null or of static C strings; the calls are to be refused
    // before they do anything, and what a wrongly allowed one does happens to this process, which is
    // about to end.
    let returned = unsafe { libc::syscall(number, a, b, c, d, 0, 0) };
    if returned < 0 {
        Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO))
    } else {
        Ok(())
    }
}

fn path(name: &'static std::ffi::CStr) -> i64 {
    name.as_ptr() as i64
}

fn said<T>(result: rustix::io::Result<T>) -> Said {
    result.map(drop).map_err(Errno::raw_os_error)
}

fn files(say: &mut impl FnMut(&str, Said)) {
    for name in [
        "/",
        "/etc/passwd",
        "/proc/self/status",
        "/dev/null",
        "/sys/fs/cgroup/cgroup.procs",
    ] {
        let flags = rustix::fs::OFlags::RDONLY;
        let opened = rustix::fs::open(name, flags, rustix::fs::Mode::empty());
        say(&format!("open {name}"), said(opened));
    }
    for name in ["/etc", "/proc", ".."] {
        say(&format!("stat {name}"), said(rustix::fs::stat(name)));
    }
    let cwd = i64::from(libc::AT_FDCWD);
    let flags = i64::from(libc::O_CREAT | libc::O_WRONLY);
    say(
        "make a file",
        call(libc::SYS_openat, [cwd, path(c"/file"), flags, 0o600]),
    );
    say(
        "make a directory",
        call(libc::SYS_mkdirat, [cwd, path(c"/directory"), 0o700, 0]),
    );
    let character = i64::from(libc::S_IFCHR);
    say(
        "make a device",
        call(libc::SYS_mknodat, [cwd, path(c"/device"), character, 0x103]),
    );
    say(
        "remove a file",
        call(libc::SYS_unlinkat, [cwd, path(c"/file"), 0, 0]),
    );
}

fn others(say: &mut impl FnMut(&str, Said), parent: i64, socket: i64) {
    const FAMILIES: std::ops::Range<i64> = 0..48;
    let made = FAMILIES.map(|family| {
        [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW]
            .map(|kind| call(libc::SYS_socket, [family, kind.into(), 0, 0]))
    });
    let other = made.flatten().find(|made| *made != Err(libc::EPERM));
    say("socket of any family", other.unwrap_or(Err(libc::EPERM)));
    say("connect", call(libc::SYS_connect, [socket, 0, 0, 0]));
    say("bind", call(libc::SYS_bind, [socket, 0, 0, 0]));
    say("kill the parent", call(libc::SYS_kill, [parent, 9, 0, 0]));
    say("kill everybody", call(libc::SYS_kill, [-1, 9, 0, 0]));
    let (attach, traceme) = (libc::PTRACE_ATTACH.into(), libc::PTRACE_TRACEME.into());
    say(
        "ptrace the parent",
        call(libc::SYS_ptrace, [attach, parent, 0, 0]),
    );
    say("ptrace itself", call(libc::SYS_ptrace, [traceme, 0, 0, 0]));
    let none = [0; 4];
    for (what, number, arguments) in [
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [parent, 0, 0, 0],
        ),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, none),
        ("keyctl", libc::SYS_keyctl, none),
        (
            "request_key",
            libc::SYS_request_key,
            [path(c"user"), path(c"gamut"), 0, 0],
        ),
        ("shmget", libc::SYS_shmget, [0, 4096, 0o1600, 0]),
        (
            "mount",
            libc::SYS_mount,
            [path(c"none"), path(c"/"), path(c"tmpfs"), 0],
        ),
        ("fsopen", libc::SYS_fsopen, [path(c"tmpfs"), 0, 0, 0]),
        (
            "open_tree",
            libc::SYS_open_tree,
            [libc::AT_FDCWD.into(), path(c"/"), 1, 0],
        ),
        (
            "pivot_root",
            libc::SYS_pivot_root,
            [path(c"."), path(c"."), 0, 0],
        ),
        ("chroot", libc::SYS_chroot, [path(c"."), 0, 0, 0]),
        (
            "unshare",
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER.into(), 0, 0, 0],
        ),
        ("setns", libc::SYS_setns, [socket, 0, 0, 0]),
        (
            "clone into a user namespace",
            libc::SYS_clone,
            [libc::CLONE_NEWUSER.into(), 0, 0, 0],
        ),
        ("clone3", libc::SYS_clone3, none),
        (
            "execve",
            libc::SYS_execve,
            [path(c"/proc/self/exe"), 0, 0, 0],
        ),
    ] {
        say(what, call(number, arguments));
    }
}

fn rights(say: &mut impl FnMut(&str, Said)) {
    for (what, number, arguments) in [
        ("become root", libc::SYS_setuid, [0; 4]),
        ("join root's group", libc::SYS_setgroups, [0; 4]),
        (
            "set the host's name",
            libc::SYS_sethostname,
            [path(c"jail"), 4, 0, 0],
        ),
        ("set the clock", libc::SYS_clock_settime, [0; 4]),
        ("bpf", libc::SYS_bpf, [0; 4]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 4]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0; 4]),
        ("load a module", libc::SYS_finit_module, [0; 4]),
    ] {
        say(what, call(number, arguments));
    }
    let one = rustix::thread::CapabilitySet::CHOWN;
    let sets = rustix::thread::CapabilitySets {
        effective: one,
        permitted: one,
        inheritable: one,
    };
    say(
        "have a capability",
        said(rustix::thread::set_capabilities(None, sets)),
    );
    let more = rustix::process::Rlimit {
        current: Some(65),
        maximum: Some(65),
    };
    let resource = rustix::process::Resource::Nofile;
    say(
        "have more descriptors",
        said(rustix::process::setrlimit(resource, more)),
    );
}

fn work(say: &mut impl FnMut(&str, Said), kept: &mut File) {
    let of = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    say(
        "write to a file that was kept",
        kept.write_all(b"kept").map_err(of),
    );
    let memory = rustix::fs::memfd_create(c"memory", rustix::fs::MemfdFlags::CLOEXEC)
        .and_then(|memory| rustix::fs::ftruncate(&memory, 4096).map(|()| memory));
    let mapped = memory.map_err(Errno::raw_os_error).and_then(|memory| {
        let flags = i64::from(libc::PROT_READ | libc::PROT_WRITE);
        let shared = i64::from(libc::MAP_SHARED);
        // SAFETY: a new mapping at no address in particular, which nothing is read from or written to.
        let at = unsafe {
            libc::syscall(
                libc::SYS_mmap,
                0,
                4096,
                flags,
                shared,
                memory.as_raw_fd(),
                0,
            )
        };
        if at > 0 { Ok(()) } else { Err(libc::EIO) }
    });
    say("a memfd, mapped", mapped);
    let set = (|| {
        use rustix::event::{EventfdFlags, epoll};
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &set,
            &event,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )
    })();
    say("an eventfd in an epoll set", said(set));
    let thread = std::thread::Builder::new().spawn(|| ());
    say(
        "a thread",
        thread.map_err(of).map(|thread| drop(thread.join())),
    );
    let flags = rustix::rand::GetRandomFlags::empty();
    say(
        "randomness",
        said(rustix::rand::getrandom(&mut [0; 16], flags)),
    );
}
