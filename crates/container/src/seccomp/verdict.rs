//! What a policy does, in words: for `gamut explain`.

use super::pieces::of_argument;
use super::rule::Case;
use super::{Action, Arch, Policy, Syscall, Test, errno};

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This, whatever its arguments.
    Always(Action),
    /// It depends on the arguments: in words, like
    /// `allowed if argument 0 & 0x7e020000 = 0, else fails with EPERM`.
    Depends(String),
}

/// A policy at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many calls always pass (allowed, logged or traced).
    pub allowed: usize,
    /// Calls that depend on their arguments, with the words for how.
    pub conditional: Vec<(&'static str, String)>,
    /// Calls that never pass, with what happens to them instead, by name.
    pub denied: Vec<(&'static str, Action)>,
}

impl Policy {
    /// What happens to the call of this name on the machine's own architecture; `None` if that has
    /// no such call.
    #[must_use]
    pub fn verdict(&self, name: &str) -> Option<Verdict> {
        self.verdict_of(Syscall::named(name)?, self.native())
    }

    /// What happens to every call of the machine's own architecture.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            allowed: 0,
            conditional: Vec::new(),
            denied: Vec::new(),
        };
        for call in Syscall::all() {
            match self.verdict_of(call, self.native()) {
                None => {}
                Some(Verdict::Always(action)) if action.lets_through() => summary.allowed += 1,
                Some(Verdict::Always(action)) => summary.denied.push((call.name(), action)),
                Some(Verdict::Depends(words)) => summary.conditional.push((call.name(), words)),
            }
        }
        summary
    }

    fn verdict_of(&self, call: Syscall, arch: Arch) -> Option<Verdict> {
        let number = call.number(arch)?;
        let cases: Vec<Case<'_>> = self
            .cases(arch)
            .filter(|(of, _)| *of == number)
            .map(|(_, case)| case)
            .collect();
        if cases.is_empty() || cases.iter().any(|case| case.conditions.is_empty()) {
            let action = self.evaluate(arch.audit(), arch.base() + number, &[0; 6]);
            return Some(Verdict::Always(action));
        }
        Some(Verdict::Depends(words(&cases, self.default_action)))
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allow => f.write_str("allowed"),
            Self::Log => f.write_str("allowed and logged"),
            Self::Trace(data) => write!(f, "stops for a tracer ({data})"),
            Self::Notify => f.write_str("decided by the supervisor"),
            Self::Errno(number) => write!(f, "fails with {}", errno::words(*number)),
            Self::Trap => f.write_str("raises SIGSYS"),
            Self::KillThread => f.write_str("kills the thread"),
            Self::KillProcess => f.write_str("kills the process"),
        }
    }
}

fn words(cases: &[Case<'_>], default: Action) -> String {
    let mut parts = match of_argument(cases, default) {
        Some((argument, pieces)) => of_ranges(argument, pieces.as_slice(), default),
        None => cases.iter().map(of_case).collect(),
    };
    parts.push(format!("else {default}"));
    parts.join(", ")
}

/// One part for each action: all the ranges of the argument that lead to it.
fn of_ranges(argument: u8, pieces: &[(u64, Action)], default: Action) -> Vec<String> {
    let mut by_action: Vec<(Action, Vec<String>)> = Vec::new();
    for (at, &(start, action)) in pieces.iter().enumerate() {
        if action == default {
            continue;
        }
        let range = match pieces.get(at + 1).map(|next| next.0 - 1) {
            Some(end) if end == start => number(start),
            Some(end) => format!("{} to {}", number(start), number(end)),
            None => format!("{} and above", number(start)),
        };
        match by_action.iter_mut().find(|(known, _)| *known == action) {
            Some((_, ranges)) => ranges.push(range),
            None => by_action.push((action, vec![range])),
        }
    }
    by_action
        .into_iter()
        .map(|(action, ranges)| {
            format!("{action} if argument {argument} is {}", ranges.join(" or "))
        })
        .collect()
}

fn of_case(case: &Case<'_>) -> String {
    let conditions: Vec<_> = case
        .conditions
        .iter()
        .map(|condition| {
            format!(
                "argument {} {}",
                condition.argument,
                of_test(condition.test)
            )
        })
        .collect();
    format!("{} if {}", case.action, conditions.join(" and "))
}

fn of_test(test: Test) -> String {
    match test {
        Test::Eq(value) => format!("= {}", number(value)),
        Test::Ne(value) => format!("≠ {}", number(value)),
        Test::Lt(value) => format!("< {}", number(value)),
        Test::Le(value) => format!("≤ {}", number(value)),
        Test::Gt(value) => format!("> {}", number(value)),
        Test::Ge(value) => format!("≥ {}", number(value)),
        Test::Masked { mask, value } => format!("& {mask:#x} = {}", number(value)),
    }
}

/// Small numbers as people count, large ones as flags are written.
fn number(value: u64) -> String {
    if value < 1000 {
        value.to_string()
    } else {
        format!("{value:#x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::CapSet;
    use crate::seccomp::{KernelVersion, Subject};

    fn default() -> Policy {
        Policy::docker_default(&Subject {
            caps: CapSet::DOCKER_DEFAULT,
            arch: Arch::X86_64,
            kernel: KernelVersion {
                version: 6,
                patchlevel: 18,
            },
        })
    }

    #[test]
    fn verdicts_have_words() {
        let policy = default();
        let always = |name| match policy.verdict(name) {
            Some(Verdict::Always(action)) => action.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(always("read"), "allowed");
        assert_eq!(always("mount"), "fails with EPERM");
        assert_eq!(always("clone3"), "fails with ENOSYS");
        let depends = |name| match policy.verdict(name) {
            Some(Verdict::Depends(words)) => words,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(
            depends("clone"),
            "allowed if argument 0 & 0x7e020000 = 0, else fails with EPERM"
        );
        assert_eq!(
            depends("personality"),
            "allowed if argument 0 is 0 or 8 or 0x20000 or 0x20008 or 0xffffffff, \
             else fails with EPERM"
        );
        assert!(depends("socket").starts_with("allowed if argument 0 is 0 to 11 or 13 to 18 or "));
        assert_eq!(policy.verdict("socketcall"), None); // not on x86_64
        assert_eq!(policy.verdict("frobnicate"), None);
    }

    #[test]
    fn the_summary_counts_every_call() {
        let summary = default().summary();
        let conditional: Vec<_> = summary.conditional.iter().map(|(name, _)| *name).collect();
        assert_eq!(conditional, ["clone", "personality", "socket"]);
        let denied: Vec<_> = summary.denied.iter().map(|(name, _)| *name).collect();
        for name in [
            "mount",
            "keyctl",
            "bpf",
            "io_uring_setup",
            "unshare",
            "clone3",
            "setns",
        ] {
            assert!(denied.contains(&name), "{name}");
        }
        let total = summary.allowed + conditional.len() + denied.len();
        let exist = Syscall::all().filter(|call| call.number(Arch::X86_64).is_some());
        assert_eq!(total, exist.count());
    }
}
