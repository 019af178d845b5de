//! The first process of a machine under test: it does what it is told over vsock, a line at a time, and
//! answers each with one line. What a real guest's drivers make of the machine's devices is seen here.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use gamut_net::link::{Inside, Interior};
use gamut_net::subnet::Subnet4;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;

/// The host, and the port on which it waits.
const HOST: u32 = 2;
const CONTROL: u32 = 1;
const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const PORT: u16 = 7777;
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

type Answer = Result<String, Box<dyn std::error::Error>>;

fn main() {
    if !rustix::process::getpid().is_init() {
        eprintln!("this is the first process of a machine, and runs nowhere else");
        std::process::exit(2);
    }
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        if let Err(error) = mount(kind, target, kind, MountFlags::empty(), c"") {
            println!("guest: {target}: {error}");
        }
    }
    println!("guest: up");
    if fs::exists("/sys/bus/acpi/devices/LNRO0005:00").unwrap_or_default() {
        let registers = fs::read_to_string("/proc/iomem").unwrap_or_default();
        let registers = registers.lines().filter(|line| line.contains("LNRO0005"));
        let registers: Vec<_> = registers.map(str::trim).collect();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "guest: by ACPI: {}; {processors} processors",
            registers.join(" ")
        );
    }
    match serve() {
        Ok(()) => println!("guest: done"),
        Err(error) => println!("guest: {error}"),
    }
    let _ = rustix::system::reboot(RebootCommand::Restart);
}

fn connect(port: u32) -> Result<UnixStream, rustix::io::Errno> {
    // Read and write are all that is asked of it, so any kind of stream will do.
    gamut_sys::guest::connect_vsock(HOST, port).map(UnixStream::from)
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut control = connect(CONTROL)?;
    let lines = BufReader::new(control.try_clone()?).lines();
    for line in lines {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let answer = match obey(&words) {
            Ok(answer) => answer,
            Err(error) => format!("{line}: {error}"),
        };
        writeln!(control, "{answer}")?;
    }
    Ok(())
}

fn obey(words: &[&str]) -> Answer {
    match *words {
        ["processors"] => Ok(std::thread::available_parallelism()?.to_string()),
        ["read", device, bytes] => read(device, bytes.parse()?),
        ["sum", device] => sum(device),
        ["write", device, text] => write(device, text),
        ["dax", kind, device] => dax(kind, device),
        ["hear", port] => hear(port.parse()?),
        ["say", port, bytes] => say(port.parse()?, bytes.parse()?),
        ["network"] => network(),
        ["link-local"] => link_local(),
        ["http", method, path, ref fields @ ..] => http(method, path, fields),
        ["share", tag] => share(tag),
        ["use", mib] => use_memory(mib.parse()?),
        ["file", path] => Ok(fs::read_to_string(path)?.trim_end().replace('\n', " ")),
        _ => Err("what?".into()),
    }
}

fn read(device: &str, bytes: usize) -> Answer {
    let mut text = vec![0; bytes];
    fs::File::open(device)?.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Of all its bytes, and how many there are.
fn sum(device: &str) -> Answer {
    let mut bytes = Vec::new();
    fs::File::open(device)?.read_to_end(&mut bytes)?;
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    Ok(format!("{sum} {}", bytes.len()))
}

fn write(device: &str, text: &str) -> Answer {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(device)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    file.rewind()?;
    read(device, text.len())
}

/// Mounts a file system so that its files are used where they are; how it was, and what its file `word` says.
fn dax(kind: &str, device: &str) -> Answer {
    fs::create_dir("/dax")?;
    mount(device, "/dax", kind, MountFlags::empty(), c"dax=always")?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mounted = mounts.lines().find(|line| line.starts_with(device));
    let file = statx(CWD, "/dax/word", AtFlags::empty(), StatxFlags::empty())?;
    let is_dax = file.stx_attributes.contains(StatxAttributes::DAX);
    let word = if is_dax { "DAX" } else { "cached" };
    Ok(format!("{}; word: {word}", mounted.unwrap_or_default()))
}

fn hear(port: u32) -> Answer {
    let mut text = Vec::new();
    connect(port)?.read_to_end(&mut text)?;
    let sum: u64 = text.iter().map(|byte| u64::from(*byte)).sum();
    Ok(format!("{sum} {}", text.len()))
}

fn say(port: u32, bytes: usize) -> Answer {
    connect(port)?.write_all(&vec![b'x'; bytes])?;
    Ok("said".to_owned())
}

/// An address beside the metadata service's.
fn link_local() -> Answer {
    let namespace = OwnedFd::from(fs::File::open("/proc/self/ns/net")?);
    let interior = Interior {
        interface: "eth0",
        ipv4: Ipv4Addr::new(169, 254, 1, 2),
        subnet4: Subnet4::new(Ipv4Addr::new(169, 254, 0, 0), 16)?,
        ipv6: None,
        gateway4: None,
        gateway6: None,
    };
    Inside::open(namespace.as_fd())?.configure(namespace.as_fd(), &interior)?;
    Ok("configured".to_owned())
}

/// What the metadata service answers: its number, and its text.
fn http(method: &str, path: &str, fields: &[&str]) -> Answer {
    let mut stream = TcpStream::connect((METADATA, 80))?;
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    write!(stream, "{method} {path} HTTP/1.1\r\n{fields}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?;
    Ok(format!("{status} {body}"))
}

/// There and back: a datagram, and what the host makes of it.
fn network() -> Answer {
    let namespace = OwnedFd::from(fs::File::open("/proc/self/ns/net")?);
    let interior = Interior {
        interface: "eth0",
        ipv4: OWN,
        subnet4: Subnet4::new(Ipv4Addr::new(10, 99, 0, 0), 24)?,
        ipv6: None,
        gateway4: None,
        gateway6: None,
    };
    Inside::open(namespace.as_fd())?.configure(namespace.as_fd(), &interior)?;
    let socket = UdpSocket::bind((OWN, 0))?;
    socket.send_to(&[b'n'; 1400], (Ipv4Addr::new(10, 99, 0, 1), PORT))?;
    let mut text = [0; 2000];
    let (length, _) = socket.recv_from(&mut text)?;
    Ok(format!("{length}"))
}

/// What is in one file of a shared directory, when another has been written.
fn share(tag: &str) -> Answer {
    fs::create_dir("/share")?;
    mount(tag, "/share", "virtiofs", MountFlags::empty(), c"")?;
    fs::write("/share/of-guest", "from the guest")?;
    Ok(fs::read_to_string("/share/of-host")?)
}

/// A byte of each page.
fn use_memory(mib: usize) -> Answer {
    let mut memory = vec![0_u8; mib << 20];
    for byte in memory.iter_mut().step_by(4096) {
        *byte = 1;
    }
    Ok(memory.len().to_string())
}
