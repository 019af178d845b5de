//! Why a user without privileges has no home.

use std::io;
use std::path::PathBuf;

use gamut_plan::cell::StartError;
use gamut_spec::{Fault, Kind};
use rustix::io::Errno;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum HomeError {
    #[error("{user} has no subordinate ids in {file}")]
    NoRanges { user: String, file: &'static str },
    #[error("there is no {0}")]
    NoProgram(&'static str),
    #[error("user namespaces are turned off on this host (user.max_user_namespaces is 0)")]
    NoNamespaces,
    #[error("cannot {act} in the user namespace: {}", io::Error::from(*.errno))]
    Step { act: &'static str, errno: Errno },
    #[error("cannot enter the user namespace: {}", io::Error::from(*.0))]
    Enter(Errno),
    #[error("cannot start the holder of the user namespace: {0}")]
    Start(io::Error),
    #[error("the holder of the user namespace ended")]
    Gone,
    #[error("{} is not this user's alone", .0.display())]
    Strange(PathBuf),
    #[error("cannot use {}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Maps(#[from] StartError),
}

impl Fault for HomeError {
    fn kind(&self) -> Kind {
        match self {
            HomeError::Gone | HomeError::Start(_) | HomeError::Enter(_) => Kind::Unavailable,
            HomeError::Strange(_) | HomeError::File { .. } => Kind::Denied,
            HomeError::Maps(error) => error.kind(),
            _ => Kind::HostLacks,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            HomeError::NoRanges { user, .. } => format!(
                "as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`, \
                 with ids that are nobody else's"
            ),
            HomeError::NoProgram(_) => "install it (Debian, Ubuntu: uidmap; Fedora: shadow-utils)".into(),
            HomeError::NoNamespaces => "as root: `sysctl -w user.max_user_namespaces=15000`".into(),
            HomeError::Step { errno: Errno::PERM | Errno::ACCESS, .. } => {
                "on Ubuntu, AppArmor may keep programs from it: as root `sysctl -w \
                 kernel.apparmor_restrict_unprivileged_userns=0`, or give gamut a profile with `userns,`; on \
                 Debian see kernel.unprivileged_userns_clone"
                    .into()
            }
            HomeError::Step { errno: Errno::NOSPC, .. } => {
                "the limit in /proc/sys/user/max_user_namespaces is reached".into()
            }
            HomeError::Strange(_) => "remove it, or set XDG_RUNTIME_DIR".into(),
            HomeError::Maps(error) => return error.hint(),
            _ => return None,
        })
    }
}
