//! A container that is made in a pod: what it did not say of its namespaces is the infra container's.

use gamut_plan::request::{
    IpcNamespace, NetworkMode, PodNamespace, PodPlace, PodRole, RestartPolicy, RunRequest, Sharing,
    VolumesFrom,
};

use super::{PodError, PodView};
use crate::create::level;
use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Whether a request for a place in a pod can be met at its level.
    ///
    /// # Errors
    /// [`gamut_plan::draw::DrawError::NotAtLevel`].
    pub fn check_place(&self, request: &RunRequest) -> Result<(), EngineError> {
        level(self, request).map(drop)
    }

    /// Gives a request its place in the pod that it names.
    ///
    /// # Errors
    /// There is no such pod, or the request contradicts what is shared there.
    pub fn enter_pod(&mut self, request: &mut RunRequest) -> Result<(), EngineError> {
        let Some(place) = &request.pod else {
            return Ok(());
        };
        self.check_place(request)?;
        let pod = self.pod(&place.pod)?;
        request.pod = Some(PodPlace {
            pod: pod.row.id.clone(),
            role: PodRole::Member,
            exit_policy: pod.request.exit_policy,
        });
        if request.restart == RestartPolicy::No
            && request.after_exit == gamut_plan::request::AfterExit::Keep
        {
            request.restart = pod.request.restart;
        }
        match pod.infra() {
            Some(infra) => share(request, &pod, &infra.row.id),
            None if !pod.request.share.is_empty() => {
                return Err(PodError::NoInfra { pod: pod.row.name }.into());
            }
            None => {}
        }
        request.check()?;
        self.prepare_pod(&pod.row.id)
    }
}

fn share(request: &mut RunRequest, pod: &PodView, infra: &str) {
    let held = pod.infra_request();
    // What the infra container has of the host's itself, a member has without it: a user without privileges
    // joins none of the host's namespaces.
    let of = |theirs: fn(&RunRequest) -> Option<&Sharing>| match held.as_ref().and_then(theirs) {
        Some(Sharing::Host) => Some(Sharing::Host),
        _ => Some(Sharing::Container(infra.to_owned())),
    };
    let holds_hosts_network = held
        .as_ref()
        .is_some_and(|held| held.network.mode == NetworkMode::Host);
    let names = &mut request.namespaces;
    for shared in &pod.request.share {
        match shared {
            PodNamespace::Net if request.network.mode == NetworkMode::Default => {
                request.network.mode = match holds_hosts_network {
                    true => NetworkMode::Host,
                    false => NetworkMode::Container(infra.to_owned()),
                };
            }
            PodNamespace::Ipc if names.ipc.is_none() => {
                names.ipc = Some(IpcNamespace::Container(infra.to_owned()));
            }
            PodNamespace::Uts if names.uts.is_none() => {
                names.uts = of(|held| held.namespaces.uts.as_ref())
            }
            PodNamespace::Pid if names.pid.is_none() => {
                names.pid = of(|held| held.namespaces.pid.as_ref())
            }
            PodNamespace::Cgroup if names.cgroup.is_none() => {
                names.cgroup = of(|held| held.namespaces.cgroup.as_ref())
            }
            // What it said of it itself counts.
            _ => {}
        }
    }
    // It has the pod's devices, unless it has others in their places, and its mounts.
    let own = &mut request.security.devices;
    for device in held.iter().flat_map(|held| &held.security.devices) {
        if !own.iter().any(|one| one.target == device.target) {
            own.push(device.clone());
        }
    }
    request.storage.volumes_from.push(VolumesFrom {
        container: infra.to_owned(),
        read_only: false,
    });
    request.requires.push(infra.to_owned());
}
