//! Linux capabilities as data: names and numbers, the set a container starts with, and the
//! arithmetic of `--cap-add` and `--cap-drop`. Pure: nothing here asks the kernel.
//!
//! Source: capabilities(7) and `include/uapi/linux/capability.h`. The container
//! room's seccomp default reads a [`CapSet`] because Docker's default filter opens calls to those who hold the capability.

use std::fmt;
use std::str::FromStr;

use gamut_spec::{Fault, Kind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! capabilities {
    ($($variant:ident = $number:literal $name:literal,)*) => {
        /// One capability; its number is the bit in the kernel's sets.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Capability {
            $(#[doc = $name] $variant = $number,)*
        }

        impl Capability {
            /// Every capability of Linux 6.18, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kernel's name, with its `CAP_` prefix.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

capabilities! {
    Chown = 0 "CAP_CHOWN",
    DacOverride = 1 "CAP_DAC_OVERRIDE",
    DacReadSearch = 2 "CAP_DAC_READ_SEARCH",
    Fowner = 3 "CAP_FOWNER",
    Fsetid = 4 "CAP_FSETID",
    Kill = 5 "CAP_KILL",
    Setgid = 6 "CAP_SETGID",
    Setuid = 7 "CAP_SETUID",
    Setpcap = 8 "CAP_SETPCAP",
    LinuxImmutable = 9 "CAP_LINUX_IMMUTABLE",
    NetBindService = 10 "CAP_NET_BIND_SERVICE",
    NetBroadcast = 11 "CAP_NET_BROADCAST",
    NetAdmin = 12 "CAP_NET_ADMIN",
    NetRaw = 13 "CAP_NET_RAW",
    IpcLock = 14 "CAP_IPC_LOCK",
    IpcOwner = 15 "CAP_IPC_OWNER",
    SysModule = 16 "CAP_SYS_MODULE",
    SysRawio = 17 "CAP_SYS_RAWIO",
    SysChroot = 18 "CAP_SYS_CHROOT",
    SysPtrace = 19 "CAP_SYS_PTRACE",
    SysPacct = 20 "CAP_SYS_PACCT",
    SysAdmin = 21 "CAP_SYS_ADMIN",
    SysBoot = 22 "CAP_SYS_BOOT",
    SysNice = 23 "CAP_SYS_NICE",
    SysResource = 24 "CAP_SYS_RESOURCE",
    SysTime = 25 "CAP_SYS_TIME",
    SysTtyConfig = 26 "CAP_SYS_TTY_CONFIG",
    Mknod = 27 "CAP_MKNOD",
    Lease = 28 "CAP_LEASE",
    AuditWrite = 29 "CAP_AUDIT_WRITE",
    AuditControl = 30 "CAP_AUDIT_CONTROL",
    Setfcap = 31 "CAP_SETFCAP",
    MacOverride = 32 "CAP_MAC_OVERRIDE",
    MacAdmin = 33 "CAP_MAC_ADMIN",
    Syslog = 34 "CAP_SYSLOG",
    WakeAlarm = 35 "CAP_WAKE_ALARM",
    BlockSuspend = 36 "CAP_BLOCK_SUSPEND",
    AuditRead = 37 "CAP_AUDIT_READ",
    Perfmon = 38 "CAP_PERFMON",
    Bpf = 39 "CAP_BPF",
    CheckpointRestore = 40 "CAP_CHECKPOINT_RESTORE",
}

impl Capability {
    /// The bit's number in the kernel's sets (0 to 40).
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with a list of capabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapsError {
    /// No capability has this name.
    #[error("unknown capability `{0}`")]
    Unknown(String),
}

impl Fault for CapsError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("capabilities(7) lists the names; write `NET_ADMIN`, `CAP_NET_ADMIN` or `ALL`".into())
    }
}

impl FromStr for Capability {
    type Err = CapsError;

    /// Any case, with or without `CAP_`, as Docker takes it.
    fn from_str(text: &str) -> Result<Self, CapsError> {
        let bare = strip_prefix(text.trim());
        Self::ALL
            .iter()
            .copied()
            .find(|capability| {
                // Every name in the table begins with `CAP_`.
                let name = capability.name().get(4..).unwrap_or_default();
                name.eq_ignore_ascii_case(bare)
            })
            .ok_or_else(|| CapsError::Unknown(text.to_owned()))
    }
}

/// `CAP_X` or `cap_x` without its first four letters; anything else unchanged.
fn strip_prefix(name: &str) -> &str {
    match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    }
}

/// A set of capabilities, in the kernel's bit order. In JSON: the list of the names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// Every capability that this version knows.
    pub const ALL: Self = Self((1 << Capability::ALL.len()) - 1);

    /// The fourteen that Docker leaves to a container's root.
    pub const DOCKER_DEFAULT: Self = Self::of(&[
        Capability::Chown,
        Capability::DacOverride,
        Capability::Fsetid,
        Capability::Fowner,
        Capability::Mknod,
        Capability::NetRaw,
        Capability::Setgid,
        Capability::Setuid,
        Capability::Setfcap,
        Capability::Setpcap,
        Capability::NetBindService,
        Capability::SysChroot,
        Capability::Kill,
        Capability::AuditWrite,
    ]);

    /// The set of these.
    #[must_use]
    pub const fn of(capabilities: &[Capability]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < capabilities.len() {
            bits |= 1 << capabilities[at].number();
            at += 1;
        }
        Self(bits)
    }

    /// From the kernel's bits; bits that name no capability we know are dropped.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The kernel's bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the set has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether `capability` is in it.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.number()) != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without what is in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Its members, by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .iter()
            .copied()
            .filter(move |capability| self.contains(*capability))
    }

    /// `--cap-add` and `--cap-drop` applied to this set, with Docker's precedence: adding `ALL`
    /// starts from everything less the drops; else dropping `ALL` leaves exactly what is added;
    /// else drops go first, so a capability both dropped and added stays.
    ///
    /// # Errors
    /// [`CapsError::Unknown`] with the first name that is no capability.
    pub fn adjusted<S: AsRef<str>>(self, add: &[S], drop: &[S]) -> Result<Self, CapsError> {
        let add = Listed::parse(add)?;
        let drop = Listed::parse(drop)?;
        Ok(if add.all {
            Self::ALL.difference(drop.named)
        } else if drop.all {
            add.named
        } else {
            self.difference(drop.named).union(add.named)
        })
    }

    /// Splits this set by what the host's own bounding set allows.
    #[must_use]
    pub const fn within(self, host: Self) -> Bounded {
        Bounded {
            granted: self.intersection(host),
            missing: self.difference(host),
        }
    }

    /// The bounding set in the text of `/proc/PID/status` (its line `CapBnd:`, 16 hexadecimal
    /// digits; proc_pid_status(5)).
    #[must_use]
    pub fn bounding_of_status(status: &str) -> Option<Self> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(line.trim(), 16)
            .ok()
            .map(Self::from_bits)
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Capability::name))
            .finish()
    }
}

impl FromIterator<Capability> for CapSet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities
            .into_iter()
            .fold(Self::EMPTY, |set, one| set.union(Self::of(&[one])))
    }
}

impl Serialize for CapSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Capability::name))
    }
}

impl<'de> Deserialize<'de> for CapSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names
            .iter()
            .map(|name| name.parse::<Capability>())
            .collect::<Result<_, _>>()
            .map_err(serde::de::Error::custom)
    }
}

/// One of the two lists of the command line.
struct Listed {
    all: bool,
    named: CapSet,
}

impl Listed {
    fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, CapsError> {
        let mut listed = Self {
            all: false,
            named: CapSet::EMPTY,
        };
        for name in names {
            let name = name.as_ref();
            if strip_prefix(name.trim()).eq_ignore_ascii_case("ALL") {
                listed.all = true;
            } else {
                listed.named = listed.named.union(CapSet::of(&[name.parse()?]));
            }
        }
        Ok(listed)
    }
}

/// A wish for capabilities, measured against what this host may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded {
    /// What the container gets.
    pub granted: CapSet,
    /// What was wanted and the host has not got itself.
    pub missing: CapSet,
}

impl Bounded {
    /// One sentence for each capability that was wanted and can't be given.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.missing
            .iter()
            .map(|one| {
                format!("{one} is not in this host's bounding set; the container runs without it")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [&str; 0] = [];

    #[test]
    fn numbers_are_the_bits() {
        for (at, capability) in Capability::ALL.iter().enumerate() {
            assert_eq!(usize::from(capability.number()), at);
            assert_eq!(capability.name().parse(), Ok(*capability));
        }
        assert_eq!(CapSet::ALL.bits(), 0x1ff_ffff_ffff);
        assert_eq!(CapSet::DOCKER_DEFAULT.bits(), 0xa804_25fb);
        assert_eq!(CapSet::DOCKER_DEFAULT.len(), 14);
    }

    #[test]
    fn names_come_in_any_dress() {
        for text in ["NET_ADMIN", "CAP_NET_ADMIN", "cap_net_admin", " net_admin "] {
            assert_eq!(text.parse(), Ok(Capability::NetAdmin), "{text}");
        }
        for text in ["", "CAP_", "CAP_CAP_KILL", "NETADMIN", "é", "caña"] {
            assert_eq!(
                text.parse::<Capability>(),
                Err(CapsError::Unknown(text.into()))
            );
        }
    }

    #[test]
    fn add_and_drop_follow_docker() {
        let base = CapSet::DOCKER_DEFAULT;
        let kill = CapSet::of(&[Capability::Kill]);
        assert_eq!(base.adjusted(&NOTHING, &NOTHING), Ok(base));
        assert_eq!(
            base.adjusted(&["ALL"], &["KILL"]),
            Ok(CapSet::ALL.difference(kill))
        );
        assert_eq!(base.adjusted(&["cap_kill"], &["all"]), Ok(kill));
        assert_eq!(base.adjusted(&["KILL"], &["KILL"]), Ok(base));
        assert_eq!(base.adjusted(&["ALL"], &["CAP_ALL"]), Ok(CapSet::ALL));
        assert_eq!(
            base.adjusted(&["SYS_ADMIN"], &["CHOWN"]).map(CapSet::len),
            Ok(14)
        );
        assert_eq!(
            base.adjusted(&["SYS_ADMIN", "FLY"], &[]),
            Err(CapsError::Unknown("FLY".into()))
        );
    }

    #[test]
    fn the_host_bounds_the_wish() {
        let status = "Name:\tx\nCapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\n";
        let host = CapSet::bounding_of_status(status).unwrap();
        assert!(!host.contains(Capability::SysResource));
        let bounded = CapSet::ALL.within(host);
        assert_eq!(bounded.granted, host);
        assert_eq!(bounded.warnings().len(), 1);
        assert!(bounded.warnings()[0].starts_with("CAP_SYS_RESOURCE "));
        assert_eq!(CapSet::bounding_of_status("CapBnd: xyz"), None);
    }

    #[test]
    fn json_is_the_list_of_names() {
        let set = CapSet::of(&[Capability::Kill, Capability::Chown]);
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json, r#"["CAP_CHOWN","CAP_KILL"]"#);
        assert_eq!(serde_json::from_str::<CapSet>(&json).unwrap(), set);
        assert!(serde_json::from_str::<CapSet>(r#"["CAP_FLY"]"#).is_err());
    }
}
