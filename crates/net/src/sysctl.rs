//! The few settings of the host that a bridge network needs (`Documentation/networking/ip-sysctl`).
//!
//! Each is read first and written only if it differs; what was written is reported, because some
//! of it concerns the whole host.

use std::fs;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::NetworkError;
use crate::link;

/// One setting of the host that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Under `/proc/sys/`.
    pub path: String,
    pub from: String,
    pub to: String,
}

/// Whether the network speaks IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    V4,
    V4AndV6,
}

/// Makes the calling thread's network namespace forward between `bridge` and the rest, and lets
/// connections from 127.0.0.1 be led onto the bridge.
///
/// - `net/ipv4/ip_forward` = 1 and `net/ipv6/conf/all/forwarding` = 1, for the whole host. Where
///   the host takes its IPv6 route from router advertisements, `accept_ra` becomes 2 first: with 1
///   they are ignored as soon as forwarding is on.
/// - On the bridge only, which must not be up yet: `route_localnet` = 1 (the table's `guard` chain
///   keeps 127.0.0.0/8 closed to containers), `accept_ra` = 0 (containers are no routers),
///   `disable_ipv6` = 0, `addr_gen_mode` = 1 (no link-local address but the one it is given:
///   the kernel's own would not be usable for a second or two after the first container's arrival).
pub(crate) fn prepare(bridge: &str, families: Families) -> Result<Vec<Change>, NetworkError> {
    let mut changes = Vec::new();
    let ipv4 = format!("net/ipv4/conf/{bridge}/route_localnet");
    set(&mut changes, &ipv4, "1")?;
    set(&mut changes, "net/ipv4/ip_forward", "1")?;
    if families == Families::V4AndV6 {
        let conf = format!("net/ipv6/conf/{bridge}");
        for (name, value) in [
            ("disable_ipv6", "0"),
            ("accept_ra", "0"),
            ("addr_gen_mode", "1"),
        ] {
            set(&mut changes, &format!("{conf}/{name}"), value)?;
        }
        if read("net/ipv6/conf/all/forwarding").as_deref() != Ok("1") {
            for interface in listening_to_routers()? {
                let path = format!("net/ipv6/conf/{interface}/accept_ra");
                if read(&path).as_deref() == Ok("1") {
                    set(&mut changes, &path, "2")?;
                }
            }
            set(&mut changes, "net/ipv6/conf/all/forwarding", "1")?;
        }
    }
    Ok(changes)
}

/// Whether the kernel speaks IPv6 at all in this namespace.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf/all").exists()
}

/// Lets `interface` of the calling thread's namespace have IPv6 addresses.
pub(crate) fn enable_ipv6(interface: &str) -> Result<(), NetworkError> {
    let path = format!("net/ipv6/conf/{interface}/disable_ipv6");
    set(&mut Vec::new(), &path, "0")
}

/// Interfaces whose router advertisements matter: those with a route learnt from one, and real
/// hardware, which may learn one yet. Bridges and virtual links stay as they are: behind them may
/// be somebody's container, which must not become the host's router.
fn listening_to_routers() -> Result<Vec<String>, NetworkError> {
    let mut names = link::interfaces_with_advertised_routes()?;
    for entry in fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if entry.path().join("device").exists() && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn set(changes: &mut Vec<Change>, path: &str, value: &str) -> Result<(), NetworkError> {
    let fail = |source| NetworkError::Sysctl {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    };
    let from = read(path).map_err(fail)?;
    if from == value {
        return Ok(());
    }
    write(path, value).map_err(fail)?;
    changes.push(Change {
        path: path.to_owned(),
        from,
        to: value.to_owned(),
    });
    Ok(())
}

fn read(path: &str) -> Result<String, Errno> {
    let file = open(path, OFlags::RDONLY)?;
    let mut buffer = [0; 64];
    let length = rustix::io::read(&file, &mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    Ok(text.trim().to_owned())
}

fn write(path: &str, value: &str) -> Result<(), Errno> {
    let file = open(path, OFlags::WRONLY)?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

fn open(path: &str, flags: OFlags) -> Result<std::os::fd::OwnedFd, Errno> {
    rustix::fs::open(
        format!("/proc/sys/{path}"),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
