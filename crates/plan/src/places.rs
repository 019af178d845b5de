//! A container joins a network, or leaves one: what becomes of its plan.

use std::net::IpAddr;

use crate::launch::{Endpoint, LaunchPlan, NetworkPlan};

/// Why a plan cannot have another place on a network, or has none to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("it has the network of the host, of another container or of others")]
    Shared,
    #[error("it was made with `--network none`")]
    Closed,
    #[error("it is on that network already")]
    Present,
    #[error("it is not on that network")]
    Absent,
}

impl LaunchPlan {
    /// Takes a place, whose number is chosen here, and writes its addresses into the hosts file's text.
    /// `resolv_conf` is the resolver's file from now on, if that changes. Gives the place as it came to be.
    ///
    /// # Errors
    /// [`PlaceError`]; nothing has changed.
    pub fn join(
        &mut self,
        mut endpoint: Endpoint,
        resolv_conf: Option<String>,
    ) -> Result<Endpoint, PlaceError> {
        let hostname = self.spec.hostname().clone().unwrap_or_default();
        self.can_join(&endpoint.network_id)?;
        let NetworkPlan::Bridge(bridged) = &mut self.network else {
            return Err(PlaceError::Shared);
        };
        endpoint.place = bridged.free_place();
        bridged.endpoints.push(endpoint.clone());
        if let Some(hosts) = &mut self.files.hosts {
            *hosts = with_addresses(hosts, &endpoint, &hostname);
        }
        if resolv_conf.is_some() {
            self.files.resolv_conf = resolv_conf;
        }
        Ok(endpoint)
    }

    /// Whether a place on a network can be taken.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn can_join(&self, network_id: &str) -> Result<(), PlaceError> {
        match &self.network {
            NetworkPlan::None => Err(PlaceError::Closed),
            NetworkPlan::Host
            | NetworkPlan::Container(_)
            | NetworkPlan::Namespace(_)
            | NetworkPlan::Pasta(_) => Err(PlaceError::Shared),
            NetworkPlan::Bridge(bridged) => {
                let mut endpoints = bridged.endpoints.iter();
                match endpoints.any(|one| one.network_id == network_id) {
                    true => Err(PlaceError::Present),
                    false => Ok(()),
                }
            }
        }
    }

    /// Gives a place up, and takes its addresses out of the hosts file's text.
    ///
    /// # Errors
    /// [`PlaceError`]; nothing has changed.
    pub fn leave(&mut self, network_id: &str) -> Result<Endpoint, PlaceError> {
        let NetworkPlan::Bridge(bridged) = &mut self.network else {
            return Err(PlaceError::Absent);
        };
        let mut endpoints = bridged.endpoints.iter();
        let index = endpoints.position(|one| one.network_id == network_id);
        let endpoint = bridged.endpoints.remove(index.ok_or(PlaceError::Absent)?);
        if let Some(hosts) = &mut self.files.hosts {
            *hosts = without_addresses(hosts, &endpoint);
        }
        Ok(endpoint)
    }
}

fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let mut addresses = vec![endpoint.address4.into()];
    addresses.extend(endpoint.address6.map(IpAddr::from));
    addresses
}

/// The text of a hosts file (hosts(5)) with a place's addresses at its end.
#[must_use]
pub fn with_addresses(text: &str, endpoint: &Endpoint, hostname: &str) -> String {
    let mut text = text.to_owned();
    if hostname.is_empty() {
        return text;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let names = match hostname.split_once('.') {
        Some((short, _)) if !short.is_empty() => format!("{hostname} {short}"),
        _ => hostname.to_owned(),
    };
    for address in addresses(endpoint) {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
}

/// The text of a hosts file without the lines of a place's addresses.
#[must_use]
pub fn without_addresses(text: &str, endpoint: &Endpoint) -> String {
    let gone: Vec<String> = addresses(endpoint).iter().map(IpAddr::to_string).collect();
    let is_of_place = |line: &&str| {
        let first = line.split_whitespace().next();
        first.is_some_and(|word| gone.iter().any(|address| address == word))
    };
    let kept = text.split_inclusive('\n').filter(|line| !is_of_place(line));
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Reach;

    fn endpoint(address: [u8; 4]) -> Endpoint {
        Endpoint {
            place: 0,
            network: "blue".into(),
            network_id: "b".into(),
            bridge: "gm-b".into(),
            table: "gamut0".into(),
            subnet4: ([10, 1, 0, 0].into(), 16),
            gateway4: None,
            subnet6: None,
            prefix6: 64,
            gateway6: None,
            reach: Reach::Outside,
            mtu: 1500,
            mac: [2; 6],
            address4: address.into(),
            address6: None,
            names: Vec::new(),
            aliases: Vec::new(),
            priority: 0,
        }
    }

    #[test]
    fn the_way_out_is_the_highest_that_leads_out() {
        use crate::launch::Bridged;
        let of = |priority, reach, last| Endpoint {
            priority,
            reach,
            ..endpoint([10, 1, 0, last])
        };
        let mut bridged = Bridged {
            endpoints: vec![
                of(9, Reach::Internal, 2),
                of(0, Reach::Outside, 3),
                of(0, Reach::Outside, 4),
            ],
            ..Bridged::default()
        };
        let last = |bridged: &Bridged| bridged.way_out().map(|way| way.address4.octets()[3]);
        assert_eq!(last(&bridged), Some(3));
        bridged.endpoints[2].priority = 1;
        assert_eq!(last(&bridged), Some(4));
        bridged.endpoints.truncate(1);
        assert_eq!(last(&bridged), Some(2));
    }

    #[test]
    fn lines_come_and_go() {
        let one = endpoint([10, 1, 0, 2]);
        let before = "127.0.0.1\tlocalhost\n10.1.0.20\tother";
        let after = with_addresses(before, &one, "web.example");
        assert_eq!(after, format!("{before}\n10.1.0.2\tweb.example web\n"));
        assert_eq!(without_addresses(&after, &one), format!("{before}\n"));
        assert_eq!(with_addresses(before, &one, ""), before);
    }
}
