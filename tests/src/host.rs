//! A host of its own for each test: a network namespace whose only links are what the test makes, and a
//! mount namespace that shares its mounts onward as systemd's does. The engine and everything it starts
//! are children of the test's thread and live in there; the machine's own network is never touched, and
//! what is left behind is counted exactly.
//!
//! The lab's registry lives outside; [`Host`] forwards its loopback address into the namespace.

use crate::listening::Listening;
use crate::registry::Registry;
use gamut_sys::process::{namespace, unshare};
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{OnceLock, mpsc};
use std::thread;

/// Whether other tests may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// The rule.
    Welcome,
    /// For a test that counts what is machine-wide (control groups, processes).
    Alone,
}

/// The namespaces of the running test. They end with the last process inside.
#[derive(Debug)]
pub struct Host {
    /// The lab's registry, reachable at the same address as outside.
    pub registry: Registry,
    _relay: Listening,
    /// Held while the test runs; see [`Company`].
    _turn: File,
}

impl Host {
    /// Moves the calling thread into namespaces of its own. To be called once, first thing in a test,
    /// as root.
    pub fn enter(company: Company) -> io::Result<Self> {
        let turn = take_turn(company)?;
        let registry = Registry::lab();
        let dialer = dial_from_outside(registry.address.clone())?;
        // Of this thread only: its network and mount namespace, and (implied by the latter) its working
        // directory and umask stop being shared with the other threads.
        unshare(namespace::NET | namespace::MOUNT)?;
        // Nothing may travel out to the machine; everything inside travels on, as on a systemd host.
        mount_change(
            "/",
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        )?;
        mount_change(
            "/",
            MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        )?;
        ip("link set lo up");
        let _relay = forward(&registry.address, dialer)?;
        Ok(Self {
            registry,
            _relay,
            _turn: turn,
        })
    }
}

/// Where the tests keep their roots: `GAMUT_TEST_DIR`, or /var/tmp, which is on a disk.
pub fn test_dir() -> PathBuf {
    std::env::var_os("GAMUT_TEST_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// Runs `ip WORDS` (iproute2) in the calling thread's namespace; panics if it fails.
pub fn ip(words: &str) -> String {
    program("ip", &words.split_whitespace().collect::<Vec<_>>())
}

/// Runs a program of the host and returns its standard output; panics if it fails.
pub fn program(name: &str, words: &[&str]) -> String {
    let output = Command::new(name)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    assert!(
        output.status.success(),
        "{name} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One lock file for all tests of this machine, in whatever process they run: shared by tests that bear
/// company, exclusive for one that must be alone.
fn take_turn(company: Company) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(test_dir().join("gamut-tests.lock"))?;
    flock(
        &file,
        match company {
            Company::Welcome => FlockOperation::LockShared,
            Company::Alone => FlockOperation::LockExclusive,
        },
    )?;
    Ok(file)
}

/// A thread in the machine's own network namespace. It joins each connection it is given with a new one to
/// `address`. The calling thread may be on a host of its own already, from an earlier call.
fn dial_from_outside(address: String) -> io::Result<mpsc::Sender<TcpStream>> {
    static OUTSIDE: OnceLock<File> = OnceLock::new();
    let here = File::open("/proc/thread-self/ns/net")?;
    let outside = OUTSIDE.get_or_init(|| here);
    let (sender, accepted) = mpsc::channel::<TcpStream>();
    thread::spawn(move || {
        move_into_link_name_space(outside.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("the tests' user may go back to it");
        for inside in accepted {
            if let Ok(outside) = TcpStream::connect(&address) {
                join(inside, outside);
            }
        }
    });
    Ok(sender)
}

fn forward(address: &str, dialer: mpsc::Sender<TcpStream>) -> io::Result<Listening> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, address.port()))?;
    Ok(Listening::start(listener, move |stream| {
        // It listens as long as it is dialled to.
        let _ = dialer.send(stream);
    }))
}

/// Copies both ways until both sides have ended.
fn join(one: TcpStream, other: TcpStream) {
    for (mut from, mut to) in [(one.try_clone(), other.try_clone()), (Ok(other), Ok(one))]
        .into_iter()
        .filter_map(|(from, to)| Some((from.ok()?, to.ok()?)))
    {
        thread::spawn(move || {
            // Either side may go away at any time: that ends the copy, and is no fault of ours.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
