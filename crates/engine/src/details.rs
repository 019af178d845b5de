//! What is known of a container besides its row and its status: request, plan, image.

use std::net::{Ipv4Addr, Ipv6Addr};

use gamut_net::subnet::{Subnet4, Subnet6};
use gamut_plan::LaunchPlan;
use gamut_plan::launch::{Endpoint, NetworkPlan, Protocol};
use gamut_plan::request::RunRequest;
use gamut_spec::image::ImageConfig;
use gamut_store::StoreError;
use gamut_store::db::Image;
use gamut_store::layer::Form;
use gamut_store::snapshot::Driver;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::start::View;
use crate::{network, record};

/// Everything that was written down when a container was made. What is missing was cut short, or
/// is of another version: lists must show such a container too.
#[derive(Debug, Clone)]
pub struct Details {
    pub request: Option<RunRequest>,
    pub plan: Option<LaunchPlan>,
    pub image: Option<Image>,
    pub config: Option<ImageConfig>,
    /// What its root is made by.
    pub driver: Option<Driver>,
}

impl Engine {
    #[must_use]
    pub fn details(&self, view: &View) -> Details {
        let image = view
            .row
            .image_id
            .as_ref()
            .and_then(|id| self.store.db().image(id).ok().flatten());
        let plan = record::read_plan(&self.dirs.container(&view.row.id)).ok();
        let driver = match (&plan, &image) {
            (Some(plan), _) if plan.root.lower.is_empty() => Some(Driver::Copy),
            (Some(_), Some(image)) => Some(self.driver_of(image)),
            _ => None,
        };
        Details {
            driver,
            request: serde_json::from_str(&view.row.request).ok(),
            plan,
            config: image.as_ref().and_then(|i| self.image_config(i).ok()),
            image,
        }
    }

    /// The driver that keeps an image's layers: if they are of several forms, the top one's.
    #[must_use]
    pub fn driver_of(&self, image: &Image) -> Driver {
        let layers = self.store.image_layers(image).unwrap_or_default();
        match layers.last().map(|layer| layer.form) {
            Some(Form::Erofs | Form::Lazy) => Driver::Erofs,
            Some(Form::Directory) | None => Driver::Overlay,
        }
    }

    /// Bytes on disk of a container's own changes.
    ///
    /// # Errors
    /// When its root cannot be measured.
    pub fn changes_bytes(&self, id: &str) -> Result<u64, EngineError> {
        let usage = self.store.roots().usage(id).map_err(StoreError::from)?;
        Ok(usage.allotted_bytes)
    }
}

impl Details {
    /// The ports that the image or the request exposes, in order.
    #[must_use]
    pub fn exposed(&self) -> Vec<(u16, Protocol)> {
        match (&self.request, &self.config) {
            (Some(request), Some(config)) => network::exposed(request, config),
            _ => Vec::new(),
        }
    }

    /// The addresses of the bridge on a network: IPv4, IPv6.
    #[must_use]
    pub fn gateways(endpoint: &Endpoint) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let (network, bits) = endpoint.subnet4;
        let ipv4 = Subnet4::new(network, bits).ok();
        let ipv6 = endpoint.subnet6.and_then(|net| Subnet6::new(net).ok());
        (
            ipv4.map(|subnet| subnet.gateway()),
            endpoint.address6.and(ipv6).map(|subnet| subnet.gateway()),
        )
    }

    /// The program and its arguments.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let process = self.plan.as_ref().and_then(|p| p.spec.process().as_ref());
        process.and_then(|p| p.args().clone()).unwrap_or_default()
    }

    /// Docker's word for the network: `bridge`, `none`, `host`, `container:ID`.
    #[must_use]
    pub fn network_mode(&self) -> String {
        match self.plan.as_ref().map(|p| &p.network) {
            None => String::new(),
            Some(NetworkPlan::None) => "none".into(),
            Some(NetworkPlan::Host) => "host".into(),
            Some(NetworkPlan::Container(id)) => format!("container:{id}"),
            Some(NetworkPlan::Bridge(endpoint)) => endpoint.network.clone(),
        }
    }
}
