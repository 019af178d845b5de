//! Which devices a workload may open and make: the rules of the OCI runtime specification, brought
//! into the one form that both cgroup versions can carry out.
//!
//! A [`DevicePolicy`] is a verdict and exceptions from it, as the v1 devices controller has it
//! (Documentation/admin-guide/cgroup-v1/devices.rst). Rules are taken in their order and the last
//! that matches wins. What this form cannot express (a hole in a wildcard) is refused: v1 would
//! silently ignore such a rule.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::error::CgroupError;

/// The kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    Block,
    Char,
}

/// A set of ways to use a device: read, write, make its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access(u8);

impl Access {
    pub const NONE: Self = Self(0);
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    pub const MKNOD: Self = Self(4);
    pub const ALL: Self = Self(7);

    /// Whether nothing is in the set.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether everything in `other` is in this set.
    pub fn covers(self, other: Self) -> bool {
        (other & !self).is_none()
    }

    /// Letters out of `r`, `w`, `m`; and `a`, for all, where something is denied: there is who writes so
    /// (it is not the specification's), and what is denied must not be less than was meant.
    fn parse(letters: &str, verdict: Verdict) -> Option<Self> {
        let mut set = Self::NONE;
        for letter in letters.chars() {
            set = set
                | match letter {
                    'r' => Self::READ,
                    'w' => Self::WRITE,
                    'm' => Self::MKNOD,
                    'a' if verdict == Verdict::Deny => Self::ALL,
                    _ => return None,
                };
        }
        Some(set)
    }
}

impl BitOr for Access {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Access {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Access {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (one, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.covers(one) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Some devices and ways to use them. `None` as a number is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub kind: DeviceKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

impl DeviceRule {
    const fn char(major: u32, minor: Option<u32>) -> Self {
        Self {
            kind: DeviceKind::Char,
            major: Some(major),
            minor,
            access: Access::ALL,
        }
    }

    const fn any_node(kind: DeviceKind) -> Self {
        Self {
            kind,
            major: None,
            minor: None,
            access: Access::MKNOD,
        }
    }

    /// Whether every device of `other` is one of this rule's, access aside.
    fn contains(&self, other: &Self) -> bool {
        let within = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
        self.kind == other.kind
            && within(self.major, other.major)
            && within(self.minor, other.minor)
    }

    /// Whether some device is in both, access aside.
    fn meets(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    /// The same as an OCI rule that allows.
    fn to_oci(self) -> LinuxDeviceCgroup {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(match self.kind {
                DeviceKind::Block => LinuxDeviceType::B,
                DeviceKind::Char => LinuxDeviceType::C,
            }))
            .set_major(self.major.map(i64::from))
            .set_minor(self.minor.map(i64::from))
            .set_access(Some(self.access.to_string()));
        rule
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {}", self.access)
    }
}

/// What every container may use: the list that Docker gives and runc completes
/// (moby `oci/defaults.go`, runc `specconv.AllowedDevices`). Nodes of all devices can be made, but
/// not opened.
pub const DEFAULT_DEVICES: [DeviceRule; 11] = [
    DeviceRule::any_node(DeviceKind::Char),
    DeviceRule::any_node(DeviceKind::Block),
    DeviceRule::char(1, Some(3)), // null
    DeviceRule::char(1, Some(5)), // zero
    DeviceRule::char(1, Some(7)), // full
    DeviceRule::char(1, Some(8)), // random
    DeviceRule::char(1, Some(9)), // urandom
    DeviceRule::char(5, Some(0)), // tty
    DeviceRule::char(5, Some(1)), // console
    DeviceRule::char(5, Some(2)), // ptmx
    DeviceRule::char(136, None),  // pts/*
];

/// [`DEFAULT_DEVICES`] as OCI rules, after one that denies everything.
pub fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let mut deny_all = LinuxDeviceCgroup::default();
    deny_all.set_allow(false).set_access(Some("rwm".to_owned()));
    let mut rules = vec![deny_all];
    rules.extend(DEFAULT_DEVICES.into_iter().map(DeviceRule::to_oci));
    rules
}

/// What holds for a device that no exception names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

/// A verdict and the exceptions from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePolicy {
    pub verdict: Verdict,
    /// No two name the same devices; none is without access.
    pub exceptions: Vec<DeviceRule>,
}

impl DevicePolicy {
    /// Takes OCI rules in their order, beginning with everything denied.
    ///
    /// # Errors
    /// [`CgroupError::DeviceRule`] for a rule that is malformed or makes a hole in a wildcard.
    pub fn from_oci(rules: &[LinuxDeviceCgroup]) -> Result<Self, CgroupError> {
        let mut policy = Self {
            verdict: Verdict::Deny,
            exceptions: Vec::new(),
        };
        for rule in rules {
            let verdict = match rule.allow() {
                true => Verdict::Allow,
                false => Verdict::Deny,
            };
            policy
                .take(verdict, rule)
                .map_err(|problem| CgroupError::DeviceRule {
                    rule: format!("{} {rule}", if rule.allow() { "allow" } else { "deny" }),
                    problem,
                })?;
        }
        Ok(policy)
    }

    fn take(&mut self, verdict: Verdict, rule: &LinuxDeviceCgroup) -> Result<(), &'static str> {
        let access = match rule.access().as_deref() {
            None | Some("") => Access::ALL,
            Some(letters) => {
                Access::parse(letters, verdict).ok_or("access is made of the letters r, w and m")?
            }
        };
        let (major, minor) = (number(rule.major())?, number(rule.minor())?);
        let kinds: &[DeviceKind] = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => &[DeviceKind::Block, DeviceKind::Char],
            LinuxDeviceType::B => &[DeviceKind::Block],
            LinuxDeviceType::C | LinuxDeviceType::U => &[DeviceKind::Char],
            LinuxDeviceType::P => return Err("a FIFO is not a device"),
        };
        if kinds.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
            self.verdict = verdict;
            self.exceptions.clear();
            return Ok(());
        }
        for &kind in kinds {
            let rule = DeviceRule {
                kind,
                major,
                minor,
                access,
            };
            if verdict == self.verdict {
                self.remove(&rule)?;
            } else {
                self.add(rule);
            }
        }
        Ok(())
    }

    fn add(&mut self, rule: DeviceRule) {
        let same = |other: &&mut DeviceRule| {
            (other.kind, other.major, other.minor) == (rule.kind, rule.major, rule.minor)
        };
        match self.exceptions.iter_mut().find(same) {
            Some(other) => other.access = other.access | rule.access,
            None => self.exceptions.push(rule),
        }
    }

    fn remove(&mut self, rule: &DeviceRule) -> Result<(), &'static str> {
        for exception in &mut self.exceptions {
            if (exception.access & rule.access).is_none() || !exception.meets(rule) {
                continue;
            }
            if !rule.contains(exception) {
                return Err(
                    "an earlier rule with a wildcard covers it, and no exception from \
                            that can be made; list the devices one by one instead",
                );
            }
            exception.access = exception.access & !rule.access;
        }
        self.exceptions.retain(|rule| !rule.access.is_none());
        Ok(())
    }

    /// Whether `access` to a device is allowed, as the kernel's `devcgroup_check_permission`
    /// decides: under [`Verdict::Deny`] one exception must cover all of it, under
    /// [`Verdict::Allow`] no exception may have any of it.
    pub fn allows(&self, kind: DeviceKind, major: u32, minor: u32, access: Access) -> bool {
        let device = DeviceRule {
            kind,
            major: Some(major),
            minor: Some(minor),
            access,
        };
        let mut matching = self.exceptions.iter().filter(|rule| rule.contains(&device));
        match self.verdict {
            Verdict::Deny => matching.any(|rule| rule.access.covers(access)),
            Verdict::Allow => matching.all(|rule| (rule.access & access).is_none()),
        }
    }
}

/// Absent and -1 are every number.
fn number(number: Option<i64>) -> Result<Option<u32>, &'static str> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err("a device number is 0 to 4294967295, or -1 for all"),
        },
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;

    use super::*;

    fn rule(allow: bool, text: &str) -> LinuxDeviceCgroup {
        let mut words = text.split([' ', ':']);
        let mut word = || words.next().expect("four words");
        let typ = match word() {
            "a" => LinuxDeviceType::A,
            "b" => LinuxDeviceType::B,
            _ => LinuxDeviceType::C,
        };
        LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(typ)
            .major(word().parse::<i64>().unwrap_or(-1))
            .minor(word().parse::<i64>().unwrap_or(-1))
            .access(word())
            .build()
            .expect("a rule")
    }

    #[test]
    fn defaults_are_dockers() {
        let policy = DevicePolicy::from_oci(&default_rules()).expect("the defaults");
        assert_eq!(policy.verdict, Verdict::Deny);
        assert_eq!(policy.exceptions, DEFAULT_DEVICES);
        let rw = Access::READ | Access::WRITE;
        assert!(policy.allows(DeviceKind::Char, 1, 3, rw));
        assert!(policy.allows(DeviceKind::Char, 136, 7, rw));
        assert!(policy.allows(DeviceKind::Block, 8, 0, Access::MKNOD));
        assert!(!policy.allows(DeviceKind::Block, 8, 0, Access::READ));
        assert!(!policy.allows(DeviceKind::Char, 1, 11, Access::READ));
        assert!(!policy.allows(DeviceKind::Block, 1, 3, Access::READ));
    }

    #[test]
    fn the_last_rule_wins() {
        let rules = [
            rule(true, "c 10:229 rwm"),
            rule(false, "c 10:229 w"),
            rule(true, "c 10:200 r"),
            rule(true, "c 10:200 w"),
        ];
        let policy = DevicePolicy::from_oci(&rules).expect("rules");
        let shown: Vec<String> = policy
            .exceptions
            .iter()
            .map(|rule| rule.to_string())
            .collect();
        assert_eq!(shown, ["c 10:229 rm", "c 10:200 rw"]);
        let wide = [rule(true, "c 10:229 rwm"), rule(false, "c 10:* rwm")];
        assert_eq!(DevicePolicy::from_oci(&wide).expect("rules").exceptions, []);
    }

    #[test]
    fn a_rule_for_all_starts_anew() {
        let rules = [
            rule(true, "c 1:3 rwm"),
            rule(true, "a *:* rwm"),
            rule(false, "b 8:* w"),
        ];
        let policy = DevicePolicy::from_oci(&rules).expect("rules");
        assert_eq!(policy.verdict, Verdict::Allow);
        assert!(policy.allows(DeviceKind::Block, 8, 1, Access::READ));
        assert!(!policy.allows(DeviceKind::Block, 8, 1, Access::READ | Access::WRITE));
        assert!(policy.allows(DeviceKind::Char, 8, 1, Access::ALL));
    }

    #[test]
    fn a_rule_for_both_kinds_is_not_a_rule_for_everything() {
        let policy = DevicePolicy::from_oci(&[rule(true, "a 1:3 r")]).expect("rules");
        assert_eq!(policy.verdict, Verdict::Deny);
        assert!(policy.allows(DeviceKind::Block, 1, 3, Access::READ));
        assert!(!policy.allows(DeviceKind::Char, 1, 4, Access::READ));
    }

    #[test]
    fn holes_and_nonsense_are_refused() {
        let hole = [rule(true, "c *:* rwm"), rule(false, "c 10:229 rwm")];
        assert!(DevicePolicy::from_oci(&hole).is_err());
        let beside = [rule(true, "c *:* m"), rule(false, "c 10:229 rw")];
        assert!(DevicePolicy::from_oci(&beside).is_ok());
        for bad in [rule(true, "c 1:3 rx"), rule(true, "c -2:3 r")] {
            assert!(DevicePolicy::from_oci(&[bad]).is_err());
        }
    }
}
