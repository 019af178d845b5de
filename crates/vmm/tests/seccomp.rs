//! What the filters allow and what they end, in processes of their own.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use gamut_vmm::seccomp::Filter;

/// What is tried under a filter; in a copy of this program, which `which` tells.
const TRIED: &str = "GAMUT_TEST_TRIED";

#[test]
fn tried() {
    let Ok(which) = std::env::var(TRIED) else {
        return;
    };
    let (filter, what) = which.split_once(' ').expect("a filter and a try");
    let filter = match filter {
        "vcpu" => Filter::vcpu(),
        _ => Filter::event_loop(),
    };
    filter.expect("made").apply().expect("put on");
    match what {
        "open" => drop(std::fs::File::open("/proc/self/status")),
        "program" => drop(Command::new("/bin/true").status()),
        "thread" => drop(std::thread::spawn(|| ()).join()),
        "internet" => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
        "terminal" => drop(rustix::termios::tcgetattr(std::io::stdin())),
        "signal" => drop(rustix::process::test_kill_process(rustix::process::getpid())),
        "memory" => drop(vec![1_u8; 16 << 20]),
        "pipe" => {
            let mut bytes = [0; 8];
            let flags = rustix::rand::GetRandomFlags::empty();
            rustix::rand::getrandom(&mut bytes, flags).expect("random");
            drop(std::os::unix::net::UnixStream::connect("/nowhere"));
        }
        other => panic!("{other}"),
    }
    std::process::exit(0);
}

fn outcome(which: &str) -> Option<i32> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", "seccomp::tried", "--nocapture"])
        .env(TRIED, which)
        .output()
        .expect("run");
    output.status.signal()
}

#[test]
fn what_is_not_on_the_list_ends_the_process() {
    const SIGSYS: i32 = 31;
    for filter in ["vcpu", "loop"] {
        for what in [
            "open", "program", "thread", "internet", "terminal", "signal",
        ] {
            let which = format!("{filter} {what}");
            assert_eq!(outcome(&which), Some(SIGSYS), "{which}");
        }
        for what in ["memory", "pipe"] {
            let which = format!("{filter} {what}");
            assert_eq!(outcome(&which), None, "{which}");
        }
    }
}
