//! `commit`: a container's changes become the top layer of a new image.

use std::os::fd::{AsFd, OwnedFd};

use gamut_plan::Phase;
use gamut_plan::launch::{Grouping, LaunchPlan};
use gamut_plan::request::{EnvChange, Process, StopTimeout};
use gamut_spec::image::{ContainerConfig, Descriptor, History, ImageConfig, change};
use gamut_spec::reference::Reference;
use gamut_store::StoreError;
use gamut_store::db::Image;
use gamut_store::layer::{Layer, NewLayer};
use gamut_store::snapshot::RootAttributes;
use gamut_store::tar::{self, IdMap, Produced, TarError};

use crate::client::Client;
use crate::details::Details;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::canonical;
use crate::made::{ImageFormat, now};
use crate::roots;
use crate::start::View;

/// Whether the container stands still while it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pause {
    #[default]
    Yes,
    No,
}

/// What the image is besides the container's changes.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    pub author: Option<String>,
    pub message: Option<String>,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    pub pause: Pause,
    pub format: ImageFormat,
    pub name: Option<Reference>,
}

impl Engine {
    /// Makes an image of a container.
    ///
    /// # Errors
    /// Not found, an instruction that is none, files that cannot be read; nothing is left behind.
    pub fn commit(&mut self, named: &str, options: &CommitOptions) -> Result<Image, EngineError> {
        let view = self.container(named)?;
        let details = self.details(&view);
        let missing = || EngineError::NoContainer(named.to_owned());
        let (Some(plan), Some(image), Some(base)) = (
            &details.plan,
            &details.summary.image,
            &details.summary.config,
        ) else {
            return Err(missing());
        };
        let mut config = now_config(&view, &details, base);
        change::apply(&mut config, &options.changes)?;
        let mut layers = self.pinned(image)?;
        let mut entries = self.entries(image, options.format, &layers)?;
        let paused = self.paused(&view, plan, options.pause)?;
        let new = self.changes_layer(&view, plan);
        drop(paused);
        let new = new?;
        let created = Some(now());
        let mut made = ImageConfig {
            created: created.clone(),
            author: options.author.clone(),
            config,
            ..ImageConfig::clone(base)
        };
        made.history.push(History {
            created,
            created_by: Some(details.summary.command.clone().join(" ")),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: new.entries == 0,
        });
        if new.entries > 0 {
            let diff_id = new.layer.record.diff_id.clone();
            entries.push(options.format.plain_layer(&diff_id, new.tar_bytes));
            made.rootfs.diff_ids.push(diff_id);
            layers.push(new.layer);
        }
        let names = options.name.iter().map(canonical).collect();
        self.record_new(&made, options.format, entries, layers, names)
    }

    /// The layers of an image, kept from a collector.
    pub(crate) fn pinned(&self, image: &Image) -> Result<Vec<Layer>, EngineError> {
        let layers = image.layers.iter().map(|diff_id| {
            let lost = || EngineError::LayerLost {
                image: image.id.short(),
                layer: diff_id.short(),
            };
            self.store.layer(diff_id)?.ok_or_else(lost)
        });
        layers.collect()
    }

    /// The descriptors of an image's layers in a family of media types: where they are pulled from,
    /// they need not be sent again.
    fn entries(
        &self,
        image: &Image,
        format: ImageFormat,
        layers: &[Layer],
    ) -> Result<Vec<Descriptor>, EngineError> {
        let manifest = self.manifest_of(image)?.manifest;
        let entries = manifest
            .layers
            .into_iter()
            .zip(layers)
            .map(|(entry, layer)| {
                Ok(match entry.media_type.layer_compression() {
                    Some(compression) => Descriptor {
                        media_type: format.layer(compression),
                        ..entry
                    },
                    None => {
                        let tar_bytes = self.store.layers().tar_bytes(layer)?;
                        format.plain_layer(&layer.record.diff_id, tar_bytes)
                    }
                })
            });
        entries.collect()
    }

    /// Makes a running container stand still until the value goes.
    fn paused(
        &self,
        view: &View,
        plan: &LaunchPlan,
        pause: Pause,
    ) -> Result<Option<Paused>, EngineError> {
        // Without a group it cannot be stopped; what it writes meanwhile is in the image or not.
        let goes_on = pause == Pause::No || plan.grouping == Grouping::None;
        if goes_on || view.status.phase != Phase::Running {
            return Ok(None);
        }
        let mut keeper = self.connect(&view.row.id)?;
        keeper.pause()?;
        Ok(Some(Paused { keeper }))
    }

    fn changes_layer(&self, view: &View, plan: &LaunchPlan) -> Result<NewLayer, EngineError> {
        let upper = roots::upper(plan)?;
        let ids = roots::ids(plan);
        let archive = match plan.root.lower.is_empty() {
            false => {
                let root = self.root_before(view)?;
                produced(move |out| tar::changes(upper.as_fd(), root, &ids, out).map(drop))?
            }
            true => self.copied_changes(view, upper, ids)?,
        };
        self.unpack_produced(archive)
    }

    /// The changes of a root that is a copy of its image.
    fn copied_changes(
        &self,
        view: &View,
        upper: OwnedFd,
        ids: IdMap,
    ) -> Result<Produced<TarError>, EngineError> {
        let before = self.image_tree_of(&view.row.id)?;
        produced(move |out| {
            let (before, after) = (before.as_fd(), upper.as_fd());
            tar::difference(before, after, &ids, out).map(drop)
        })
    }

    fn unpack_produced(&self, mut archive: Produced<TarError>) -> Result<NewLayer, EngineError> {
        let unpacked = self
            .store
            .layers()
            .unpack_new(&mut archive, &self.unpack_options()?);
        match (unpacked, archive.into_failure()) {
            (Ok(new), _) => Ok(new),
            (Err(_), Some(error)) => Err(error.into()),
            (Err(error), None) => Err(StoreError::from(error).into()),
        }
    }

    /// The root directory of a container as its image has it.
    fn root_before(&self, view: &View) -> Result<RootAttributes, EngineError> {
        let image = view.row.image_id.as_ref();
        let image = image.ok_or_else(|| EngineError::NoContainer(view.row.name.clone()))?;
        let layers = self.layer_records(&image.to_string())?;
        let said = layers.iter().rev().find_map(|layer| layer.root);
        Ok(said.unwrap_or(RootAttributes {
            mode: 0o755,
            uid: 0,
            gid: 0,
        }))
    }
}

/// A container that stands still while this lives.
struct Paused {
    keeper: Client,
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have been killed, or resumed by somebody else.
        let _ = self.keeper.resume();
    }
}

/// An archive that a thread writes.
fn produced(
    write: impl FnOnce(std::io::PipeWriter) -> Result<(), TarError> + Send + 'static,
) -> Result<Produced<TarError>, EngineError> {
    tar::produce(write).map_err(|error| TarError::Write(error).into())
}

/// The image's configuration with what the container was made with: Docker's rule is that the new
/// image runs as the container did.
fn now_config(view: &View, details: &Details, image: &ImageConfig) -> ContainerConfig {
    let mut config = image.config.clone();
    config.labels.clone_from(&view.row.labels);
    let Some(request) = &details.summary.request else {
        return config;
    };
    take_process(&mut config, &request.process);
    config.healthcheck = request.health.over(&config);
    for (port, protocol) in details.summary.exposed() {
        let key = format!("{port}/{}", protocol.name());
        config.exposed_ports.insert(key);
    }
    if let Some(plan) = &details.plan {
        config.user.clone_from(&plan.user.user);
    }
    config
}

fn take_process(config: &mut ContainerConfig, asked: &Process) {
    if let Some(entrypoint) = &asked.entrypoint {
        config.entrypoint = Some(entrypoint.clone()).filter(|words| !words.is_empty());
        // A new entrypoint discards the image's command.
        config.cmd = None;
    }
    if !asked.command.is_empty() {
        config.cmd = Some(asked.command.clone());
    }
    for change in &asked.env {
        let (EnvChange::Set { name, .. } | EnvChange::Unset { name }) = change;
        config
            .env
            .retain(|entry| entry.split('=').next() != Some(name));
        if let EnvChange::Set { name, value } = change {
            config.env.push(format!("{name}={value}"));
        }
    }
    if let Some(directory) = &asked.working_dir {
        config.working_dir.clone_from(directory);
    }
    if let Some(signal) = asked.stop_signal {
        config.stop_signal = Some(signal.0.to_string());
    }
    if let Some(timeout) = asked.stop_timeout {
        config.stop_timeout = Some(match timeout {
            StopTimeout::Seconds(seconds) => seconds.into(),
            StopTimeout::Forever => -1,
        });
    }
}
