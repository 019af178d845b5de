//! The controllers this room knows, and sets of them.

use serde::{Deserialize, Serialize};

/// A resource controller. `Freezer` and `Devices` are controllers on v1 only; on v2 the core has
/// `cgroup.freeze`, and device access is an eBPF program. `Cpuacct` is part of v2's `cpu.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Controller {
    Cpu,
    Cpuacct,
    Cpuset,
    Memory,
    Devices,
    Freezer,
    /// `blkio` on v1, `io` on v2.
    Block,
    Pids,
    Hugetlb,
    NetCls,
    NetPrio,
    Rdma,
}

impl Controller {
    /// Every controller, in the order in which they are looked at.
    pub const ALL: [Self; 12] = [
        Self::Cpu,
        Self::Cpuacct,
        Self::Cpuset,
        Self::Memory,
        Self::Devices,
        Self::Freezer,
        Self::Block,
        Self::Pids,
        Self::Hugetlb,
        Self::NetCls,
        Self::NetPrio,
        Self::Rdma,
    ];

    /// Its name in v1 mount options and `/proc/<pid>/cgroup`.
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::Block => "blkio",
            Self::Pids => "pids",
            Self::Hugetlb => "hugetlb",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::Rdma => "rdma",
        }
    }

    /// Its name in v2's `cgroup.controllers`; `None`: not a controller there.
    pub fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::Cpu | Self::Cpuset | Self::Memory | Self::Pids | Self::Hugetlb | Self::Rdma => {
                Some(self.v1_name())
            }
            Self::Block => Some("io"),
            Self::Cpuacct | Self::Devices | Self::Freezer | Self::NetCls | Self::NetPrio => None,
        }
    }

    /// Whether every v2 group does this without a controller being enabled.
    pub fn in_v2_core(self) -> bool {
        matches!(self, Self::Cpuacct | Self::Devices | Self::Freezer)
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.v1_name())
    }
}

/// A set of controllers. Serialised as a list of names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Controller>", into = "Vec<Controller>")]
pub struct ControllerSet(u16);

impl ControllerSet {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// The set of what is listed.
    pub const fn of(list: &[Controller]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < list.len() {
            bits |= 1 << list[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Adds one.
    pub fn insert(&mut self, controller: Controller) {
        self.0 |= 1 << controller as u16;
    }

    /// Whether `controller` is in the set.
    pub fn contains(self, controller: Controller) -> bool {
        self.0 & (1 << controller as u16) != 0
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of [`Controller::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::ALL
            .into_iter()
            .filter(move |&controller| self.contains(controller))
    }

    /// Parses a list of v2 names separated by white space; names we don't know are left out.
    pub fn from_v2_names(text: &str) -> Self {
        let mut set = Self::NONE;
        for word in text.split_ascii_whitespace() {
            let known = Controller::ALL
                .into_iter()
                .find(|controller| controller.v2_name() == Some(word));
            if let Some(controller) = known {
                set.insert(controller);
            }
        }
        set
    }

    /// Parses a comma-separated list of v1 names (mount options); others are left out.
    pub fn from_v1_names(text: &str) -> Self {
        let mut set = Self::NONE;
        for word in text.split(',') {
            let known = Controller::ALL
                .into_iter()
                .find(|controller| controller.v1_name() == word);
            if let Some(controller) = known {
                set.insert(controller);
            }
        }
        set
    }
}

impl std::fmt::Display for ControllerSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, controller) in self.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{controller}")?;
        }
        Ok(())
    }
}

impl From<Vec<Controller>> for ControllerSet {
    fn from(list: Vec<Controller>) -> Self {
        Self::of(&list)
    }
}

impl From<ControllerSet> for Vec<Controller> {
    fn from(set: ControllerSet) -> Self {
        set.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_each_version_writes_them() {
        let v2 = ControllerSet::from_v2_names("cpuset cpu io memory hugetlb pids misc dmem\n");
        assert!(v2.contains(Controller::Block) && v2.contains(Controller::Cpuset));
        assert!(!v2.contains(Controller::Devices));
        let v1 = ControllerSet::from_v1_names("rw,cpu,cpuacct");
        assert_eq!(
            v1,
            ControllerSet::of(&[Controller::Cpu, Controller::Cpuacct])
        );
    }

    #[test]
    fn a_set_survives_json() {
        let set = ControllerSet::of(&[Controller::Memory, Controller::Block]);
        let json = serde_json::to_string(&set).expect("a list of names");
        assert_eq!(json, r#"["memory","block"]"#);
        let back: ControllerSet = serde_json::from_str(&json).expect("what was just written");
        assert_eq!(back, set);
    }
}
