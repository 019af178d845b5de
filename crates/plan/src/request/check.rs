//! Wishes that exclude each other. Pure: what the host can do is not asked here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gamut_spec::{Fault, Kind};

use super::{
    AfterExit, Bound, Isolation, Level, NetworkMode, OnUnhealthy, RestartPolicy, RunRequest,
    Sharing,
};

/// Two parts of a request that cannot both be meant, or one that cannot be meant at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("`{0}` is not a container name")]
    Name(String),
    #[error("`{0}` is not a host name of at most 64 characters")]
    Hostname(String),
    #[error("the working directory `{0}` is not an absolute path")]
    WorkingDir(String),
    #[error("a limit of memory and swap needs a limit of memory")]
    SwapWithoutMemory,
    #[error("the limit of memory and swap ({swap} bytes) is below that of memory ({memory} bytes)")]
    SwapBelowMemory { swap: u64, memory: u64 },
    #[error("the memory reservation ({reservation} bytes) is above the limit ({memory} bytes)")]
    ReservationAboveMemory { reservation: u64, memory: u64 },
    #[error("a container that `--rm` removes when it ends cannot have the restart policy `{0}`")]
    RemovedAndRestarted(&'static str),
    #[error("two mounts at `{0}`")]
    MountTwice(PathBuf),
    #[error("{what} cannot be chosen in a shared {namespace} namespace")]
    Shared {
        what: &'static str,
        namespace: &'static str,
    },
    #[error("an egress policy needs a network of the container's own, on a bridge")]
    Egress,
    #[error("the isolation level `{wanted}` is below the floor `{floor}`")]
    BelowFloor { wanted: Level, floor: Level },
}

impl Fault for RequestError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Name(_) => {
                "at least two of letters, digits, `_`, `.` and `-`, the first a letter or digit"
            }
            Self::SwapWithoutMemory => "add `--memory`",
            Self::SwapBelowMemory { .. } => {
                "`--memory-swap` is memory and swap together; -1 means as much swap as there is"
            }
            Self::Egress => {
                "name a bridge network, or none; `--network none` reaches nothing anyway"
            }
            Self::Shared { .. } => "choose it where the namespace is made",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Docker's names of containers, networks and volumes: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

impl RunRequest {
    /// Looks for wishes that exclude each other.
    pub fn check(&self) -> Result<(), RequestError> {
        self.check_names()?;
        self.check_memory()?;
        self.check_sharing()?;
        if self.after_exit == AfterExit::Remove {
            if self.restart != RestartPolicy::No {
                return Err(RequestError::RemovedAndRestarted(self.restart.name()));
            }
            if self.health.on_failure == OnUnhealthy::Restart {
                return Err(RequestError::RemovedAndRestarted("on-unhealthy"));
            }
        }
        let mut targets = BTreeSet::new();
        for mount in &self.storage.mounts {
            if !targets.insert(&mount.target) {
                return Err(RequestError::MountTwice(mount.target.clone()));
            }
        }
        match (self.isolation, self.min_isolation) {
            (Isolation::Level(wanted), Some(floor)) if wanted < floor => {
                Err(RequestError::BelowFloor { wanted, floor })
            }
            _ => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), RequestError> {
        if let Some(name) = &self.name
            && !(name.len() >= 2 && is_name(name))
        {
            return Err(RequestError::Name(name.clone()));
        }
        // sethostname(2): at most 64 bytes.
        if let Some(name) = &self.namespaces.hostname
            && !((1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(RequestError::Hostname(name.clone()));
        }
        match &self.process.working_dir {
            Some(path) if !path.starts_with('/') => Err(RequestError::WorkingDir(path.clone())),
            _ => Ok(()),
        }
    }

    fn check_memory(&self) -> Result<(), RequestError> {
        let limits = &self.limits;
        if let Some(Bound::At(swap)) = limits.memory_and_swap_bytes {
            let memory = limits.memory_bytes.ok_or(RequestError::SwapWithoutMemory)?;
            if swap < memory {
                return Err(RequestError::SwapBelowMemory { swap, memory });
            }
        }
        match (limits.memory_reservation_bytes, limits.memory_bytes) {
            (Some(reservation), Some(memory)) if reservation > memory => {
                Err(RequestError::ReservationAboveMemory {
                    reservation,
                    memory,
                })
            }
            _ => Ok(()),
        }
    }

    fn check_sharing(&self) -> Result<(), RequestError> {
        let shared = |what, namespace| Err(RequestError::Shared { what, namespace });
        let network = &self.network;
        let hostname = self.namespaces.hostname.is_some();
        if hostname && !matches!(self.namespaces.uts, None | Some(Sharing::Private)) {
            return shared("a host name", "UTS");
        }
        let is_bridged = matches!(network.mode, NetworkMode::Default | NetworkMode::Named(_));
        if network.egress.is_some() && !is_bridged {
            return Err(RequestError::Egress);
        }
        if network.mode == NetworkMode::Host && network.mac_address.is_some() {
            return shared("a MAC address", "network");
        }
        if !matches!(
            network.mode,
            NetworkMode::Container(_) | NetworkMode::Namespace(_)
        ) {
            return Ok(());
        }
        let dns = !network.dns_servers.is_empty()
            || !network.dns_search.is_empty()
            || !network.dns_options.is_empty();
        let is_container = matches!(network.mode, NetworkMode::Container(_));
        let chosen = [
            (hostname && is_container, "a host name"),
            (
                !network.publish.is_empty() || network.publish_all,
                "a published port",
            ),
            (!network.expose.is_empty(), "an exposed port"),
            (network.mac_address.is_some(), "a MAC address"),
            (
                network.ipv4.is_some() || network.ipv6.is_some(),
                "an IP address",
            ),
            (dns && is_container, "a DNS setting"),
            (
                !network.extra_hosts.is_empty() && is_container,
                "an extra host",
            ),
        ];
        match chosen.into_iter().find(|(chosen, _)| *chosen) {
            Some((_, what)) => shared(what, "network"),
            None => Ok(()),
        }
    }
}
