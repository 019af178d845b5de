//! A distribution's kernel has its drivers in modules. The initramfs brings those that are needed, and the
//! order in which they are loaded; what modprobe(8) does besides is done here.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::AgentError;

/// The modules' names in the order in which they are loaded, a line each: `07-virtio_blk.ko`.
const ORDER: &str = "/modules/order";
const PROC: &str = "/proc";

/// Loads what the initramfs has.
pub(crate) fn load() -> Result<(), AgentError> {
    let order = match fs::read_to_string(ORDER) {
        Ok(order) => order,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", ORDER)(errno_of(&error))),
    };
    let command_line = command_line()?;
    for name in order.lines().filter(|line| !line.is_empty()) {
        let path = Path::new(ORDER).with_file_name(name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &path, flags, Mode::empty());
        let parameters = parameters(&command_line, name);
        let loaded = file.and_then(|file| rustix::system::finit_module(file, &parameters, 0));
        match loaded {
            // It is built in, or was loaded as another's need; or it is for a processor that this is not,
            // such as crc32c_intel, and the kernel does without.
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
            Err(errno) => return Err(failed("load the module", name)(errno)),
        }
    }
    Ok(())
}

/// The kernel's command line, before anything is mounted for good.
fn command_line() -> Result<String, AgentError> {
    mount("proc", PROC, "proc", MountFlags::empty(), c"").map_err(failed("mount", PROC))?;
    let read = fs::read_to_string("/proc/cmdline");
    let read = read.map_err(|error| failed("read", "/proc/cmdline")(errno_of(&error)));
    unmount(PROC, UnmountFlags::empty()).map_err(failed("unmount", PROC))?;
    read
}

/// A module's parameters stand on the command line as `module.name=value`. The kernel gives them to what is
/// built in; for a module whoever loads it has to. So virtio_mmio learns of the machine's devices.
fn parameters(command_line: &str, file: &str) -> CString {
    let name = file.trim_end_matches(".ko");
    let name = name.split_once('-').map_or(name, |(_, name)| name);
    let words = command_line.split_whitespace().filter_map(|word| {
        let (module, parameter) = word.split_once('.')?;
        (module.replace('-', "_") == name.replace('-', "_")).then_some(parameter)
    });
    // Cannot fail: the kernel's command line has no NUL.
    CString::new(words.collect::<Vec<_>>().join(" ")).unwrap_or_default()
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn failed(act: &'static str, object: &str) -> impl Fn(Errno) -> AgentError {
    move |errno| AgentError::Boot {
        act,
        object: object.to_owned(),
        errno,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_gets_its_parameters() {
        let line = "console=ttyS0 virtio_mmio.device=4K@0xd0000000:5 quiet virtio-mmio.device=4K@0xd0001000:6 x.y=1";
        assert_eq!(
            parameters(line, "02-virtio_mmio.ko").as_c_str(),
            c"device=4K@0xd0000000:5 device=4K@0xd0001000:6"
        );
        assert_eq!(parameters(line, "03-virtio_blk.ko").as_c_str(), c"");
    }
}
