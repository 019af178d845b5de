//! Resource limits of a process (getrlimit(2)) and its OOM score: reading what the user asks for,
//! and bringing it down to what this host may give, with a warning instead of a failed start.

use gamut_spec::{Fault, Kind};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use rustix::process::Resource;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

/// `RLIM_INFINITY`; the OCI runtime specification uses the same number.
pub const UNLIMITED: u64 = u64::MAX;

/// The least and the most that `oom_score_adj` takes (proc_pid_oom_score_adj(5)).
pub const OOM_SCORE_ADJ_RANGE: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Docker's name of a limit, the OCI type and the kernel's number.
const NAMES: [(&str, PosixRlimitType, Resource); 16] = [
    ("as", PosixRlimitType::RlimitAs, Resource::As),
    ("core", PosixRlimitType::RlimitCore, Resource::Core),
    ("cpu", PosixRlimitType::RlimitCpu, Resource::Cpu),
    ("data", PosixRlimitType::RlimitData, Resource::Data),
    ("fsize", PosixRlimitType::RlimitFsize, Resource::Fsize),
    ("locks", PosixRlimitType::RlimitLocks, Resource::Locks),
    ("memlock", PosixRlimitType::RlimitMemlock, Resource::Memlock),
    (
        "msgqueue",
        PosixRlimitType::RlimitMsgqueue,
        Resource::Msgqueue,
    ),
    ("nice", PosixRlimitType::RlimitNice, Resource::Nice),
    ("nofile", PosixRlimitType::RlimitNofile, Resource::Nofile),
    ("nproc", PosixRlimitType::RlimitNproc, Resource::Nproc),
    ("rss", PosixRlimitType::RlimitRss, Resource::Rss),
    ("rtprio", PosixRlimitType::RlimitRtprio, Resource::Rtprio),
    ("rttime", PosixRlimitType::RlimitRttime, Resource::Rttime),
    (
        "sigpending",
        PosixRlimitType::RlimitSigpending,
        Resource::Sigpending,
    ),
    ("stack", PosixRlimitType::RlimitStack, Resource::Stack),
];

/// An `--ulimit` that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UlimitError {
    #[error("`{text}` is not a ulimit: it must look like NAME=SOFT[:HARD]")]
    Shape { text: String },
    #[error("`{name}` is not the name of a ulimit")]
    Name { name: String },
    #[error("`{value}` in the ulimit `{text}` is neither a number nor -1 nor `unlimited`")]
    Number { text: String, value: String },
    #[error("the soft limit in the ulimit `{text}` is above the hard limit")]
    SoftAboveHard { text: String },
}

impl Fault for UlimitError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => {
                let names: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
                Some(format!("the names are {}", names.join(", ")))
            }
            Self::Shape { .. } => Some("for example `--ulimit nofile=1024:4096`".to_owned()),
            _ => None,
        }
    }
}

/// Reads Docker's `NAME=SOFT[:HARD]`, such as `nofile=1024:4096`. Without a hard limit it is the
/// soft one; -1 and `unlimited` are no limit. Units are those of getrlimit(2).
///
/// # Errors
/// [`UlimitError`].
pub fn parse_ulimit(text: &str) -> Result<PosixRlimit, UlimitError> {
    let shape = || UlimitError::Shape {
        text: text.to_owned(),
    };
    let (name, values) = text.split_once('=').ok_or_else(shape)?;
    let typ = type_of(name).ok_or_else(|| UlimitError::Name {
        name: name.to_owned(),
    })?;
    let (soft, hard) = match values.split_once(':') {
        Some((_, hard)) if hard.contains(':') => return Err(shape()),
        Some(both) => both,
        None => (values, values),
    };
    let (soft, hard) = (number(text, soft)?, number(text, hard)?);
    if soft > hard {
        let text = text.to_owned();
        return Err(UlimitError::SoftAboveHard { text });
    }
    Ok(rlimit(typ, soft, hard))
}

fn number(text: &str, value: &str) -> Result<u64, UlimitError> {
    if value == "-1" || value == "unlimited" {
        return Ok(UNLIMITED);
    }
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits => Ok(number),
        _ => Err(UlimitError::Number {
            text: text.to_owned(),
            value: value.to_owned(),
        }),
    }
}

fn rlimit(typ: PosixRlimitType, soft: u64, hard: u64) -> PosixRlimit {
    // Every field has a default and none a check, so that building cannot fail.
    PosixRlimitBuilder::default()
        .typ(typ)
        .soft(soft)
        .hard(hard)
        .build()
        .expect("a builder without required fields")
}

/// The type with Docker's `name`, which is in lower case.
pub fn type_of(name: &str) -> Option<PosixRlimitType> {
    let known = NAMES.iter().find(|(known, ..)| *known == name);
    known.map(|&(_, typ, _)| typ)
}

/// Docker's name of a type.
pub fn name_of(typ: PosixRlimitType) -> &'static str {
    let known = NAMES.iter().find(|(_, known, _)| *known == typ);
    known.map_or("unknown", |&(name, ..)| name)
}

/// The number that setrlimit(2) and prlimit(2) take.
pub fn resource_of(typ: PosixRlimitType) -> Resource {
    let known = NAMES.iter().find(|(_, known, _)| *known == typ);
    // Every type stands in the table; a test walks it.
    known.map_or(Resource::Cpu, |&(_, _, resource)| resource)
}

/// Whether this process has `CAP_SYS_RESOURCE` over the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// Hard limits may be raised, the OOM score lowered.
    SysResource,
    None,
}

/// What the host may give to a process that this one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLimits {
    pub privilege: Privilege,
    /// The hard limits of this process, in the order of Docker's names.
    hard: Vec<u64>,
    /// `fs.nr_open`: no hard limit of `nofile` may be above it, whoever asks.
    nr_open: u64,
    /// How low `oom_score_adj` may surely go without the privilege. The kernel's own floor
    /// (`oom_score_adj_min`) cannot be read and may be lower.
    oom_score_adj_floor: i32,
}

impl HostLimits {
    /// Reads what holds for this process. What cannot be read counts as the strictest value.
    pub fn read() -> Self {
        let hard = |&(_, _, resource): &(_, _, Resource)| {
            rustix::process::getrlimit(resource)
                .maximum
                .unwrap_or(UNLIMITED)
        };
        Self {
            privilege: privilege(),
            hard: NAMES.iter().map(hard).collect(),
            // The kernel's default (proc_sys_fs(5)).
            nr_open: read_number("/proc/sys/fs/nr_open").unwrap_or(1024 * 1024),
            oom_score_adj_floor: read_number("/proc/self/oom_score_adj").unwrap_or(0),
        }
    }

    /// The highest hard limit that may be given.
    pub fn ceiling(&self, typ: PosixRlimitType) -> u64 {
        let index = NAMES.iter().position(|(_, known, _)| *known == typ);
        let own = index.and_then(|index| self.hard.get(index)).copied();
        let by_privilege = match self.privilege {
            Privilege::SysResource => UNLIMITED,
            Privilege::None => own.unwrap_or(0),
        };
        match typ {
            PosixRlimitType::RlimitNofile => by_privilege.min(self.nr_open),
            _ => by_privilege,
        }
    }

    /// The limit to set for `asked`: the same, or as near as this host may give.
    pub fn clamp(&self, asked: &PosixRlimit) -> (PosixRlimit, Option<LimitWarning>) {
        let ceiling = self.ceiling(asked.typ());
        if asked.hard() <= ceiling {
            return (*asked, None);
        }
        let given = rlimit(asked.typ(), asked.soft().min(ceiling), ceiling);
        let warning = LimitWarning::Ulimit {
            name: name_of(asked.typ()).to_owned(),
            asked: asked.hard(),
            given: ceiling,
        };
        (given, Some(warning))
    }

    /// The OOM score adjustment to set for `asked`.
    pub fn clamp_oom_score_adj(&self, asked: i32) -> (i32, Option<LimitWarning>) {
        let (least, most) = (*OOM_SCORE_ADJ_RANGE.start(), *OOM_SCORE_ADJ_RANGE.end());
        let floor = match self.privilege {
            Privilege::SysResource => least,
            Privilege::None => self.oom_score_adj_floor.clamp(least, most),
        };
        let given = asked.clamp(floor, most);
        let warning = (given != asked).then_some(LimitWarning::OomScoreAdj { asked, given });
        (given, warning)
    }
}

/// Something was asked for that this host may not give; the nearest was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum LimitWarning {
    #[error(
        "ulimit {name} is {} instead of {}: this host may not give more",
        shown(*.given),
        shown(*.asked)
    )]
    Ulimit {
        name: String,
        asked: u64,
        given: u64,
    },
    #[error("the OOM score adjustment is {given} instead of {asked}: this host may not give that")]
    OomScoreAdj { asked: i32, given: i32 },
}

fn shown(limit: u64) -> String {
    match limit {
        UNLIMITED => "unlimited".to_owned(),
        limit => limit.to_string(),
    }
}

/// The kernel asks for the capability in the first user namespace (`capable`, not `ns_capable`).
fn privilege() -> Privilege {
    if crate::privilege::over_host(CapabilitySet::SYS_RESOURCE) {
        Privilege::SysResource
    } else {
        Privilege::None
    }
}

fn read_number<N: std::str::FromStr>(path: &str) -> Option<N> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(privilege: Privilege) -> HostLimits {
        HostLimits {
            privilege,
            hard: vec![5000; NAMES.len()],
            nr_open: 10_000,
            oom_score_adj_floor: -100,
        }
    }

    #[test]
    fn ulimits_are_read_as_docker_reads_them() {
        let table = [
            ("nofile=1024", (1024, 1024)),
            ("nofile=1024:4096", (1024, 4096)),
            ("core=0", (0, 0)),
            ("memlock=-1", (UNLIMITED, UNLIMITED)),
            ("memlock=-1:-1", (UNLIMITED, UNLIMITED)),
            ("nproc=10:unlimited", (10, UNLIMITED)),
        ];
        for (text, expected) in table {
            let limit = parse_ulimit(text).expect(text);
            assert_eq!((limit.soft(), limit.hard()), expected, "{text}");
        }
        let limit = parse_ulimit("rttime=5:6").expect("a ulimit");
        assert_eq!(limit.typ(), PosixRlimitType::RlimitRttime);
    }

    #[test]
    fn nonsense_is_refused_by_its_part() {
        let shape = ["nofile", "nofile:1", "nofile=1:2:3", ""];
        for text in shape {
            let error = parse_ulimit(text).expect_err(text);
            assert!(
                matches!(error, UlimitError::Shape { .. }),
                "{text}: {error}"
            );
        }
        for text in [
            "nofile=",
            "nofile=a",
            "nofile=1:",
            "nofile=-2",
            "nofile=+1",
            "nofile=1k",
        ] {
            let error = parse_ulimit(text).expect_err(text);
            assert!(
                matches!(error, UlimitError::Number { .. }),
                "{text}: {error}"
            );
        }
        for text in ["nofile=2:1", "nofile=-1:5", "nofile=unlimited:5"] {
            let error = parse_ulimit(text).expect_err(text);
            assert!(
                matches!(error, UlimitError::SoftAboveHard { .. }),
                "{text}: {error}"
            );
        }
        let error = parse_ulimit("files=1").expect_err("no such name");
        assert!(error.hint().is_some_and(|hint| hint.contains("nofile")));
    }

    #[test]
    fn names_and_types_belong_together() {
        for (name, typ, resource) in NAMES {
            assert_eq!(type_of(name), Some(typ));
            assert_eq!(name_of(typ), name);
            assert_eq!(resource_of(typ), resource);
            assert_eq!(typ.to_string(), format!("RLIMIT_{}", name.to_uppercase()));
        }
    }

    #[test]
    fn without_the_privilege_the_own_hard_limit_is_the_ceiling() {
        let asked = parse_ulimit("nproc=4000:9000").expect("a ulimit");
        let (given, warning) = host(Privilege::None).clamp(&asked);
        assert_eq!((given.soft(), given.hard()), (4000, 5000));
        let told = warning.expect("a warning").to_string();
        assert!(told.contains("nproc is 5000 instead of 9000"), "{told}");
        assert_eq!(host(Privilege::SysResource).clamp(&asked), (asked, None));
        let within = parse_ulimit("nproc=1:5000").expect("a ulimit");
        assert_eq!(host(Privilege::None).clamp(&within), (within, None));
    }

    #[test]
    fn nofile_stays_below_nr_open_even_with_the_privilege() {
        let asked = parse_ulimit("nofile=-1").expect("a ulimit");
        let (given, warning) = host(Privilege::SysResource).clamp(&asked);
        assert_eq!((given.soft(), given.hard()), (10_000, 10_000));
        assert!(warning.is_some_and(|told| told.to_string().contains("instead of unlimited")));
    }

    #[test]
    fn the_oom_score_goes_no_lower_than_it_may() {
        assert_eq!(host(Privilege::None).clamp_oom_score_adj(500), (500, None));
        assert_eq!(
            host(Privilege::None).clamp_oom_score_adj(-100),
            (-100, None)
        );
        assert_eq!(host(Privilege::None).clamp_oom_score_adj(-500).0, -100);
        assert_eq!(
            host(Privilege::SysResource).clamp_oom_score_adj(-1000),
            (-1000, None)
        );
        assert_eq!(
            host(Privilege::SysResource).clamp_oom_score_adj(5000).0,
            1000
        );
    }

    #[test]
    fn what_is_read_here_can_be_given_here() {
        let host = HostLimits::read();
        for (name, typ, resource) in NAMES {
            let own = rustix::process::getrlimit(resource);
            let hard = own.maximum.unwrap_or(UNLIMITED);
            let asked = rlimit(typ, hard, hard);
            if typ != PosixRlimitType::RlimitNofile {
                assert_eq!(host.clamp(&asked), (asked, None), "{name}");
            }
            let (given, _) = host.clamp(&rlimit(typ, UNLIMITED, UNLIMITED));
            if host.privilege == Privilege::None {
                assert!(given.hard() <= hard, "{name}");
            }
        }
    }
}
