//! Why the host's network could not be arranged.

use gamut_spec::{Fault, Kind};
use gamut_sys::netlink;
use rustix::io::Errno;

/// A step on links, addresses, routes, packet filters or the host's settings that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cannot reach the kernel's network settings: {0}")]
    Netlink(#[source] netlink::Error),
    #[error("cannot create the bridge `{name}`: {source}")]
    Bridge {
        name: String,
        source: netlink::Error,
    },
    #[error("the bridge `{0}` is gone")]
    NoBridge(String),
    #[error("cannot create the link `{name}`: {source}")]
    Link {
        name: String,
        source: netlink::Error,
    },
    #[error("cannot remove the link `{name}`: {source}")]
    Remove {
        name: String,
        source: netlink::Error,
    },
    #[error("cannot set up `{object}` inside the container's network namespace: {source}")]
    Inside {
        object: String,
        source: netlink::Error,
    },
    #[error("cannot list {object}: {source}")]
    List {
        object: &'static str,
        source: netlink::Error,
    },
    #[error("cannot enter the network namespace: {0}")]
    Enter(#[source] Errno),
    #[error("cannot return from the container's network namespace: {0}")]
    Return(#[source] Errno),
    #[error("cannot arrange the packet filter's table `{table}`: {source}")]
    Table {
        table: String,
        source: netlink::Error,
    },
    #[error("the packet filter's table `{0}` changes too often to be edited")]
    Contended(String),
    #[error("cannot publish ports in the packet filter's table `{table}`: {source}")]
    Publish {
        table: String,
        source: netlink::Error,
    },
    #[error("cannot set up the egress policy in the packet filter's table `{table}`: {source}")]
    Egress {
        table: String,
        source: netlink::Error,
    },
    #[error("cannot listen to what the egress policy denies: {0}")]
    Denials(#[source] netlink::Error),
    #[error("cannot make the resolver of the network's names: {0}")]
    Resolver(#[source] Errno),
    #[error("cannot forget old connections: {0}")]
    Conntrack(#[source] netlink::Error),
    #[error("cannot set `{path}` to {value}: {source}")]
    Sysctl {
        path: String,
        value: String,
        source: Errno,
    },
}

impl NetworkError {
    fn errno(&self) -> Option<Errno> {
        match self {
            NetworkError::Netlink(source)
            | NetworkError::Conntrack(source)
            | NetworkError::Denials(source)
            | NetworkError::Egress { source, .. }
            | NetworkError::Bridge { source, .. }
            | NetworkError::Link { source, .. }
            | NetworkError::Remove { source, .. }
            | NetworkError::Inside { source, .. }
            | NetworkError::List { source, .. }
            | NetworkError::Table { source, .. }
            | NetworkError::Publish { source, .. } => source.errno(),
            NetworkError::Enter(errno)
            | NetworkError::Return(errno)
            | NetworkError::Resolver(errno) => Some(*errno),
            NetworkError::Sysctl { source, .. } => Some(*source),
            NetworkError::NoBridge(_) | NetworkError::Contended(_) => None,
        }
    }

    fn is_of_filter(&self) -> bool {
        matches!(
            self,
            NetworkError::Table { .. } | NetworkError::Publish { .. }
        )
    }

    fn is_of_egress(&self) -> bool {
        matches!(self, NetworkError::Egress { .. } | NetworkError::Denials(_))
    }
}

impl Fault for NetworkError {
    fn kind(&self) -> Kind {
        match self {
            NetworkError::NoBridge(_) => return Kind::NotFound,
            NetworkError::Contended(_) => return Kind::Unavailable,
            _ => {}
        }
        match self.errno() {
            Some(Errno::INVAL | Errno::NOENT | Errno::OPNOTSUPP) if self.is_of_egress() => {
                Kind::HostLacks
            }
            Some(Errno::PERM | Errno::ACCESS) => Kind::Denied,
            Some(Errno::ROFS) => Kind::HostLacks,
            Some(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => Kind::HostLacks,
            Some(Errno::NOENT) if self.is_of_filter() => Kind::HostLacks,
            Some(Errno::EXIST | Errno::BUSY) => Kind::Conflict,
            Some(Errno::NOMEM | Errno::NOBUFS | Errno::MFILE | Errno::NFILE) => Kind::Unavailable,
            _ => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match (self.kind(), self) {
            (Kind::Denied, _) => {
                "networks on a bridge need root (CAP_NET_ADMIN); `--network none` and \
                 `--network host` do not"
            }
            (Kind::HostLacks, NetworkError::Sysctl { .. }) => {
                "/proc/sys is read-only here: set the value on the host"
            }
            (Kind::HostLacks, _) if self.is_of_egress() => {
                "an egress policy needs Linux 5.16 or newer, with nf_tables for links \
                 (`NF_TABLES_NETDEV`, `NETFILTER_INGRESS`, `NETFILTER_EGRESS`) and `nfnetlink_log`"
            }
            (Kind::HostLacks, _) if self.is_of_filter() => {
                "the kernel needs nf_tables with NAT: load the modules `nf_tables`, `nft_nat`, \
                 `nft_masq`, `nft_ct` and `nft_fib_inet`"
            }
            (Kind::HostLacks, _) => "the kernel needs the modules `bridge` and `veth`",
            (Kind::Unavailable, NetworkError::Contended(_)) => "try again",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
