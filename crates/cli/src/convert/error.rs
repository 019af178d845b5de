//! Why an argument's text has no meaning: [`ArgumentError`].

use gamut_engine::storage_options::StorageOptionError;
use gamut_plan::egress::EgressError;
use gamut_spec::{Fault, Kind};

/// One argument that cannot be meant. The message names the text; the hint shows what can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("`{text}` is no secret")]
    Secret { text: String },
    #[error("there is no variable `{name}` in the environment")]
    NoVariable { name: String },
    #[error("`{text}` is no storage driver")]
    StorageDriver { text: String },
    #[error(transparent)]
    StorageOption(StorageOptionError),
    #[error(transparent)]
    Egress(EgressError),
    #[error("`{text}` is not a size")]
    Size { text: String },
    #[error("a memory limit of `{text}` is below the {minimum} bytes that any process needs")]
    MemoryTooSmall { text: String, minimum: u64 },
    #[error("`{text}` is not a number of CPUs")]
    Cpus { text: String },
    #[error("`{text}` is not a list of numbers such as `0-3,5`")]
    NumberSet { text: String },
    #[error("`{number}` in `{text}` is beyond the largest that Linux knows, {maximum}")]
    NumberSetTooLarge {
        text: String,
        number: u64,
        maximum: u32,
    },
    #[error("`{text}` is not a rule for devices")]
    DeviceRule { text: String },
    #[error("`{text}` is not a file mode creation mask")]
    Umask { text: String },
    #[error("`{text}` is not a limit of huge pages")]
    HugePages { text: String },
    #[error("`{text}` names no container's volumes")]
    VolumesFrom { text: String },
    #[error("`{text}` is not a time zone")]
    Timezone { text: String },
    #[error("`{text}` is not a duration")]
    Duration { text: String },
    #[error("`{flag}` is too short")]
    HealthTime { flag: &'static str },
    #[error("`{text}` is neither a time nor a duration")]
    Moment { text: String },
    #[error("`{text}` is not a number of lines")]
    Tail { text: String },
    #[error("`{text}` is not a stop timeout")]
    StopTimeout { text: String },
    #[error("`{text}` is not an offset of a clock")]
    TimeOffset { text: String },
    #[error("`{text}` is not a signal")]
    Signal { text: String },
    #[error("`{key}` in `{text}` is not a key")]
    DetachKey { text: String, key: String },
    #[error("the variable `{text}` has no name")]
    EnvName { text: String },
    #[error("`{text}` holds a NUL byte")]
    Nul { text: String },
    #[error("line {line}: the variable name `{name}` contains white space")]
    EnvFileName { line: usize, name: String },
    #[error("line {line}: no variable name before the `=`")]
    EnvFileNoName { line: usize },
    #[error("the label `{text}` has no key")]
    Label { text: String },
    #[error("`{text}` is not a kernel setting `name=value`")]
    Sysctl { text: String },
    #[error("`{text}` is not `user[:group]`")]
    User { text: String },
    #[error("`{text}` is not a user or group id below 4294967295")]
    Id { text: String },
    #[error("`{text}` is not a capability")]
    Capability { text: String },
    #[error("device `{text}`: {problem}")]
    Device {
        text: String,
        problem: DeviceProblem,
    },
    #[error("ulimit `{text}`: {problem}")]
    Ulimit {
        text: String,
        problem: UlimitProblem,
    },
    #[error("`{text}` is not `/dev/DEVICE:RATE`")]
    Throttle { text: String },
    #[error("`{text}` is not `/dev/DEVICE:WEIGHT` with a weight from 10 to 1000")]
    DeviceWeight { text: String },
    #[error("port `{text}`: {problem}")]
    Port { text: String, problem: PortProblem },
    #[error("`{text}` is not an IP address")]
    Address { text: String },
    #[error("`{text}` is not a subnet: {reason}")]
    Subnet { text: String, reason: String },
    #[error("`{text}` cannot be asked for as a name")]
    Alias { text: String },
    #[error("`{text}` is not `NAME=ADDRESS`")]
    AuxAddress { text: String },
    #[error("`{text}` is not `HOST:ADDRESS`")]
    ExtraHost { text: String },
    #[error("`{text}` is not a unicast MAC address")]
    Mac { text: String },
    #[error("`{text}` names no network")]
    Network { text: String },
    #[error("`{text}` is not a namespace mode")]
    Sharing { text: String, allowed: &'static str },
    #[error("`{text}` is not a platform")]
    Platform { text: String },
    #[error("`{text}` is not an isolation level")]
    Isolation { text: String },
    #[error("`{text}` is not a security option")]
    SecurityOption { text: String },
    #[error("volume `{text}`: {problem}")]
    Volume { text: String, problem: MountProblem },
    #[error("mount `{text}`: {problem}")]
    Mount { text: String, problem: MountProblem },
    #[error("there is no log driver `{text}`")]
    LogDriver { text: String },
    #[error("`{text}` is not an option of the log driver json-file")]
    LogOption { text: String },
    #[error("`{text}` is not a restart policy")]
    Restart { text: String },
    #[error("a pod cannot share `{name}`")]
    Share { name: String },
    #[error("containers are named in one way: by name or file, --all, --latest or --filter")]
    SeveralWays,
    #[error("credentials without a name")]
    Credentials,
    #[error("no command for the container")]
    NoCommand,
    #[error("there is no container")]
    NoLatest,
    #[error("`{text}` is not a filter `key=value`")]
    Filter { text: String },
    #[error("unknown filter `{key}`")]
    FilterKey { key: String, allowed: String },
}

/// What is wrong with a `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceProblem {
    #[error("the path must be absolute")]
    Relative,
    #[error("the access must be made of `r`, `w` and `m`, each at most once")]
    Access,
    #[error("too many `:`")]
    Parts,
}

/// What is wrong with a `--ulimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UlimitProblem {
    #[error("no `=` and no value")]
    NoValue,
    #[error("unknown resource")]
    Resource,
    #[error("the limits must be numbers, or -1 for none")]
    Value,
    #[error("the soft limit is above the hard one")]
    SoftAboveHard,
}

/// What is wrong with a `-p` or `--expose`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortProblem {
    #[error("a port is a number from 1 to 65535")]
    Number,
    #[error("a range must rise")]
    Range,
    #[error("the ranges differ in length")]
    Lengths,
    #[error("the protocol must be tcp, udp or sctp")]
    Protocol,
    #[error("the host's address must be an IP address; IPv6 stands in brackets")]
    HostAddress,
    #[error("no container port")]
    NoContainerPort,
}

/// What is wrong with a `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountProblem {
    #[error("the path inside must be absolute")]
    TargetRelative,
    #[error("the path inside must not be `/`")]
    TargetRoot,
    #[error("no path inside")]
    NoTarget,
    #[error("no source")]
    NoSource,
    #[error("too many `:`")]
    Parts,
    #[error("`{0}` is not a volume name")]
    VolumeName(String),
    #[error("unknown option `{0}`")]
    Option(String),
    #[error("the option `{0}` needs a value")]
    OptionValue(String),
    #[error("`{value}` is not a value of `{option}`")]
    BadValue { option: String, value: String },
    #[error("the options `{0}` and `{1}` exclude each other")]
    Exclusive(String, String),
    #[error("the option `{option}` does not go with `type={kind}`")]
    WrongType { option: String, kind: &'static str },
    #[error("`{option}` needs `{other}`")]
    Needs {
        option: &'static str,
        other: &'static str,
    },
    #[error("the type `{0}` is not there")]
    Type(String),
    #[error("an unfinished quotation")]
    Quotation,
}

impl Fault for ArgumentError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Size { .. } => {
                "write a number with an optional unit b, k, m, g, t or p, such as `512m` or `1.5g`"
            }
            Self::MemoryTooSmall { .. } => "Docker's minimum is `6m`",
            Self::Cpus { .. } => "write a decimal of at least 0.01, such as `1.5`",
            Self::Duration { .. } => "write numbers with units, such as `10s`, `1m30s` or `250ms`",
            Self::HealthTime { .. } => "the least is 1ms; 0 leaves it as it is",
            Self::Moment { .. } => {
                "write a duration such as `10m`, a time such as `2026-01-31T15:04:05Z`, \
                 or seconds since the epoch"
            }
            Self::Tail { .. } => "write a number, or `all`",
            Self::StopTimeout { .. } => "write whole seconds; -1 waits for ever",
            Self::TimeOffset { .. } => {
                "write `monotonic=+1h`, `boottime=-90s` or both with a comma"
            }
            Self::Signal { .. } => "write a name such as `TERM` or a number from 1 to 64",
            Self::DetachKey { .. } => {
                "write keys with commas between: a letter, or `ctrl-` and one of a-z @ [ \\ ] ^ _"
            }
            Self::Sysctl { .. } => "write it as `net.ipv4.ip_forward=1`",
            Self::Capability { .. } => "write a name such as `NET_ADMIN`, or `ALL`",
            Self::Device {
                problem: DeviceProblem::Relative,
                ..
            } => "write it as `/dev/HOST[:/dev/INSIDE][:rwm]`",
            Self::VolumesFrom { .. } => "write it as `CONTAINER` or `CONTAINER:ro`",
            Self::Timezone { .. } => "write it as `Europe/Rome`, or `local`",
            Self::DeviceRule { .. } => "write it as `c 13:* rwm`",
            Self::Umask { .. } => "write it in octal, such as `0027`",
            Self::HugePages { .. } => {
                "write it as `2MB=64m`, with a page size such as 64KB, 2MB or 1GB"
            }
            Self::Ulimit { .. } => "write it as `nofile=1024:2048`",
            Self::Port { .. } => "write it as `[ADDRESS:][HOSTPORT:]PORT[/udp]`",
            Self::Subnet { .. } => "write it as `10.1.0.0/16` or `fd12:3456:789a::/64`",
            Self::Alias { .. } => "a name has letters, digits, `-`, `_` and single dots",
            Self::AuxAddress { .. } => "write it as `router=10.1.0.7`",
            Self::ExtraHost { .. } => "write it as `db:10.0.0.5`, or `host:host-gateway`",
            Self::Mac { .. } => "write it as `02:42:ac:11:00:02`",
            Self::Sharing { allowed, .. } => return Some(format!("it can be {allowed}")),
            Self::Platform { .. } => "write it as `linux/amd64` or `linux/arm64/v8`",
            Self::Isolation { .. } => "it can be container, sandbox, microvm, vm, auto or default",
            Self::SecurityOption { .. } => {
                "it can be no-new-privileges, seccomp=unconfined, seccomp=FILE, \
                 systempaths=unconfined, mask=PATH or unmask=PATH"
            }
            Self::Secret { .. } => {
                "write NAME, or NAME,type=mount,target=PATH,uid=N,gid=N,mode=0400, or \
                 NAME,type=env,target=VARIABLE"
            }
            Self::NoVariable { .. } => "name a variable that is set, or leave `--env` out",
            Self::StorageDriver { .. } => "it can be erofs, overlay or copy",
            Self::StorageOption(error) => return error.hint(),
            Self::Egress(EgressError::Mixed) => "leave `allow`, or the others, out",
            Self::Egress(EgressError::Many) => "allow a network of addresses instead of each",
            Self::Egress(_) => {
                "deny, allow=example.org:443, allow=192.0.2.0/24, allow=[2001:db8::1]:53/udp"
            }
            Self::LogDriver { .. } => "it can be json-file, local, syslog, journald or none",
            Self::LogOption { .. } => {
                "see `gamut run --help`, or docs/logs.md, for the options of each driver"
            }
            Self::Share { .. } => "it can share cgroup, ipc, net, pid and uts, or none",
            Self::Restart { .. } => "it can be no, on-failure[:COUNT], always or unless-stopped",
            Self::Volume { problem, .. } | Self::Mount { problem, .. } => {
                return problem.hint(matches!(self, Self::Mount { .. }));
            }
            Self::Credentials => "write them as `NAME:PASSWORD`",
            Self::NoCommand => {
                "write it behind the container: `gamut exec CONTAINER COMMAND [ARG...]`"
            }
            Self::FilterKey { allowed, .. } => return Some(format!("it can be {allowed}")),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl MountProblem {
    fn hint(&self, long_form: bool) -> Option<String> {
        let text = match self {
            Self::VolumeName(name) if name.contains('/') => {
                return Some(format!(
                    "for a directory of the host write its absolute path, or `./{name}`"
                ));
            }
            Self::VolumeName(_) => {
                "a volume name has letters, digits, `_`, `.` and `-`, and starts with one of the \
                 first two"
            }
            Self::Type(_) => "it can be bind, volume or tmpfs",
            Self::NoTarget | Self::NoSource if long_form => {
                "write it as `type=bind,source=/host/path,target=/path`"
            }
            Self::Option(_) if !long_form => {
                "it can be ro, rw, z, Z, nocopy, private, rprivate, slave, rslave, shared or rshared"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}
