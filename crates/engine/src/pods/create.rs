//! Making a pod: its row, then the container that holds what is shared. That has no image: its root is empty,
//! and its program is this one, as `--init` has it.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use gamut_plan::draw::{self, INIT};
use gamut_plan::launch::Grouping;
use gamut_plan::request::{
    Limits, NetworkMode, PodPlace, PodRequest, PodRole, RunRequest, Sharing,
};
use gamut_store::{StoreError, db};

use super::PodError;
use crate::create::{CreateOptions, Shown, Source};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::{names, record};

/// A pod that is to be made.
#[derive(Debug, Clone)]
pub struct NewPod {
    /// `None`: one is made up.
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub request: PodRequest,
    /// What its infra container is made with, but for its place.
    pub infra: RunRequest,
    /// `None`: nothing, and a program of our own.
    pub infra_image: Option<Source>,
}

/// What is done as the infra container without an image.
pub const PAUSE: &str = "--pause";

impl Engine {
    /// Makes a pod, and its infra container, which does not run yet. Gives the pod's id.
    ///
    /// # Errors
    /// What is wrong with the request, or a name that is taken; nothing is left behind.
    pub fn create_pod(&mut self, new: NewPod) -> Result<String, EngineError> {
        self.check_pod(&new)?;
        let mut attempt = 0;
        loop {
            let row = row_of(&new, attempt);
            match self.record_pod(&row, &new) {
                Ok(()) => {
                    self.tell_of_pod(&row, "create");
                    return Ok(row.id);
                }
                Err(EngineError::Store(StoreError::Db(db::DbError::Exists { .. })))
                    if new.name.is_none() && attempt < 20 =>
                {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Both rows at once: no pod is without the infra container that it is to have, whoever is killed.
    fn record_pod(&mut self, row: &db::Pod, new: &NewPod) -> Result<(), EngineError> {
        if !new.request.infra {
            let store = self.store.db_mut();
            return Ok(store.write(|transaction| transaction.insert_pod(row))?);
        }
        let created = self.create_infra(row, new);
        if created.is_err() {
            let _ = self.forget_pod(&row.id);
        }
        created
    }

    fn check_pod(&self, new: &NewPod) -> Result<(), EngineError> {
        if let Some(name) = &new.name
            && !names::is_container_name(name)
        {
            return Err(PodError::Name(name.clone()).into());
        }
        new.infra.check()?;
        draw::limits(&new.request.limits, self.host().cpus)?;
        let is_limited = new.request.limits != Limits::default();
        let has_groups = self.host().grouping() == Grouping::Own && new.request.share_parent;
        if is_limited && !has_groups {
            return Err(PodError::NoGroups.into());
        }
        if new.request.infra {
            return Ok(());
        }
        let infra = &new.infra;
        let lost = [
            ("shared namespaces", !new.request.share.is_empty()),
            ("published ports", !infra.network.publish.is_empty()),
            ("a network", infra.network.mode != NetworkMode::Default),
            ("a host name", infra.namespaces.hostname.is_some()),
            ("devices", !infra.security.devices.is_empty()),
            ("mounts", !infra.storage.mounts.is_empty()),
            ("kernel settings", !infra.namespaces.sysctls.is_empty()),
        ];
        match lost.into_iter().find(|(_, is_asked)| *is_asked) {
            Some((what, _)) => Err(PodError::NothingToShare { what }.into()),
            None => Ok(()),
        }
    }

    fn create_infra(&mut self, pod: &db::Pod, new: &NewPod) -> Result<(), EngineError> {
        let mut infra = new.infra.clone();
        infra.pod = Some(PodPlace {
            pod: pod.id.clone(),
            role: PodRole::Infra,
            exit_policy: new.request.exit_policy,
        });
        let short: String = pod.id.chars().take(12).collect();
        infra.name.get_or_insert_with(|| format!("{short}-infra"));
        let has_own_name = matches!(infra.namespaces.uts, None | Some(Sharing::Private));
        if has_own_name && infra.network.mode != NetworkMode::Host {
            let hostname = &mut infra.namespaces.hostname;
            hostname.get_or_insert_with(|| pod.name.chars().take(64).collect());
        }
        let source = new.infra_image.clone().unwrap_or_else(|| {
            infra.process.init = true;
            infra.process.entrypoint = Some(vec![INIT.to_owned(), PAUSE.to_owned()]);
            infra.storage.read_only_root = true;
            Source {
                id: None,
                shown: Shown::Layers(Vec::new()),
                config: OnceCell::new(),
            }
        });
        let options = CreateOptions {
            pod: Some(pod),
            ..CreateOptions::default()
        };
        self.create(&infra, &source, options)?;
        Ok(())
    }
}

fn row_of(new: &NewPod, attempt: u32) -> db::Pod {
    db::Pod {
        id: names::container_id(),
        name: new
            .name
            .clone()
            .unwrap_or_else(|| names::container_name(attempt)),
        created_ns: i64::try_from(record::now_ns()).unwrap_or(i64::MAX),
        request: serde_json::to_string(&new.request).unwrap_or_default(),
        labels: new.labels.clone(),
    }
}
