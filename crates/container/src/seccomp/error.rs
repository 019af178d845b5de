//! What can be wrong with a seccomp profile.

use gamut_spec::{Fault, Kind};
use gamut_sys::seccomp::{MAX_INSTRUCTIONS, ProgramError};

/// Why a profile can't become a filter.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// Not JSON, or not of the profile's form.
    #[error("seccomp profile: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Two fields that exclude each other.
    #[error("seccomp profile: both `{0}` and `{1}` are given; use one of them")]
    Both(&'static str, &'static str),
    /// An action that is none of `SCMP_ACT_*`.
    #[error("seccomp profile: unknown action `{0}`")]
    Action(String),
    /// An operator that is none of `SCMP_CMP_*`.
    #[error("seccomp profile: unknown comparison `{0}`")]
    Operator(String),
    /// A flag that is none of `SECCOMP_FILTER_FLAG_*`.
    #[error("seccomp profile: unknown flag `{0}`")]
    Flag(String),
    /// An error's name that Linux does not have.
    #[error("seccomp profile: unknown error name `{0}`")]
    Errno(String),
    /// An error's number beside an action that gives none.
    #[error("seccomp profile: {0} gives no error number, and has one")]
    ErrnoOf(String),
    /// A rule for no call.
    #[error("seccomp profile: a rule has no `names`")]
    NoNames,
    /// A call has the arguments 0 to 5.
    #[error("seccomp profile: `{call}` has no argument {index}; they are 0 to 5")]
    Argument {
        /// The system call.
        call: String,
        /// The index that was given.
        index: u64,
    },
    /// `minKernel` is not of the form `4.8`.
    #[error("seccomp profile: `{0}` is not a kernel version of the form `5.10`")]
    KernelVersion(String),
    /// A capability that is none.
    #[error("seccomp profile: {0}")]
    Capability(#[from] crate::caps::CapsError),
    /// Notification where it would stop the start of the container itself.
    #[error("seccomp profile: SCMP_ACT_NOTIFY cannot be {0}")]
    Notify(&'static str),
    /// More instructions than the kernel takes.
    #[error(
        "seccomp profile: its program needs {0} instructions, the kernel takes {MAX_INSTRUCTIONS}"
    )]
    TooLong(usize),
    /// The compiler made no valid program.
    #[error("seccomp profile: {0}")]
    Program(ProgramError),
}

impl From<ProgramError> for SeccompError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::TooLong(count) => Self::TooLong(count),
            other => Self::Program(other),
        }
    }
}

impl Fault for SeccompError {
    fn kind(&self) -> Kind {
        match self {
            Self::Program(_) => Kind::Bug,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::TooLong(_) => "use fewer rules with argument conditions",
            Self::Notify(_) => "list the calls that a supervisor shall decide, other than `write`",
            Self::Action(_) => "the actions are those of the OCI runtime spec, like SCMP_ACT_ERRNO",
            _ => return None,
        };
        Some(hint.into())
    }
}
