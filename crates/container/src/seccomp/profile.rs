//! Docker's profile files: an OCI seccomp section whose rules may depend on the host and on the
//! container's capabilities. Podman's files, which name errors, are read as well.
//!
//! Source: `seccomp.go` of moby/profiles and `types.go` of containers/common.

use serde::Deserialize;

use super::{Action, Arch, Condition, KernelVersion, Policy, SeccompError, errno};
use crate::caps::{CapSet, Capability};

/// What a profile's rules are chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The container's bounding set.
    pub caps: CapSet,
    /// The machine.
    pub arch: Arch,
    /// The kernel that runs.
    pub kernel: KernelVersion,
}

impl Policy {
    /// Reads a profile file and keeps the rules that apply to `subject`. As for Docker, a file
    /// with neither a default action nor rules allows everything.
    ///
    /// # Errors
    /// [`SeccompError`], naming what can't be meant. Unknown calls and architectures are passed
    /// over.
    pub fn from_profile(json: &[u8], subject: &Subject) -> Result<Self, SeccompError> {
        let file: File = serde_json::from_slice(json)?;
        if file.default_action.is_empty() && file.syscalls.is_empty() {
            return Ok(Self::new(subject.arch, Action::Allow));
        }
        if !file.architectures.is_empty() && !file.arch_map.is_empty() {
            return Err(SeccompError::Both("architectures", "archMap"));
        }
        let errno = errno_of(file.default_errno_ret, file.default_errno.as_deref())?;
        let default = Action::from_scmp_name(&file.default_action, errno)?;
        let mut policy = Self::new(subject.arch, default);
        let of_map = file
            .arch_map
            .iter()
            .filter(|entry| entry.architecture == subject.arch.scmp_name())
            .take(1)
            .flat_map(|entry| entry.sub_architectures.iter().flatten());
        for arch in file.architectures.iter().chain(of_map) {
            policy.add_arch(arch);
        }
        if let Some(flags) = file.flags {
            policy.set_flags(flags.into_iter())?;
        }
        for group in &file.syscalls {
            group.add_to(&mut policy, subject)?;
        }
        policy.check()?;
        Ok(policy)
    }
}

/// The file. Go's decoder takes `null` for an empty list, so these do too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    default_action: String,
    default_errno_ret: Option<u64>,
    default_errno: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arch_map: Vec<ArchEntry>,
    flags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_empty")]
    syscalls: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u64>,
    errno: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<Arg>,
    #[serde(default, deserialize_with = "null_is_empty")]
    includes: Filter,
    #[serde(default, deserialize_with = "null_is_empty")]
    excludes: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arg {
    index: u64,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default, deserialize_with = "null_is_empty")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: String,
}

impl Filter {
    fn min_kernel(&self) -> Result<Option<KernelVersion>, SeccompError> {
        if self.min_kernel.is_empty() {
            return Ok(None);
        }
        self.min_kernel.parse().map(Some)
    }

    /// As `includes`: everything that is given must be so.
    fn all(&self, subject: &Subject) -> Result<bool, SeccompError> {
        let arch = self.arches.is_empty() || self.names_arch(subject);
        let caps = self.caps.iter().all(|name| holds(subject, name));
        let kernel = self.min_kernel()?.is_none_or(|min| subject.kernel >= min);
        Ok(arch && caps && kernel)
    }

    /// As `excludes`: one of what is given is so.
    fn any(&self, subject: &Subject) -> Result<bool, SeccompError> {
        let caps = self.caps.iter().any(|name| holds(subject, name));
        let kernel = self.min_kernel()?.is_some_and(|min| subject.kernel >= min);
        Ok(self.names_arch(subject) || caps || kernel)
    }

    fn names_arch(&self, subject: &Subject) -> bool {
        self.arches
            .iter()
            .any(|name| name == subject.arch.docker_name())
    }
}

/// Whether the container has the capability of this name; a newer one than we know it has not.
fn holds(subject: &Subject, name: &str) -> bool {
    name.parse::<Capability>()
        .is_ok_and(|capability| subject.caps.contains(capability))
}

impl Group {
    fn add_to(&self, policy: &mut Policy, subject: &Subject) -> Result<(), SeccompError> {
        if !self.name.is_empty() && !self.names.is_empty() {
            return Err(SeccompError::Both("name", "names"));
        }
        if self.excludes.any(subject)? || !self.includes.all(subject)? {
            return Ok(());
        }
        let errno = errno_of(self.errno_ret, self.errno.as_deref())?;
        let action = Action::from_scmp_name(&self.action, errno)?;
        let old_form = (!self.name.is_empty()).then_some(&self.name);
        for name in self.names.iter().chain(old_form) {
            let mut conditions = Vec::new();
            for Arg {
                index,
                value,
                value_two,
                op,
            } in &self.args
            {
                conditions.extend(Condition::from_scmp(name, *index, op, *value, *value_two)?);
            }
            policy.add_rule(name, action, conditions)?;
        }
        Ok(())
    }
}

/// The error of a rule: by name (Podman) before number.
fn errno_of(number: Option<u64>, name: Option<&str>) -> Result<Option<u64>, SeccompError> {
    match name.filter(|name| !name.is_empty()) {
        None => Ok(number),
        Some(name) => errno::number(name)
            .map(|number| Some(u64::from(number)))
            .ok_or_else(|| SeccompError::Errno(name.to_owned())),
    }
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Syscall;

    fn subject(caps: CapSet) -> Subject {
        Subject {
            caps,
            arch: Arch::X86_64,
            kernel: KernelVersion {
                version: 6,
                patchlevel: 18,
            },
        }
    }

    fn ask(policy: &Policy, name: &str) -> Action {
        let number = Syscall::named(name).unwrap().number(Arch::X86_64).unwrap();
        policy.evaluate(Arch::X86_64.audit(), number, &[0; 6])
    }

    #[test]
    fn rules_depend_on_the_subject() {
        let json = br#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
            "archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
                       {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]},
                       {"architecture":"SCMP_ARCH_RISCV64","subArchitectures":null}],
            "syscalls":[
              {"names":["chmod"],"action":"SCMP_ACT_ALLOW","args":[],"includes":{},"excludes":null},
              {"name":"chown","action":"SCMP_ACT_ALLOW"},
              {"names":["syslog"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYSLOG"]}},
              {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN","CAP_SYSLOG"]}},
              {"names":["kcmp"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8","arches":["amd64","x32"]}},
              {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.19"}},
              {"names":["acct"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}},
              {"names":["keyctl"],"action":"SCMP_ACT_ERRNO","errno":"EACCES"},
              {"names":["newest_of_all"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_FUTURE"]}}]}"#;
        let plain = Policy::from_profile(json, &subject(CapSet::EMPTY)).unwrap();
        let logger = CapSet::of(&[Capability::Syslog]);
        let with_syslog = Policy::from_profile(json, &subject(logger)).unwrap();
        assert_eq!(plain.arches, [Arch::X86_64, Arch::X86, Arch::X32]);
        for (name, expected) in [
            ("chmod", Action::Allow),
            ("chown", Action::Allow),
            ("syslog", Action::Errno(1)),
            ("ptrace", Action::Allow),
            ("kcmp", Action::Allow),
            ("bpf", Action::Errno(38)), // above all that the chosen rules name
            ("keyctl", Action::Errno(13)),
            ("acct", Action::Errno(1)),
        ] {
            assert_eq!(ask(&plain, name), expected, "{name}");
        }
        assert_eq!(ask(&with_syslog, "syslog"), Action::Allow);
        assert_eq!(ask(&with_syslog, "ptrace"), Action::Errno(1));
    }

    #[test]
    fn an_empty_profile_is_no_filter() {
        let policy = Policy::from_profile(b"{}", &subject(CapSet::EMPTY)).unwrap();
        assert_eq!(ask(&policy, "mount"), Action::Allow);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |json: &str| {
            Policy::from_profile(json.as_bytes(), &subject(CapSet::EMPTY))
                .unwrap_err()
                .to_string()
        };
        for (json, part) in [
            ("[", "seccomp profile: "),
            (r#"{"defaultAction":"ALLOW"}"#, "unknown action `ALLOW`"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],
                "archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
                "both `architectures` and `archMap`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#,
                "both `name` and `names`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_LOG",
                "args":[{"index":0,"value":1,"op":"EQ"}]}]}"#,
                "unknown comparison `EQ`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO",
                "errno":"ENOPE"}]}"#,
                "unknown error name `ENOPE`",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO",
                "includes":{"minKernel":"4.8.1"}}]}"#,
                "`4.8.1` is not a kernel version",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["FAST"]}"#,
                "unknown flag `FAST`",
            ),
        ] {
            assert!(error(json).contains(part), "{json}: {}", error(json));
        }
    }
}
