//! The double of a monitor: it has the guest's connections, which are Unix sockets that begin with a port's
//! number, and joins them with the descriptors that it is given.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, ExitCode};
use std::thread;

use gamut_vmm::wire::{self, MAX_PACKET_BYTES};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// The name of the socket in the network namespace that is the machine's alone.
pub(crate) const SOCKET: &str = "host";

/// `exports` are names and paths by turns.
pub(crate) fn run(exports: &[String]) -> ExitCode {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    let own = File::open("/proc/self/ns/pid").expect("a namespace");
    let spaces = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWPID;
    // It is unsafe because of FILES only, which is not among them.
    #[expect(deprecated)]
    rustix::thread::unshare(spaces).expect("namespaces");
    let address = SocketAddr::from_abstract_name(SOCKET).expect("an address");
    let listener = UnixListener::bind_addr(&address).expect("a listener");
    let mut machine = Command::new("/proc/self/exe")
        .arg(super::MACHINE)
        .args(exports)
        .stdin(std::process::Stdio::null())
        .spawn()
        .expect("a machine");
    // There are no threads for who makes children elsewhere.
    let kind = Some(LinkNameSpaceType::ProcessID);
    move_into_link_name_space(own.as_fd(), kind).expect("the way back");
    thread::spawn(move || {
        // The end of the machine is the monitor's.
        let _ = machine.wait();
        std::process::exit(0);
    });
    serve(&listener);
    ExitCode::SUCCESS
}

fn serve(listener: &UnixListener) {
    let mut ports = HashMap::new();
    let stdin = std::io::stdin();
    loop {
        let mut watched = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(listener, PollFlags::IN),
        ];
        poll(&mut watched, None).expect("poll");
        let is_called = !watched[1].revents().is_empty();
        // What was registered before the guest was told of it is here before its connection is.
        while has_packet(&stdin) {
            let mut packet = vec![0; MAX_PACKET_BYTES];
            let received = gamut_sys::socket::receive(stdin.as_fd(), &mut packet);
            let (length, descriptors) = received.expect("a packet");
            if length == 0 {
                return;
            }
            let command = serde_json::from_slice(&packet[..length]).expect("a command");
            let wire::Command::Stream { port } = command else {
                panic!("{command:?}")
            };
            ports.extend(descriptors.into_iter().map(|descriptor| (port, descriptor)));
        }
        if is_called {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut port = [0; 4];
            connection.read_exact(&mut port).expect("a port");
            if let Some(descriptor) = ports.remove(&u32::from_le_bytes(port)) {
                join(connection, descriptor);
            }
        }
    }
}

fn has_packet(stdin: &std::io::Stdin) -> bool {
    let now = rustix::event::Timespec::default();
    poll(&mut [PollFd::new(stdin, PollFlags::IN)], Some(&now)) == Ok(1)
}

/// As the device does, by the way of the descriptor.
fn join(guest: UnixStream, descriptor: OwnedFd) {
    let flags = rustix::fs::fcntl_getfl(&descriptor).expect("flags");
    let host = File::from(descriptor);
    if flags.contains(OFlags::RDWR) {
        let (back, away) = (guest.try_clone(), host.try_clone());
        let (mut from, mut to) = (back.expect("a copy"), away.expect("a copy"));
        thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = rustix::net::shutdown(&to, rustix::net::Shutdown::Write);
        });
        thread::spawn(move || to_guest(host, guest));
    } else if flags.contains(OFlags::WRONLY) {
        thread::spawn(move || drop(copy(&mut &guest, &mut &host)));
    } else {
        thread::spawn(move || to_guest(host, guest));
    }
}

/// Not [`std::io::copy`]: that splices, and who splices a socket into a pipe keeps the pipe's reader out while it waits
/// for the socket.
fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => to.write_all(&buffer[..length])?,
        }
    }
}

fn to_guest(mut host: File, mut guest: UnixStream) {
    let _ = copy(&mut host, &mut guest);
    let _ = guest.shutdown(Shutdown::Write);
}
