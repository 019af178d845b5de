//! What can go wrong with systemd.

use gamut_spec::{Fault, Kind};
use thiserror::Error;

use super::Bus;

/// Why systemd did not do what was asked, or was not asked.
#[derive(Debug, Error)]
pub enum SystemdError {
    #[error("systemd does not run this host: there is no /run/systemd/system")]
    NotBooted,
    #[error("{} is not there: {tried}", .bus.name())]
    NoBus {
        bus: Bus,
        /// The addresses, and what each gave.
        tried: String,
    },
    #[error("cannot speak with systemd over {address}: {source}")]
    Connection {
        address: String,
        source: std::io::Error,
    },
    #[error("{address} does not let us in: {answer}")]
    Authentication { address: String, answer: String },
    #[error("systemd's message cannot be read: {problem}")]
    Garbled { problem: &'static str },
    #[error("systemd cannot {act} {unit}: {reason}")]
    Refused {
        act: &'static str,
        unit: String,
        /// Of the error, such as `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        reason: String,
    },
    #[error("systemd was to {act} {unit}, and its job ended as `{result}`")]
    Job {
        act: &'static str,
        unit: String,
        result: String,
    },
    #[error(
        "cgroupsPath `{0}` is not of the form slice:prefix:name, as the systemd driver wants it"
    )]
    Path(String),
    #[error("`{0}` is no name of a slice")]
    Slice(String),
    #[error("the annotation {name} has the value `{value}`: {problem}")]
    Annotation {
        name: String,
        value: String,
        problem: &'static str,
    },
}

impl SystemdError {
    /// Whether systemd does not know the unit.
    pub(super) fn is_unknown_unit(&self) -> bool {
        matches!(self, SystemdError::Refused { name, .. } if name == "org.freedesktop.systemd1.NoSuchUnit")
    }

    /// Whether a unit of the name is there already.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, SystemdError::Refused { name, .. } if name == "org.freedesktop.systemd1.UnitExists")
    }
}

impl Fault for SystemdError {
    fn kind(&self) -> Kind {
        match self {
            SystemdError::NotBooted | SystemdError::NoBus { .. } => Kind::HostLacks,
            SystemdError::Authentication { .. } => Kind::Denied,
            SystemdError::Path(_) | SystemdError::Slice(_) | SystemdError::Annotation { .. } => {
                Kind::Invalid
            }
            error if error.is_taken() => Kind::Conflict,
            _ => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            SystemdError::NotBooted => {
                "leave --systemd-cgroup out, and have the engine use the cgroupfs driver"
            }
            SystemdError::NoBus {
                bus: Bus::System, ..
            } => "start dbus, or leave --systemd-cgroup out",
            SystemdError::NoBus { bus: Bus::User, .. } => {
                "log in with a session (dbus-user-session, loginctl enable-linger), and set \
                 XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS"
            }
            SystemdError::Path(_) => "for example system.slice:gamut:web",
            SystemdError::Slice(_) => {
                "it ends in .slice and has no slash: user-1000.slice is below user.slice"
            }
            SystemdError::Annotation { .. } => {
                "it is in GVariant's text form: true, 'text', uint64 5, ['a.service']"
            }
            error if error.is_taken() => "choose another name in cgroupsPath, or stop the unit",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
