//! What is different for root of a user's home ([`gamut_container::home`]).

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use gamut_container::home;
use gamut_plan::launch::{NetworkPlan, PastaPlan};
use gamut_plan::request::{Network, NetworkMode, RunRequest};
use gamut_spec::image::ImageConfig;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::network::{self, Addresses, Asks, NetworksError};

/// The program that stands between a network namespace and the host's sockets; passt.top.
const PASTA: &str = "pasta";
/// Where a workload behind it asks for names; it asks the host's servers. Podman's.
pub(crate) const FORWARDED_DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// pasta for a network namespace, by its file.
pub(crate) fn pasta(netns: &Path) -> Command {
    let mut command = Command::new(PASTA);
    command
        .args([
            "--config-net",
            "--quiet",
            "--stderr",
            "--no-netns-quit",
            "--netns",
        ])
        .arg(netns)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Has networks made where this process may make them. What fails here, the first network will say.
pub(crate) fn settle() {
    if let Some(resident) = home::resident() {
        let _ = gamut_net::home::set(&resident.home.network());
    }
}

/// Whether what is asked of the default network is what only a bridge has.
pub(crate) fn wants_bridge(asked: &Network) -> bool {
    let plain = Network {
        mode: NetworkMode::Default,
        publish: asked.publish.clone(),
        publish_all: asked.publish_all,
        expose: asked.expose.clone(),
        dns_servers: asked.dns_servers.clone(),
        dns_search: asked.dns_search.clone(),
        dns_options: asked.dns_options.clone(),
        extra_hosts: asked.extra_hosts.clone(),
        ..Network::default()
    };
    *asked != plain
}

impl Engine {
    /// Whether the default network is pasta's: for who is root of a home only, on a host with a way out.
    pub(crate) fn leads_by_pasta(&self) -> bool {
        let home = self.host().home.as_ref();
        home.is_some_and(|home| home.leads_out)
    }

    /// The network of a container that is led by pasta, and what its files say of it.
    pub(crate) fn by_pasta(
        &self,
        request: &RunRequest,
        config: &ImageConfig,
        options: &[String],
    ) -> Result<(NetworkPlan, Addresses), EngineError> {
        if self.host().home.is_none() {
            return Err(NetworksError::NoHome.into());
        }
        let plan = PastaPlan {
            ports: network::ports(request, config)?,
            options: options.to_vec(),
        };
        let asks = match request.network.dns_servers.is_empty() {
            true => Asks::Keeper(FORWARDED_DNS.into()),
            false => Asks::Servers,
        };
        let addresses = Addresses {
            own: vec![Ipv4Addr::LOCALHOST.into()],
            asks,
            ..Addresses::default()
        };
        Ok((NetworkPlan::Pasta(Box::new(plan)), addresses))
    }
}
