//! `run --pod` and `create --pod`: a container's place in a pod, which may be made for it.

use gamut_engine::Engine;
use gamut_engine::pods::NewPod;
use gamut_plan::request::{PodNamespace, PodRequest, RunRequest};

use crate::error::Failure;

/// Podman's: such a pod is made, of the name that follows.
const NEW: &str = "new:";

/// Before anything is made or pulled: whether there is such a pod, and the level can have it.
pub fn check(engine: &Engine, request: &RunRequest, is_dry: bool) -> Result<(), Failure> {
    engine.check_place(request).map_err(Failure::engine)?;
    let named = request.pod.as_ref().map(|place| place.pod.as_str());
    match named.map(|name| name.strip_prefix(NEW).ok_or(name)) {
        Some(Ok(_)) if is_dry => Err(Failure::Unsupported {
            flag: "--dry-run with --pod new:",
        }),
        Some(Err(name)) => engine.pod_id(name).map(drop).map_err(Failure::engine),
        _ => Ok(()),
    }
}

/// Puts the container that is to be made into its pod.
pub fn enter(engine: &mut Engine, request: &mut RunRequest) -> Result<(), Failure> {
    if let Some(place) = &request.pod
        && let Some(name) = place.pod.strip_prefix(NEW)
    {
        let new = for_container(name.to_owned(), request);
        let id = engine.create_pod(new).map_err(Failure::engine)?;
        if let Some(place) = &mut request.pod {
            place.pod = id;
        }
    }
    engine.enter_pod(request).map_err(Failure::engine)
}

/// A pod with what the container said of its network: that is the pod's.
fn for_container(name: String, request: &mut RunRequest) -> NewPod {
    let mut infra = RunRequest::of_image(String::new());
    infra.network = std::mem::take(&mut request.network);
    infra.namespaces.hostname = request.namespaces.hostname.take();
    NewPod {
        name: Some(name).filter(|name| !name.is_empty()),
        labels: std::collections::BTreeMap::new(),
        request: PodRequest {
            share: PodNamespace::DEFAULT.into(),
            infra: true,
            share_parent: true,
            command: std::env::args().collect(),
            ..PodRequest::default()
        },
        infra,
        infra_image: None,
    }
}
