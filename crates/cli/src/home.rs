//! A user without privileges: every command is carried out in the user's home
//! ([`gamut_container::home`]), by this program started over in there; and where such a user's state lies.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use gamut_container::home::{self, Home, HomeError, Resident};

/// State that stays, and state of this boot.
#[derive(Debug)]
pub struct Places {
    pub root: PathBuf,
    pub run_root: PathBuf,
}

/// Where the state of who calls lies, unless flags say otherwise.
pub fn places() -> Places {
    match home::resident() {
        None => Places {
            root: "/var/lib/gamut".into(),
            run_root: "/run/gamut".into(),
        },
        Some(Resident { user, .. }) => Places {
            root: data(user).join("gamut"),
            run_root: run(user),
        },
    }
}

/// The XDG Base Directory Specification's `XDG_DATA_HOME`.
fn data(user: u32) -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = || match set("HOME") {
        Some(home) => home.join(".local/share"),
        None => format!("/var/tmp/gamut-{user}").into(),
    };
    set("XDG_DATA_HOME").unwrap_or_else(home)
}

/// Below the same specification's `XDG_RUNTIME_DIR`, which is the user's alone and ends with the boot.
fn run(user: u32) -> PathBuf {
    let set = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = PathBuf::from(format!("/run/user/{user}"));
    let is_there = |path: &PathBuf| path.is_absolute() && path.is_dir();
    match set.filter(is_there).or(Some(usual).filter(is_there)) {
        Some(directory) => directory.join("gamut"),
        None => format!("/tmp/gamut-run-{user}").into(),
    }
}

/// Starts this command over in the home of who calls, unless that is root, or is in there already. Comes
/// back if there is no need to, or for what keeps it from it.
pub fn enter() -> Result<(), HomeError> {
    let user = rustix::process::geteuid().as_raw();
    if user == 0 {
        return Ok(());
    }
    let group = rustix::process::getegid().as_raw();
    let run = run(user);
    own(&run, user)?;
    let home = Home::below(&run);
    home.enter()?;
    let mut words = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command
        .args(words)
        .env(home::VARIABLE, home.word(user, group));
    Err(HomeError::Start(command.exec()))
}

/// Makes the directory. In one that everybody may write to, somebody else may have been first.
fn own(run: &Path, user: u32) -> Result<(), HomeError> {
    match DirBuilder::new().mode(0o700).create(run) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            let path = run.to_owned();
            return Err(HomeError::File {
                path,
                source: error,
            });
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(run);
    let is_own = found.is_ok_and(|found| found.is_dir() && found.uid() == user);
    match is_own {
        true => Ok(()),
        false => Err(HomeError::Strange(run.to_owned())),
    }
}
