//! What goes wrong with guest kernels.

use std::io;
use std::path::PathBuf;

use gamut_spec::{Fault, Kind};
use gamut_store::StoreError;

use super::needs::Lack;

/// Why a kernel cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no guest kernel `{0}`")]
    Unknown(String),
    #[error("`{0}` is the beginning of several guest kernels' ids")]
    Ambiguous(String),
    #[error("there is another guest kernel called `{0}`")]
    NameTaken(String),
    #[error("`{0}` is no name for a guest kernel")]
    Name(String),
    #[error("{} is no kernel that a machine can boot: {reason}", path.display())]
    NotAKernel { path: PathBuf, reason: String },
    #[error("the guest kernel {name} is not what was kept: its digest is {actual}")]
    Torn { name: String, actual: String },
    /// Nothing was named, configured or built, and the host has none that will do.
    #[error("there is no guest kernel: {0}")]
    None(String),
    #[error("the kernel {} lacks {}", file.display(), words(lacks))]
    Lacks { file: PathBuf, lacks: Vec<Lack> },
    #[error("{}: {reason}", path.display())]
    Modules { path: PathBuf, reason: String },
    #[error("the guest's agent was found at none of {0}")]
    NoAgent(String),
    #[error("the guest's initramfs cannot be made of {}: {reason}", agent.display())]
    Initramfs { agent: PathBuf, reason: String },
    #[error("a kernel cannot be built without {}", missing.join(", "))]
    Tools { missing: Vec<String> },
    #[error("there is no kernel source: {0}")]
    NoSource(String),
    #[error("the source in {} has been configured or built in place", .0.display())]
    NotClean(PathBuf),
    #[error("this kernel's source does not give what is asked of it: {}", .0.join(", "))]
    Options(Vec<String>),
    /// One of the programs that build.
    #[error("{step} failed: {reason}")]
    Step {
        step: String,
        reason: String,
        log: Option<PathBuf>,
    },
}

fn words(lacks: &[Lack]) -> String {
    let word = |lack: &Lack| format!("{} ({})", lack.option, lack.purpose);
    lacks.iter().map(word).collect::<Vec<_>>().join(", ")
}

impl KernelError {
    /// For `map_err`: what was being done to which file.
    pub(super) fn at(
        act: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> KernelError {
        let path = path.into();
        move |source| KernelError::File { act, path, source }
    }
}

impl Fault for KernelError {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Unavailable,
            },
            Self::Store(error) => error.kind(),
            Self::Unknown(_) => Kind::NotFound,
            Self::Ambiguous(_) | Self::Name(_) | Self::NotAKernel { .. } => Kind::Invalid,
            Self::NameTaken(_) => Kind::Conflict,
            Self::Torn { .. } | Self::NotClean(_) | Self::Options(_) => Kind::Invalid,
            Self::None(_)
            | Self::Lacks { .. }
            | Self::Modules { .. }
            | Self::NoAgent(_)
            | Self::Initramfs { .. }
            | Self::Tools { .. }
            | Self::NoSource(_) => Kind::HostLacks,
            Self::Step { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::File { .. } => return None,
            Self::Store(error) => return error.hint(),
            Self::Unknown(_) | Self::Ambiguous(_) => {
                "`gamut kernel ls` lists those that are kept; `--kernel` takes a path, too"
            }
            Self::NameTaken(_) => "give it another with `--name`, or remove that one first",
            Self::Name(_) => {
                "a name has letters, digits, `_`, `.`, `+` and `-`, and begins with a letter or digit"
            }
            Self::NotAKernel { .. } => {
                "it takes an uncompressed vmlinux or a bzImage for x86-64, such as /boot/vmlinuz"
            }
            Self::Torn { .. } => "remove it, and build or import it again",
            Self::None(_) | Self::Lacks { .. } | Self::Modules { .. } => {
                "make one with `gamut kernel build`, or give another with `--kernel`"
            }
            Self::NoAgent(_) | Self::Initramfs { .. } => {
                "the program `gamut-agent` belongs beside `gamut` or into ../libexec/gamut; GAMUT_AGENT names another"
            }
            Self::Tools { missing } => return Some(super::tools::remedy(missing)),
            Self::NoSource(_) => {
                "give a tree or an archive of Linux with `--source`, or install the package linux-source"
            }
            Self::NotClean(_) => {
                "`make mrproper` there makes it clean; an archive is unpacked elsewhere"
            }
            Self::Options(_) => "another version of Linux may have them; `--source` names it",
            Self::Step { log, .. } => {
                let log = log.as_ref()?;
                return Some(format!("the whole output is in {}", log.display()));
            }
        };
        Some(text.to_owned())
    }
}
