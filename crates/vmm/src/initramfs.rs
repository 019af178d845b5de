//! The guest's first file system: the agent as `/init`, the directories that it mounts on, and the modules
//! that a distribution's kernel needs first. A pure function: the same parts give the same bytes.
//!
//! The archive is cpio's "new ASCII" form (cpio(5) `newc`; Documentation/driver-api/early-userspace/
//! buffer-format.rst), without compression: unpacking costs the guest more than reading costs the host.

use crate::program::{self, ProgramError};

/// Where the modules' files are, and the list of their names in the order in which they are loaded, one a
/// line.
pub const MODULES: &str = "modules";
pub const MODULE_ORDER: &str = "modules/order";

/// What the agent mounts on, or has to find.
const DIRECTORIES: [&str; 5] = ["dev", "proc", "sys", "run", "gamut"];

/// File types and permissions of st_mode (inode(7)).
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// The name of the last entry.
const TRAILER: &str = "TRAILER!!!";

/// Numbers of /dev/console and /dev/null (Documentation/admin-guide/devices.txt). The kernel opens the
/// first for `/init` before anything is mounted.
const CONSOLE: (u32, u32) = (5, 1);
const NULL: (u32, u32) = (1, 3);

/// A kernel module, decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Such as `virtio_blk`.
    pub name: String,
    pub content: Vec<u8>,
}

/// What cannot be put into an initramfs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitramfsError {
    #[error("the agent is {0}")]
    Init(#[source] ProgramError),
    #[error("`{0}` is not the name of a kernel module")]
    ModuleName(String),
    #[error("{0} is larger than an initramfs can hold")]
    TooLarge(String),
}

/// The archive with `init`, a static program, and `modules` in the order in which they are to be loaded.
///
/// # Errors
/// [`InitramfsError`].
pub fn build(init: &[u8], modules: &[Module]) -> Result<Vec<u8>, InitramfsError> {
    let init = program::cut(init).map_err(InitramfsError::Init)?;
    let bytes: usize = modules.iter().map(|module| module.content.len()).sum();
    let mut archive = Archive::with_room_for(init.len() + bytes);
    for name in DIRECTORIES {
        archive.add(name, DIRECTORY, (0, 0), &[])?;
    }
    archive.add("dev/console", CHARACTER_DEVICE, CONSOLE, &[])?;
    archive.add("dev/null", CHARACTER_DEVICE | 0o066, NULL, &[])?;
    archive.add("init", PROGRAM, (0, 0), &init)?;
    if !modules.is_empty() {
        archive.add(MODULES, DIRECTORY, (0, 0), &[])?;
        let mut order = String::new();
        for (index, module) in modules.iter().enumerate() {
            let name = file_name(index, &module.name)?;
            archive.add(&format!("{MODULES}/{name}"), FILE, (0, 0), &module.content)?;
            order.push_str(&name);
            order.push('\n');
        }
        archive.add(MODULE_ORDER, FILE, (0, 0), order.as_bytes())?;
    }
    archive.finish()
}

/// Such as `07-virtio_blk.ko`.
fn file_name(index: usize, module: &str) -> Result<String, InitramfsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !module.is_empty() && module.bytes().all(is_plain) {
        true => Ok(format!("{index:02}-{module}.ko")),
        false => Err(InitramfsError::ModuleName(module.to_owned())),
    }
}

/// An archive that grows.
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn with_room_for(content_bytes: usize) -> Self {
        // Beside the content: some 30 headers of 110 bytes with their names.
        Self {
            bytes: Vec::with_capacity(content_bytes + 8192),
            entries: 0,
        }
    }

    /// One entry. Times, owners and the archive's device are zero; inode numbers count.
    fn add(
        &mut self,
        name: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> Result<(), InitramfsError> {
        let too_large = |_| InitramfsError::TooLarge(name.to_owned());
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        self.entries += 1;
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        let (major, minor) = device;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            major,
            minor,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    /// Names and contents end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Result<Vec<u8>, InitramfsError> {
        self.add(TRAILER, 0, (0, 0), &[])?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn program() -> Vec<u8> {
        std::fs::read("/proc/self/exe").expect("read")
    }

    fn modules() -> Vec<Module> {
        let module = |name: &str, content: &[u8]| Module {
            name: name.to_owned(),
            content: content.to_vec(),
        };
        vec![module("virtio", b"12345"), module("virtio_ring", b"")]
    }

    #[test]
    fn the_same_parts_give_the_same_bytes() {
        let once = build(&program(), &modules()).expect("built");
        assert_eq!(once, build(&program(), &modules()).expect("built"));
        assert_eq!(once.len() % 4, 0);
    }

    #[test]
    fn cpio_reads_it() {
        let archive = build(&program(), &modules()).expect("built");
        let Ok(mut cpio) = Command::new("cpio")
            .args(["--quiet", "-tvn", "-H", "newc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        else {
            println!("skipped: there is no cpio here");
            return;
        };
        let mut input = cpio.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || input.write_all(&archive));
        let output = cpio.wait_with_output().expect("ends");
        writer.join().expect("ends").expect("all read");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        let listed = String::from_utf8_lossy(&output.stdout);
        let names: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        assert_eq!(
            names,
            [
                "dev",
                "proc",
                "sys",
                "run",
                "gamut",
                "dev/console",
                "dev/null",
                "init",
                "modules",
                "modules/00-virtio.ko",
                "modules/01-virtio_ring.ko",
                "modules/order",
            ]
        );
        let line = |name: &str| {
            let wanted = |line: &&str| line.ends_with(&format!(" {name}"));
            listed.lines().find(wanted).expect("listed").to_owned()
        };
        assert!(line("dev/console").starts_with("crw-------"), "{listed}");
        assert!(line("dev/console").contains("5,   1"), "{listed}");
        assert!(line("dev/null").starts_with("crw-rw-rw-"), "{listed}");
        assert!(line("init").starts_with("-rwxr-xr-x"), "{listed}");
        assert!(line("proc").starts_with("drwxr-xr-x"), "{listed}");
    }

    #[test]
    fn a_module_is_not_named_out_of_its_directory() {
        for name in ["", "..", "a/b", "a.ko"] {
            let module = Module {
                name: name.to_owned(),
                content: Vec::new(),
            };
            let error = build(&program(), &[module]).expect_err("refused");
            assert_eq!(error, InitramfsError::ModuleName(name.to_owned()));
        }
    }

    #[test]
    fn an_agent_is_a_program() {
        let error = build(b"#!/bin/sh", &[]).expect_err("refused");
        assert_eq!(error, InitramfsError::Init(ProgramError::NotElf));
    }
}
