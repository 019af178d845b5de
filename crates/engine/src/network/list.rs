//! What networks there are, and who is on them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use gamut_store::db;

use super::{NetworksError, id_of};
use crate::engine::Engine;
use crate::error::EngineError;

/// A network as commands show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    pub id: String,
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: &'static str,
    /// `None` for `host` and `none`.
    pub row: Option<db::Network>,
}

impl NetworkView {
    /// Whether it is there without having been made.
    #[must_use]
    pub fn is_predefined(&self) -> bool {
        super::create::PREDEFINED.contains(&self.name.as_str())
    }

    /// Empty for `host` and `none`.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.row
            .as_ref()
            .map(|row| row.options.labels.clone())
            .unwrap_or_default()
    }

    /// Nanoseconds since the epoch; 0 for what nobody has made.
    #[must_use]
    pub fn created_ns(&self) -> i64 {
        self.row.as_ref().map_or(0, |row| row.options.created_ns)
    }
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub container_id: String,
    pub container_name: String,
    pub mac: String,
    /// With the length of the network's prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    pub ipv6: Option<(Ipv6Addr, u8)>,
    pub is_running: bool,
}

impl Engine {
    /// All networks, by name. The default one is made if it is not there.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn networks(&mut self) -> Result<Vec<NetworkView>, EngineError> {
        self.default_network()?;
        let rows = self.store.db().networks()?;
        let mut views: Vec<NetworkView> = rows.into_iter().map(view_of).collect();
        views.push(self.without_row("host", "host"));
        views.push(self.without_row("none", "null"));
        views.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(views)
    }

    /// A network by its name, its id, or the beginning of its id.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn network(&mut self, named: &str) -> Result<NetworkView, EngineError> {
        choose(self.networks()?, named)
    }

    /// The row of a network by its name, its id, or the beginning of its id.
    pub(crate) fn find_network(&self, named: &str) -> Result<db::Network, EngineError> {
        if let Some(row) = self.store.db().network(named)? {
            return Ok(row);
        }
        let rows = self.store.db().networks()?;
        let view = choose(rows.into_iter().map(view_of).collect(), named)?;
        view.row
            .ok_or_else(|| EngineError::NoNetwork(named.to_owned()))
    }

    /// The containers that have a place on a network, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn members(&self, network: &db::Network) -> Result<Vec<Member>, EngineError> {
        let mut members = Vec::new();
        for lease in self.store.db().leases(&network.name)? {
            // One that goes meanwhile is no member.
            let Some(container) = self.store.db().container_by_id(&lease.container)? else {
                continue;
            };
            let status = self.settle(&container)?;
            members.push(Member {
                container_id: container.id,
                container_name: container.name,
                mac: lease.mac.to_string(),
                ipv4: lease
                    .address4
                    .zip(network.subnet4)
                    .map(|(address, subnet)| (address, subnet.prefix_length)),
                ipv6: lease
                    .address6
                    .zip(network.subnet6)
                    .map(|(address, subnet)| (address, subnet.prefix_length)),
                is_running: status.is_live(),
            });
        }
        members.sort_by(|one, two| one.container_id.cmp(&two.container_id));
        Ok(members)
    }

    /// Networks that are only words have ids all the same.
    fn without_row(&self, name: &str, driver: &'static str) -> NetworkView {
        let words = format!("{} {name}", self.instance().bridge);
        NetworkView {
            id: gamut_store::blob::Blobs::digest(words.as_bytes()).hex(),
            name: name.to_owned(),
            driver,
            row: None,
        }
    }
}

pub(super) fn view_of(row: db::Network) -> NetworkView {
    NetworkView {
        id: id_of(&row),
        name: row.name.clone(),
        driver: "bridge",
        row: Some(row),
    }
}

fn choose(views: Vec<NetworkView>, named: &str) -> Result<NetworkView, EngineError> {
    let by_name = views.iter().position(|view| view.name == named);
    let by_id = || {
        let begins = |view: &NetworkView| !named.is_empty() && view.id.starts_with(named);
        let mut found = views.iter().enumerate().filter(|(_, view)| begins(view));
        let first = found.next().map(|(index, _)| index);
        match found.next() {
            Some(_) => Err(NetworksError::Ambiguous {
                named: named.to_owned(),
            }),
            None => Ok(first),
        }
    };
    let index = match by_name {
        Some(index) => Some(index),
        None => by_id()?,
    };
    index
        .and_then(|index| views.into_iter().nth(index))
        .ok_or_else(|| EngineError::NoNetwork(named.to_owned()))
}
