//! What lists show of a container besides its row and its status: what was asked for, its image, and of its
//! plan only what it runs and how it is reached. Hundreds are read for one list.

use std::collections::HashMap;
use std::rc::Rc;

use gamut_plan::LaunchPlan;
use gamut_plan::launch::{NetworkPlan, Protocol};
use gamut_plan::request::RunRequest;
use gamut_spec::digest::Digest;
use gamut_spec::image::ImageConfig;
use gamut_store::db::Image;
use serde::Deserialize;

use crate::engine::Engine;
use crate::start::View;
use crate::{network, record};

/// What is missing was cut short, or is of another version: lists must show such a container too.
#[derive(Debug, Clone)]
pub struct Summary {
    pub request: Option<RunRequest>,
    pub image: Option<Rc<Image>>,
    pub config: Option<Rc<ImageConfig>>,
    pub network: Option<NetworkPlan>,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// Images that were looked up already.
pub(crate) type Images = HashMap<Digest, (Option<Rc<Image>>, Option<Rc<ImageConfig>>)>;

/// A plan, as far as lists need it.
#[derive(Deserialize)]
pub(crate) struct PlanExtract {
    pub(crate) version: u32,
    network: NetworkPlan,
    spec: SpecExtract,
}

#[derive(Deserialize)]
struct SpecExtract {
    process: Option<ProcessExtract>,
}

#[derive(Deserialize)]
struct ProcessExtract {
    args: Option<Vec<String>>,
}

impl Engine {
    #[must_use]
    pub fn summary(&self, view: &View) -> Summary {
        let extract = record::read_plan_extract(&self.dirs.container(&view.row.id)).ok();
        let (network, command) = match extract {
            Some(extract) => (
                Some(extract.network),
                extract.spec.process.and_then(|process| process.args),
            ),
            None => (None, None),
        };
        self.summarize(view, network, command)
    }

    pub(crate) fn summary_of_plan(&self, view: &View, plan: Option<&LaunchPlan>) -> Summary {
        let process = plan.and_then(|plan| plan.spec.process().as_ref());
        let command = process.and_then(|process| process.args().clone());
        self.summarize(view, plan.map(|plan| plan.network.clone()), command)
    }

    fn summarize(
        &self,
        view: &View,
        network: Option<NetworkPlan>,
        command: Option<Vec<String>>,
    ) -> Summary {
        let (image, config) = match &view.row.image_id {
            Some(id) => self.image_once(id),
            None => (None, None),
        };
        Summary {
            request: serde_json::from_str(&view.row.request).ok(),
            image,
            config,
            network,
            command: command.unwrap_or_default(),
        }
    }

    /// Most containers share an image with others.
    fn image_once(&self, id: &Digest) -> (Option<Rc<Image>>, Option<Rc<ImageConfig>>) {
        let mut images = self.images_seen.borrow_mut();
        let seen = images.entry(id.clone()).or_insert_with(|| {
            let image = self.store.db().image(id).ok().flatten().map(Rc::new);
            let config = image
                .as_ref()
                .and_then(|image| self.image_config(image).ok());
            (image, config.map(Rc::new))
        });
        seen.clone()
    }
}

impl Summary {
    /// The ports that the image or the request exposes, in order.
    #[must_use]
    pub fn exposed(&self) -> Vec<(u16, Protocol)> {
        match (&self.request, &self.config) {
            (Some(request), Some(config)) => network::exposed(request, config),
            _ => Vec::new(),
        }
    }

    /// Docker's word for the network: `bridge`, `none`, `host`, `container:ID`.
    #[must_use]
    pub fn network_mode(&self) -> String {
        match &self.network {
            None => String::new(),
            Some(NetworkPlan::None) => "none".into(),
            Some(NetworkPlan::Host) => "host".into(),
            Some(NetworkPlan::Container(id)) => format!("container:{id}"),
            Some(NetworkPlan::Namespace(path)) => format!("ns:{}", path.display()),
            Some(NetworkPlan::Pasta(_)) => "pasta".into(),
            Some(NetworkPlan::Bridge(bridged)) => match bridged.endpoints.first() {
                Some(endpoint) => endpoint.network.clone(),
                None => "none".into(),
            },
        }
    }

    /// The networks that it has a place on, or Docker's word for what it has instead.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        match &self.network {
            Some(NetworkPlan::Bridge(bridged)) => {
                let names = bridged.endpoints.iter().map(|one| one.network.clone());
                names.collect()
            }
            None => Vec::new(),
            Some(_) => vec![self.network_mode()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_plan_the_rest_is_passed_over() {
        let text = r#"{"version": 7, "id": "x", "network": "host", "root": {"lower": [1, [2]]},
            "spec": {"ociVersion": "1", "mounts": [{}], "process": {"args": ["a", "b"], "cwd": 3}}}"#;
        let extract: PlanExtract = serde_json::from_str(text).unwrap();
        assert_eq!((extract.version, extract.network), (7, NetworkPlan::Host));
        assert_eq!(extract.spec.process.unwrap().args.unwrap(), ["a", "b"]);
    }
}
