//! What is known of a container besides its row and its status: request, plan, image.

use std::net::{Ipv4Addr, Ipv6Addr};

use gamut_net::subnet::{Subnet4, Subnet6};
use gamut_plan::LaunchPlan;
use gamut_plan::failure::Failure;
use gamut_plan::health::Health;
use gamut_plan::launch::Endpoint;
use gamut_store::StoreError;
use gamut_store::db::Image;
use gamut_store::layer::Form;
use gamut_store::snapshot::Driver;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;
use crate::start::View;
use crate::summary::Summary;

/// Everything that was written down when a container was made. What is missing was cut short, or
/// is of another version.
#[derive(Debug, Clone)]
pub struct Details {
    pub summary: Summary,
    pub plan: Option<LaunchPlan>,
    /// What its root is made by.
    pub driver: Option<Driver>,
}

impl Engine {
    #[must_use]
    pub fn details(&self, view: &View) -> Details {
        let plan = record::read_plan(&self.dirs.container(&view.row.id)).ok();
        let summary = self.summary_of_plan(view, plan.as_ref());
        let driver = match (&plan, &summary.image) {
            (Some(plan), _) if plan.root.lower.is_empty() => Some(Driver::Copy),
            (Some(_), Some(image)) => Some(self.driver_of(image)),
            _ => None,
        };
        Details {
            summary,
            plan,
            driver,
        }
    }

    /// The results of a container's health checks; `None` for one that has never had any.
    #[must_use]
    pub fn health(&self, view: &View) -> Option<Health> {
        view.status.health?;
        let dirs = self.dirs.container(&view.row.id);
        Some(record::read_health(&dirs).unwrap_or_default())
    }

    /// What was written down of a container's last failure; `None`: it has not failed.
    ///
    /// # Errors
    /// Damaged.
    pub fn failure(&self, view: &View) -> Result<Option<Failure>, EngineError> {
        Ok(record::read_failure(&self.dirs.container(&view.row.id))?)
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
    /// The addresses of the bridge on a network: IPv4, IPv6.
    #[must_use]
    pub fn gateways(endpoint: &Endpoint) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let (network, bits) = endpoint.subnet4;
        let first4 = Subnet4::new(network, bits).map(|subnet| subnet.gateway());
        let ipv6 = endpoint.address6.and(endpoint.subnet6);
        let first6 = ipv6.and_then(|net| Subnet6::new(net, endpoint.prefix6).ok());
        (
            endpoint.gateway4.or(first4.ok()),
            ipv6.and(endpoint.gateway6)
                .or(first6.map(|subnet| subnet.gateway())),
        )
    }
}
