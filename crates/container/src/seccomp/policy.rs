//! A policy: what is to happen to each system call, as rules that were already chosen for one
//! container on one host. [`super::compile`] makes a program of it, [`Policy::evaluate`] says
//! slowly and plainly what that program must answer.

use gamut_sys::seccomp::Flags;
use oci_spec::runtime as oci;

use super::rule::{Action, Case, Condition, Rule};
use super::{Arch, SeccompError, Syscall};

const ENOSYS: u16 = 38;

/// What is to happen to every call on every architecture of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The architectures whose calls are looked at, the machine's own first.
    pub arches: Vec<Arch>,
    /// For calls that no rule matches.
    pub default_action: Action,
    /// For calls through an architecture that is not listed.
    pub foreign_action: Action,
    /// How the program is to be attached.
    pub flags: Flags,
    /// The rules, in the profile's order.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// A policy without rules for the machine `native`.
    #[must_use]
    pub fn new(native: Arch, default_action: Action) -> Self {
        Self {
            arches: vec![native],
            default_action,
            foreign_action: Action::KillProcess,
            flags: Flags::SPEC_ALLOW,
            rules: Vec::new(),
        }
    }

    /// The machine's own architecture.
    #[must_use]
    pub fn native(&self) -> Arch {
        // `new` makes the list with one entry; should a caller have emptied it, x86_64 stands in
        // and every call of it is foreign.
        self.arches.first().copied().unwrap_or(Arch::X86_64)
    }

    /// Whether a supervisor is asked about some call, so that the program needs a listener.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Notify)
    }

    /// The flags for attaching: with a listener if one is needed, and without what makes no sense
    /// to the kernel if none is.
    #[must_use]
    pub fn attach_flags(&self) -> Flags {
        if self.notifies() {
            self.flags.with(Flags::NEW_LISTENER)
        } else {
            self.flags.without(Flags::WAIT_KILLABLE_RECV)
        }
    }

    /// From an OCI runtime spec (its `linux.seccomp`).
    ///
    /// # Errors
    /// [`SeccompError::Argument`], [`SeccompError::Notify`], [`SeccompError::ErrnoOf`] and
    /// [`SeccompError::NoNames`]; names of calls and architectures
    /// that are not known are passed over, as runc does.
    pub fn from_oci(seccomp: &oci::LinuxSeccomp, native: Arch) -> Result<Self, SeccompError> {
        let errno = seccomp.default_errno_ret().map(u64::from);
        let default = Action::from_oci(&seccomp.default_action().to_string(), errno)?;
        let mut policy = Self::new(native, default);
        for arch in seccomp.architectures().iter().flatten() {
            policy.add_arch(&arch.to_string());
        }
        if let Some(flags) = seccomp.flags() {
            policy.set_flags(flags.iter().map(ToString::to_string))?;
        }
        for group in seccomp.syscalls().iter().flatten() {
            let errno = group.errno_ret().map(u64::from);
            let action = Action::from_oci(&group.action().to_string(), errno)?;
            if group.names().is_empty() {
                return Err(SeccompError::NoNames);
            }
            for name in group.names() {
                let mut conditions = Vec::new();
                for arg in group.args().iter().flatten() {
                    conditions.extend(Condition::from_scmp(
                        name,
                        arg.index() as u64,
                        &arg.op().to_string(),
                        arg.value(),
                        arg.value_two().unwrap_or(0),
                    )?);
                }
                policy.add_rule(name, action, conditions)?;
            }
        }
        policy.check()?;
        Ok(policy)
    }

    /// Covers one more architecture, by libseccomp's name; one without a table is passed over.
    pub(super) fn add_arch(&mut self, name: &str) {
        if let Some(arch) = Arch::from_scmp_name(name)
            && !self.arches.contains(&arch)
        {
            self.arches.push(arch);
        }
    }

    /// Replaces the flags by those of these names (`SECCOMP_FILTER_FLAG_*`).
    pub(super) fn set_flags(
        &mut self,
        names: impl Iterator<Item = String>,
    ) -> Result<(), SeccompError> {
        self.flags = Flags::NONE;
        for name in names {
            self.flags = self.flags.with(match name.as_str() {
                // Who installs it has one thread.
                "SECCOMP_FILTER_FLAG_TSYNC" => Flags::NONE,
                "SECCOMP_FILTER_FLAG_LOG" => Flags::LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Flags::SPEC_ALLOW,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Flags::WAIT_KILLABLE_RECV,
                _ => return Err(SeccompError::Flag(name)),
            });
        }
        Ok(())
    }

    /// Adds a rule by the call's name. Conditions that test one argument twice become a rule each,
    /// so that one of them is enough: runc did so before libseccomp could join them, and Docker's
    /// profiles are written for it.
    pub(crate) fn add_rule(
        &mut self,
        name: &str,
        action: Action,
        conditions: Vec<Condition>,
    ) -> Result<(), SeccompError> {
        if action == Action::Notify && name == "write" {
            return Err(SeccompError::Notify("used for the write syscall"));
        }
        let Some(call) = Syscall::named(name) else {
            return Ok(());
        };
        let mut seen = [false; 6];
        let twice = conditions
            .iter()
            .any(|condition| std::mem::replace(&mut seen[usize::from(condition.argument)], true));
        let alternatives = if twice {
            conditions.into_iter().map(|one| vec![one]).collect()
        } else {
            vec![conditions]
        };
        self.rules
            .extend(alternatives.into_iter().map(|conditions| Rule {
                call,
                action,
                conditions,
            }));
        Ok(())
    }

    /// What holds for the policy as a whole.
    pub(super) fn check(&self) -> Result<(), SeccompError> {
        if self.default_action == Action::Notify {
            return Err(SeccompError::Notify("the default action"));
        }
        Ok(())
    }

    /// The cases for each number of `arch`, in the profile's order. Rules that do what happens
    /// anyway are left out, as runc leaves them out.
    pub(super) fn cases(&self, arch: Arch) -> impl Iterator<Item = (u32, Case<'_>)> {
        self.rules
            .iter()
            .filter(|rule| rule.action != self.default_action)
            .flat_map(move |rule| rule.cases(arch))
    }

    /// The highest number of `arch` that a rule names, arm's private calls aside.
    pub(super) fn newest(&self, arch: Arch) -> Option<u32> {
        self.rules
            .iter()
            .filter_map(|rule| rule.call.number(arch))
            .filter(|number| *number < ARM_PRIVATE)
            .max()
    }

    /// What happens to numbers above [`Self::newest`]: a policy that denies by default was written
    /// before those calls existed, and a program that tries one must be told that it is not there,
    /// so that it falls back.
    pub(super) fn unheard_action(&self) -> Action {
        if self.default_action.lets_through() {
            self.default_action
        } else {
            Action::Errno(ENOSYS)
        }
    }

    /// What happens to a call: `audit` and `number` as the kernel puts them into `seccomp_data`.
    ///
    /// The first rule without conditions decides, wherever it stands; else the first whose
    /// conditions hold; else the number is newer than all the policy names ([`ENOSYS`]) or the
    /// default action applies. This is what runc and libseccomp do, except that here
    /// - a foreign architecture's call kills the process, not only its thread;
    /// - of several conditional rules with different actions the profile's order decides, where
    ///   libseccomp has an order of its own or refuses;
    /// - x32's arguments are compared over 64 bits, as the kernel passes them;
    /// - a conditional allowance does not open i386's multiplexing calls (see [`Rule`]);
    /// - the answer for newer numbers does not need `architectures` in the profile.
    #[must_use]
    pub fn evaluate(&self, audit: u32, number: u32, arguments: &[u64; 6]) -> Action {
        let Some(arch) = self.arch_of(audit, number) else {
            let skipped = audit == Arch::X86_64.audit() && number == u32::MAX;
            return if skipped && self.arches.contains(&Arch::X86_64) {
                // A tracer skips a call by making its number -1.
                self.default_action
            } else {
                self.foreign_action
            };
        };
        let number = number - arch.base();
        let cases: Vec<_> = self
            .cases(arch)
            .filter(|(of, _)| *of == number)
            .map(|(_, case)| case)
            .collect();
        let always = cases.iter().find(|case| case.conditions.is_empty());
        let decides = always.or_else(|| cases.iter().find(|case| case.holds(arguments)));
        match decides {
            Some(case) => case.action,
            None if cases.is_empty() && self.newest(arch).is_some_and(|newest| number > newest) => {
                self.unheard_action()
            }
            None => self.default_action,
        }
    }

    /// The listed architecture that a call came through.
    fn arch_of(&self, audit: u32, number: u32) -> Option<Arch> {
        let is_x32 = audit == Arch::X32.audit() && number >= Arch::X32.base();
        self.arches
            .iter()
            .copied()
            .find(|arch| arch.audit() == audit && (*arch == Arch::X32) == is_x32)
    }
}

/// `__ARM_NR_BASE`: where arm's private calls begin.
const ARM_PRIVATE: u32 = 0x000f_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::rule::Test;

    fn parse(json: &str) -> Result<Policy, SeccompError> {
        Policy::from_oci(&serde_json::from_str(json).unwrap(), Arch::X86_64)
    }

    fn number(name: &str) -> u32 {
        Syscall::named(name).unwrap().number(Arch::X86_64).unwrap()
    }

    fn ask(policy: &Policy, name: &str, first: u64) -> Action {
        policy.evaluate(Arch::X86_64.audit(), number(name), &[first, 0, 0, 0, 0, 0])
    }

    #[test]
    fn an_oci_profile_is_read_whole() {
        let policy = parse(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,
            "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X32","SCMP_ARCH_MIPS"],
            "flags":["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls":[
              {"names":["read","no_such_call"],"action":"SCMP_ACT_ALLOW"},
              {"names":["kill"],"action":"SCMP_ACT_ERRNO","errnoRet":70000},
              {"names":["socket"],"action":"SCMP_ACT_ALLOW",
               "args":[{"index":0,"value":3,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
        )
        .unwrap();
        assert_eq!(policy.arches, [Arch::X86_64, Arch::X32]);
        assert_eq!(policy.flags, Flags::LOG);
        assert_eq!(policy.rules.len(), 3);
        assert_eq!(ask(&policy, "read", 0), Action::Allow);
        assert_eq!(ask(&policy, "open", 0), Action::Errno(13));
        assert_eq!(ask(&policy, "kill", 0), Action::Errno(4095));
        assert_eq!(ask(&policy, "socket", 6), Action::Allow);
        assert_eq!(ask(&policy, "socket", 7), Action::Errno(13));
        assert_eq!(ask(&policy, "clone3", 0), Action::Errno(ENOSYS));
    }

    #[test]
    fn flags_suit_the_rules() {
        let with = |action: &str| {
            let json = format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW",
                "flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "syscalls":[{{"names":["kill"],"action":"{action}"}}]}}"#
            );
            parse(&json).unwrap().attach_flags()
        };
        let both = Flags::NEW_LISTENER.with(Flags::WAIT_KILLABLE_RECV);
        assert_eq!(with("SCMP_ACT_NOTIFY"), both);
        assert_eq!(with("SCMP_ACT_LOG"), Flags::NONE);
    }

    #[test]
    fn bad_profiles_are_named() {
        let error = |json| parse(json).unwrap_err().to_string();
        assert!(error(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).contains("default action"));
        assert!(
            error(
                r#"{"defaultAction":"SCMP_ACT_ALLOW",
                "syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#
            )
            .contains("used for the write syscall")
        );
        assert!(
            error(
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],
                "action":"SCMP_ACT_KILL","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#
            )
            .contains("`kill` has no argument 6")
        );
    }

    #[test]
    fn precedence_is_libseccomps() {
        let mut policy = Policy::new(Arch::X86_64, Action::Errno(1));
        let when = |test| vec![Condition { argument: 0, test }];
        for (action, conditions) in [
            (Action::Errno(7), when(Test::Eq(1))),
            (Action::Errno(1), vec![]), // does what happens anyway: passed over
            (Action::Log, when(Test::Lt(5))),
        ] {
            policy.add_rule("kill", action, conditions).unwrap();
        }
        assert_eq!(ask(&policy, "kill", 1), Action::Errno(7));
        assert_eq!(ask(&policy, "kill", 2), Action::Log);
        assert_eq!(ask(&policy, "kill", 5), Action::Errno(1));
        policy.add_rule("kill", Action::Allow, vec![]).unwrap();
        policy.add_rule("kill", Action::Trap, vec![]).unwrap();
        assert_eq!(ask(&policy, "kill", 1), Action::Allow);
    }

    #[test]
    fn one_argument_twice_means_or() {
        let mut policy = Policy::new(Arch::X86_64, Action::Errno(1));
        let test = |test| Condition { argument: 0, test };
        let conditions = vec![test(Test::Lt(2)), test(Test::Gt(8))];
        policy.add_rule("kill", Action::Allow, conditions).unwrap();
        for (argument, expected) in [
            (1, Action::Allow),
            (5, Action::Errno(1)),
            (9, Action::Allow),
        ] {
            assert_eq!(ask(&policy, "kill", argument), expected);
        }
    }

    #[test]
    fn multiplexed_calls_never_widen() {
        let mut policy = Policy::new(Arch::X86_64, Action::Errno(1));
        policy.arches.push(Arch::X86);
        let condition = Condition {
            argument: 0,
            test: Test::Eq(1),
        };
        policy.add_rule("bind", Action::Allow, vec![]).unwrap();
        policy
            .add_rule("socket", Action::Allow, vec![condition])
            .unwrap();
        policy
            .add_rule("listen", Action::Trap, vec![condition])
            .unwrap();
        let ask = |selector| policy.evaluate(Arch::X86.audit(), 102, &[selector, 0, 0, 0, 0, 0]);
        assert_eq!(ask(2), Action::Allow);
        assert_eq!(ask(1), Action::Errno(1));
        assert_eq!(ask(4), Action::Trap);
    }

    #[test]
    fn foreign_and_skipped_calls() {
        let mut policy = Policy::new(Arch::X86_64, Action::Errno(1));
        policy.add_rule("read", Action::Allow, vec![]).unwrap();
        let ask = |audit, number| policy.evaluate(audit, number, &[0; 6]);
        let native = Arch::X86_64.audit();
        assert_eq!(ask(native, 0), Action::Allow);
        assert_eq!(ask(native, 0x4000_0000), Action::KillProcess);
        assert_eq!(ask(native, u32::MAX), Action::Errno(1));
        assert_eq!(ask(Arch::X86.audit(), 3), Action::KillProcess);
        assert_eq!(ask(0, u32::MAX), Action::KillProcess);
    }
}
