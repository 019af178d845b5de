//! A disk of a test's own, in a file, below the root of its engine: another file system than the one that
//! tests usually lie on, and one that can be damaged.

use crate::gamut::Gamut;
use crate::host::program;
use crate::patience::until;
use std::path::PathBuf;
use std::process::Command;

/// Mounted at [`Gamut::root`] as long as it lives.
#[derive(Debug)]
pub struct Disk<'g> {
    gamut: &'g Gamut,
    file: PathBuf,
}

impl<'g> Disk<'g> {
    /// A disk of `mebibytes` with what `mkfs`, a program and its arguments, makes of the file. `None`: this
    /// machine can't; it has been said.
    pub fn new(gamut: &'g Gamut, mebibytes: u64, mkfs: &[&str]) -> Option<Self> {
        let file = gamut.dir().join("disk");
        let made = std::fs::File::create(&file).expect("a file for the disk");
        made.set_len(mebibytes << 20).expect("room for the disk");
        std::fs::create_dir_all(gamut.root()).expect("the engine's root");
        let made = Command::new(mkfs[0]).args(&mkfs[1..]).arg(&file).output();
        if !made.is_ok_and(|output| output.status.success()) {
            crate::skip::skipped(&format!("{} makes no file system here", mkfs[0]));
            return None;
        }
        let disk = Self { gamut, file };
        match disk.mount() {
            true => Some(disk),
            false => {
                crate::skip::skipped(&format!("what {} makes cannot be mounted here", mkfs[0]));
                None
            }
        }
    }

    /// The file with its bytes.
    pub fn file(&self) -> &PathBuf {
        &self.file
    }

    fn mount(&self) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop"])
            .arg(&self.file)
            .arg(self.gamut.root());
        mount.output().is_ok_and(|output| output.status.success())
    }

    /// Takes everything off the disk, lets `act` have its file, and mounts it again: nothing of it is
    /// cached then.
    pub fn offline(&self, act: impl FnOnce(&PathBuf)) {
        self.unmount();
        act(&self.file);
        assert!(self.mount(), "the disk cannot be mounted any more");
    }

    fn unmount(&self) {
        self.gamut.clear();
        let images = self.gamut.runroot().join("images");
        if images.exists() {
            program("umount", &["-R", &images.to_string_lossy()]);
            let _ = std::fs::remove_dir_all(images);
        }
        // The kernel lets go of devices under dm-verity, and of the loop devices below, in its own time.
        until("nothing uses the disk", || {
            let umount = Command::new("umount").arg(self.gamut.root()).output();
            umount.is_ok_and(|output| output.status.success())
        });
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.unmount();
        }
    }
}
