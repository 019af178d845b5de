//! The parts of a policy: what happens to a call, and when.

use std::borrow::Cow;

use super::{Arch, SeccompError, Syscall};

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let it through.
    Allow,
    /// Let it through and log it.
    Log,
    /// Stop for a tracer, which gets this value.
    Trace(u16),
    /// Ask the supervisor that holds the listener.
    Notify,
    /// Fail with this error number.
    Errno(u16),
    /// Send `SIGSYS`.
    Trap,
    /// Kill the calling thread.
    KillThread,
    /// Kill the process.
    KillProcess,
}

/// The error that a denied call gets where a profile does not say: `EPERM`.
const EPERM: u16 = 1;
/// `MAX_ERRNO` of the kernel, which clips to it.
const MAX_ERRNO: u16 = 4095;

impl Action {
    /// The `SECCOMP_RET_*` value with its data, as a program returns it (seccomp(2)).
    #[must_use]
    pub fn value(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(error) => 0x0005_0000 | u32::from(error),
            Self::Notify => 0x7fc0_0000,
            Self::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// From libseccomp's name (`SCMP_ACT_*`) and the profile's error number, if it has one.
    pub(super) fn from_scmp_name(name: &str, errno: Option<u64>) -> Result<Self, SeccompError> {
        let data = errno.map_or(EPERM, |errno| u16::try_from(errno).unwrap_or(u16::MAX));
        Ok(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno(data.min(MAX_ERRNO)),
            "SCMP_ACT_TRACE" => Self::Trace(data),
            "SCMP_ACT_NOTIFY" => Self::Notify,
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_ALLOW" => Self::Allow,
            _ => return Err(SeccompError::Action(name.to_owned())),
        })
    }

    /// [`Self::from_scmp_name`] as the OCI runtime specification has it: "When the action doesn't support
    /// an errno, the runtime MUST print an error and fail."
    pub(super) fn from_oci(name: &str, errno: Option<u64>) -> Result<Self, SeccompError> {
        match (Self::from_scmp_name(name, errno)?, errno) {
            (action @ (Self::Errno(_) | Self::Trace(_)), _) | (action, None) => Ok(action),
            _ => Err(SeccompError::ErrnoOf(name.to_owned())),
        }
    }

    /// Whether the call may run, be it after a tracer has looked at it.
    #[must_use]
    pub const fn lets_through(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace(_))
    }
}

/// A comparison of one argument, unsigned and over 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Test {
    /// Equal.
    Eq(u64),
    /// Not equal.
    Ne(u64),
    /// Less.
    Lt(u64),
    /// Less or equal.
    Le(u64),
    /// Greater.
    Gt(u64),
    /// Greater or equal.
    Ge(u64),
    /// The bits of `mask` are those of `value` (whose other bits are zero).
    Masked {
        /// The bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
}

impl Test {
    /// Whether `argument` passes.
    #[must_use]
    pub const fn holds(self, argument: u64) -> bool {
        match self {
            Self::Eq(value) => argument == value,
            Self::Ne(value) => argument != value,
            Self::Lt(value) => argument < value,
            Self::Le(value) => argument <= value,
            Self::Gt(value) => argument > value,
            Self::Ge(value) => argument >= value,
            Self::Masked { mask, value } => argument & mask == value,
        }
    }
}

/// One argument and its test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// What it must pass.
    pub test: Test,
}

impl Condition {
    /// From a profile's numbers: `SCMP_CMP_MASKED_EQ` takes the mask from `value` and what the
    /// masked bits must be from `value_two`. `None` if it holds whatever the argument is.
    pub(super) fn from_scmp(
        call: &str,
        index: u64,
        operator: &str,
        value: u64,
        value_two: u64,
    ) -> Result<Option<Self>, SeccompError> {
        let wrong_index = || SeccompError::Argument {
            call: call.to_owned(),
            index,
        };
        let argument = u8::try_from(index).map_err(|_| wrong_index())?;
        if argument > 5 {
            return Err(wrong_index());
        }
        let test = match operator {
            "SCMP_CMP_EQ" => Test::Eq(value),
            "SCMP_CMP_NE" => Test::Ne(value),
            "SCMP_CMP_LT" => Test::Lt(value),
            "SCMP_CMP_LE" => Test::Le(value),
            "SCMP_CMP_GT" => Test::Gt(value),
            "SCMP_CMP_GE" => Test::Ge(value),
            "SCMP_CMP_MASKED_EQ" if value == 0 => return Ok(None),
            "SCMP_CMP_MASKED_EQ" => Test::Masked {
                mask: value,
                value: value_two & value,
            },
            _ => return Err(SeccompError::Operator(operator.to_owned())),
        };
        Ok(Some(Self { argument, test }))
    }
}

/// What is to happen to one call if all its conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The call.
    pub call: Syscall,
    /// What happens to it.
    pub action: Action,
    /// What its arguments must be; empty: always.
    pub conditions: Vec<Condition>,
}

/// A rule as it stands for one number of one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case<'a> {
    pub conditions: Cow<'a, [Condition]>,
    pub action: Action,
}

impl Case<'_> {
    pub(super) fn holds(&self, arguments: &[u64; 6]) -> bool {
        self.conditions.iter().all(|condition| {
            condition
                .test
                .holds(arguments[usize::from(condition.argument)])
        })
    }
}

impl Rule {
    /// The number of `arch` that this rule is for, and the case that it makes there. A rule may
    /// have a second one behind a multiplexing call ([`Syscall::multiplexed`]). The other
    /// arguments are out of a filter's sight there, so that a conditional rule is kept only where
    /// dropping its conditions makes the policy stricter.
    pub(super) fn cases(&self, arch: Arch) -> impl Iterator<Item = (u32, Case<'_>)> {
        let direct = self.call.number(arch).map(|number| {
            let conditions = Cow::Borrowed(self.conditions.as_slice());
            (
                number,
                Case {
                    conditions,
                    action: self.action,
                },
            )
        });
        let widens = self.action.lets_through() && !self.conditions.is_empty();
        let through =
            self.call
                .multiplexed(arch)
                .filter(|_| !widens)
                .and_then(|(through, selector)| {
                    let condition = Condition {
                        argument: 0,
                        test: Test::Eq(selector),
                    };
                    Some((
                        through.number(arch)?,
                        Case {
                            conditions: Cow::Owned(vec![condition]),
                            action: self.action,
                        },
                    ))
                });
        direct.into_iter().chain(through)
    }
}
