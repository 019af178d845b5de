//! The double of a machine: the first process of a pid namespace, which is an agent.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gamut_agent::{Agent, Machine};
use gamut_plan::cell::CellError;
use gamut_plan::guest::{GuestMount, GuestNetwork};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use super::monitor::SOCKET;

/// What it shares with its host.
struct Double {
    exports: Vec<(String, PathBuf)>,
}

pub(crate) fn run(exports: &[String]) -> ExitCode {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .expect("mounts of our own");
    mount("proc", "/proc", "proc", MountFlags::empty(), c"").expect("/proc");
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), c"").expect("/run");
    let pairs = exports.as_chunks::<2>().0.iter();
    let machine = Double {
        exports: pairs
            .map(|[name, path]| (name.clone(), path.into()))
            .collect(),
    };
    let lived = Agent::new(&machine).and_then(|mut agent| agent.run());
    if let Err(error) = lived {
        eprintln!("the machine: {error}");
    }
    ExitCode::SUCCESS
}

fn show(source: &Path, target: &Path) {
    if source.is_dir() {
        fs::create_dir_all(target).expect("a directory");
    } else {
        fs::create_dir_all(target.parent().expect("a directory")).expect("a directory");
        File::create(target).expect("a file");
    }
    mount_bind(source, target).expect("a bind");
}

impl Machine for Double {
    fn dial(&self, port: u32) -> Result<OwnedFd, Errno> {
        let address = SocketAddr::from_abstract_name(SOCKET).expect("an address");
        let dialed = UnixStream::connect_addr(&address).and_then(|mut socket| {
            socket.write_all(&port.to_le_bytes())?;
            Ok(socket.into())
        });
        dialed.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn mount(&self, mount: &GuestMount) -> Result<(), CellError> {
        let GuestMount::Share { target } = mount else {
            panic!("{mount:?}")
        };
        for (name, source) in &self.exports {
            show(source, &target.join(name));
        }
        Ok(())
    }

    fn set_clock(&self, time_ns: u64) -> Result<(), CellError> {
        assert!(time_ns > 1_700_000_000_000_000_000);
        Ok(())
    }

    fn add_entropy(&self, bytes: &[u8]) -> Result<(), CellError> {
        assert!(bytes.len() >= 32 && bytes.iter().any(|byte| *byte != 0));
        Ok(())
    }

    fn connect(&self, network: Option<&GuestNetwork>) -> Result<(), CellError> {
        assert_eq!(network, None);
        gamut_sys::interface::loopback_up().expect("lo");
        Ok(())
    }

    fn sync(&self) {}

    fn power_off(&self) {}
}
