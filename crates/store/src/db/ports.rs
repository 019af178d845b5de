//! Table `ports`: which host ports are published, and by whom.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rusqlite::Row;

use super::images::parsed;
use super::{DbError, Session, Transaction};

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// The text is no [`Protocol`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of the protocols tcp, udp, sctp")]
pub struct ProtocolError(String);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(ProtocolError(text.to_owned())),
        }
    }
}

/// One port of the host that leads to one port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's address; the unspecified one stands for all of its family.
    pub host_address: IpAddr,
    /// The host's port, not 0.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
}

const COLUMNS: &str = "protocol, host_address, host_port, container_port";

impl Session {
    /// What a container publishes.
    pub fn published(&self, container: &str) -> Result<Vec<PublishedPort>, DbError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM ports WHERE container = ?
             ORDER BY container_port, protocol, host_address, host_port"
        );
        self.rows("list published ports", &sql, [container], read)
    }

    /// What all containers publish, with their ids.
    pub fn all_published(&self) -> Result<Vec<(String, PublishedPort)>, DbError> {
        let sql = format!("SELECT {COLUMNS}, container FROM ports ORDER BY host_port, protocol");
        self.rows("list published ports", &sql, [], |row| {
            Ok((row.get(4)?, read(row)?))
        })
    }
}

impl Transaction<'_> {
    /// Publishes ports for a container, all or none. A port of all addresses is in the way of the
    /// same port of any address of that family, and the other way round.
    pub fn publish(&self, container: &str, ports: &[PublishedPort]) -> Result<(), DbError> {
        for port in ports {
            self.check_port(port)?;
            self.execute(
                "publish a port",
                "INSERT INTO ports VALUES (?, ?, ?, ?, ?)",
                (
                    port.protocol.to_string(),
                    port.host_port,
                    port.host_address.to_string(),
                    container,
                    port.container_port,
                ),
            )?;
        }
        Ok(())
    }

    /// Publishes nothing for a container any more.
    pub fn unpublish(&self, container: &str) -> Result<(), DbError> {
        let sql = "DELETE FROM ports WHERE container = ?";
        self.execute("unpublish ports", sql, [container])?;
        Ok(())
    }

    fn check_port(&self, port: &PublishedPort) -> Result<(), DbError> {
        let sql = format!(
            "SELECT {COLUMNS}, containers.name FROM ports JOIN containers ON id = container
             WHERE protocol = ? AND host_port = ?"
        );
        let key = (port.protocol.to_string(), port.host_port);
        let taken = self.rows("look for published ports", &sql, key, |row| {
            Ok((read(row)?, row.get(4)?))
        })?;
        let holder = taken
            .into_iter()
            .find(|(other, _)| overlap(port.host_address, other.host_address));
        match holder {
            None => Ok(()),
            Some((_, holder)) => Err(DbError::PortTaken {
                address: port.host_address,
                port: port.host_port,
                protocol: port.protocol,
                holder,
            }),
        }
    }
}

/// Whether two listeners on the same port would be in each other's way.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    same_family && (a == b || a.is_unspecified() || b.is_unspecified())
}

fn read(row: &Row<'_>) -> rusqlite::Result<PublishedPort> {
    Ok(PublishedPort {
        protocol: parsed(row, 0)?,
        host_address: parsed(row, 1)?,
        host_port: row.get(2)?,
        container_port: row.get(3)?,
    })
}
