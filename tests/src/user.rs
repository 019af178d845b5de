//! An ordinary user, who calls the engine: `nobody`, whom every machine has. What the host's administrator
//! gives a user, ranges of ids and access to /dev/net/tun, is there in the test's own mount namespace only.

use crate::host::program;
use crate::skip::skipped;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user, and its group.
pub const USER: u32 = 65534;

/// Who calls the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Root,
    User,
}

impl Caller {
    /// Root, unless `GAMUT_TEST_USER` is set.
    pub fn usual() -> Caller {
        match std::env::var_os("GAMUT_TEST_USER") {
            Some(_) => Caller::User,
            None => Caller::Root,
        }
    }

    /// Has a command called by this caller.
    pub fn calls(self, command: &mut Command) {
        if self == Caller::User {
            command.uid(USER).gid(USER);
        }
    }
}

/// Where the user has what goes with a session.
pub fn session(dir: &Path) -> PathBuf {
    dir.join("session")
}

/// Gives the user the test's directory, and what an administrator gives. Where the user finds the binary;
/// `None`: this machine can't, and it has been said.
pub fn settle(dir: &Path, binary: &Path) -> Option<PathBuf> {
    let missing = ["newuidmap", "pasta"]
        .into_iter()
        .find(|name| !Path::new("/usr/bin").join(name).exists());
    if let Some(name) = missing {
        skipped(&format!("there is no {name}: lab/need test"));
        return None;
    }
    for file in [
        "user/max_user_namespaces",
        "kernel/unprivileged_userns_clone",
    ] {
        let allowed = fs::read_to_string(Path::new("/proc/sys").join(file));
        if allowed.is_ok_and(|text| text.trim() == "0") {
            skipped(&format!("{file} keeps users from making user namespaces"));
            return None;
        }
    }
    fs::create_dir(session(dir)).expect("a directory for the session");
    let own = dir.to_string_lossy().into_owned();
    program("chown", &["-R", "65534:65534", &own]);
    for (name, mode) in [("session", "0700"), ("", "0755")] {
        program("chmod", &[mode, &dir.join(name).to_string_lossy()]);
    }
    for name in ["subuid", "subgid"] {
        let (given, place) = (dir.join(name), Path::new("/etc").join(name));
        fs::write(&given, "nobody:100000:65536\n").expect("a file for the ids");
        // Of an engine that this test had before.
        let _ = rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH);
        if !place.exists() {
            fs::write(&place, "").expect("root writes to /etc");
        }
        program(
            "mount",
            &["--bind", &given.to_string_lossy(), &place.to_string_lossy()],
        );
    }
    // udev makes it where there is one; the first opening loads the module.
    if !Path::new("/dev/net/tun").exists() {
        fs::create_dir_all("/dev/net").expect("a directory for the device");
        program("mknod", &["-m", "0600", "/dev/net/tun", "c", "10", "200"]);
    }
    if fs::File::open("/dev/net/tun").is_err() {
        skipped("this kernel has no TUN devices");
        return None;
    }
    let tun = dir.join("tun").to_string_lossy().into_owned();
    program("mknod", &["-m", "0666", &tun, "c", "10", "200"]);
    let _ = rustix::mount::unmount("/dev/net/tun", rustix::mount::UnmountFlags::DETACH);
    program("mount", &["--bind", &tun, "/dev/net/tun"]);
    // The tests' own may lie where no user comes to.
    let place = dir.join("gamut");
    fs::write(&place, "").expect("a file for the program");
    let (from, to) = (binary.to_string_lossy(), place.to_string_lossy());
    program("mount", &["--bind", &from, &to]);
    Some(place)
}
