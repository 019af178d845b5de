//! What a workload may reach, and nothing else: [`guard`] puts its links under a policy before they are used,
//! a [`Gate`] lets its resolver add the addresses of the names that are allowed, and [`Denials`] tell what it
//! was kept from. The packet filter's part is in `nft/egress`.

mod denials;
mod gate;

use std::net::IpAddr;

use crate::error::NetworkError;
use crate::nft::Filter;
use crate::publish::Protocol;
use crate::subnet::Prefix;

pub use crate::nft::Guarded;
pub use denials::{Denials, Denied, Transport};
pub use gate::Gate;

/// What may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub to: To,
    /// `None`: every port, by every protocol.
    pub port: Option<(Protocol, u16)>,
}

/// Who may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    Range(Prefix),
    /// In lower case, without a dot at its end.
    Name(String),
}

/// The name of a workload's own table in the packet filter.
pub fn table_of(instance: &str, container_id: &str) -> String {
    format!("{instance}-egress-{container_id}")
}

/// Lets only what is allowed leave these links, which are the host's ends of a workload's. What was arranged under
/// the name before is replaced.
pub fn guard(
    table: &str,
    links: &[Guarded],
    allowed: &[Allowed],
    denials: &Denials,
) -> Result<(), NetworkError> {
    let ranges: Vec<_> = allowed
        .iter()
        .filter_map(|one| match one.to {
            To::Range(range) => Some((range, one.port)),
            To::Name(_) => None,
        })
        .collect();
    Filter::open(table)?.make(links, &ranges, denials.group())
}

/// Takes a workload's table away; none is fine. Its links have gone before, or nobody uses them any more.
pub fn forget(table: &str) -> Result<(), NetworkError> {
    Filter::open(table)?.delete()
}

/// The ids of the containers that an instance has tables of.
pub fn owners(instance: &str) -> Result<Vec<String>, NetworkError> {
    let prefix = table_of(instance, "");
    let tables = Filter::tables()?.into_iter();
    Ok(tables
        .filter_map(|table| table.strip_prefix(&prefix).map(str::to_owned))
        .collect())
}

fn is_within(address: IpAddr, range: &Prefix) -> bool {
    let bits = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    range.overlaps(&Prefix { address, bits })
}
