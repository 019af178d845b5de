//! Workloads with a kernel of their own: what their machines are made of, and how they come to be.
//!
//! [`Engine::machine`] finds the parts when a workload is made: kernel, initramfs and the image's files, which
//! the plan then names. [`spawn`] starts the machine's processes when it is started, from the keeper;
//! [`monitor`] is one of them.

mod kvm;
pub mod monitor;
mod spawn;

use std::path::{Path, PathBuf};

use gamut_plan::Level;
use gamut_plan::draw::MachineParts;
use gamut_plan::request::RunRequest;
use gamut_store::layer::{Form, LayerRecord};
use gamut_store::snapshot::Lower;

pub(crate) use spawn::Processes;

use crate::create::{Shown, Source};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::kernel;

/// Names the guests' kernel where the command does not.
const KERNEL_VARIABLE: &str = "GAMUT_KERNEL";
/// The initramfs's file in a container's directory.
const INITRAMFS: &str = "initramfs";

/// Whether machines can be made here, as far as can be told without a trial: one that fails at its start says why,
/// as a container does.
pub(crate) fn are_likely() -> bool {
    kvm::may_open()
}

impl Engine {
    /// What the machine is made of that the workload `id` is to be in; `None`: it has the host's kernel.
    /// The workload's directory is there.
    ///
    /// # Errors
    /// [`EngineError::Level`] with what is not here, or that the image is not stored as EROFS files;
    /// [`EngineError::Kernel`].
    pub(crate) fn machine(
        &self,
        id: &str,
        level: Level,
        request: &RunRequest,
        source: &Source,
    ) -> Result<Option<MachineParts>, EngineError> {
        match level {
            Level::Container | Level::Sandbox => return Ok(None),
            Level::Microvm | Level::Vm => {}
        }
        let layers = match &source.shown {
            Shown::Layers(layers) => layers.clone(),
            Shown::Mount(_) => {
                let image = match &source.id {
                    Some(id) => self.store.db().image(id)?,
                    None => None,
                };
                let layers = image.map(|image| self.store.image_layers(&image));
                layers.transpose()?.unwrap_or_default()
            }
        };
        let images = self.image_files(level, &layers)?;
        let named = request.kernel.clone();
        let named = named.or_else(|| std::env::var(KERNEL_VARIABLE).ok());
        let kernel = self.find_kernel(named.as_deref())?;
        let cached = self.guest_initramfs(&kernel, &kernel::find_agent()?)?;
        let initramfs = self.dirs.container(id).directory.join(INITRAMFS);
        keep(&cached, &initramfs).map_err(|source| EngineError::HostPath {
            path: initramfs.display().to_string(),
            source,
        })?;
        Ok(Some(MachineParts {
            kernel: kernel.file,
            is_kernel_kept: kernel.is_kept,
            initramfs,
            discovery: kernel.discovery,
            images,
            memory_bytes: host_memory(),
        }))
    }

    fn image_files(
        &self,
        level: Level,
        layers: &[LayerRecord],
    ) -> Result<Vec<Vec<PathBuf>>, EngineError> {
        let lacks = |reason: &str| EngineError::Level {
            wanted: level.to_string(),
            reason: reason.to_owned(),
        };
        if layers.iter().any(|layer| layer.form == Form::Lazy) {
            return Err(lacks(
                "the image is not all here yet; `gamut pull` without `--lazy` fetches the rest",
            ));
        }
        if self.store.check_seals(layers)?.need_devices() {
            return Err(lacks(
                "its layers are held by dm-verity, which a machine's block device goes past",
            ));
        }
        let stack = self.store.stack(layers);
        let files = stack.into_iter().map(|lower| match lower {
            Lower::Image(image) => Some([vec![image.file], image.devices].concat()),
            Lower::Directory(_) => None,
        });
        let files: Option<Vec<_>> = files.collect();
        files.ok_or_else(|| {
            lacks("the image is kept as directories; pull it with `--storage-driver erofs`")
        })
    }
}

/// The file is the container's own from here on: the cache may lose it.
fn keep(cached: &Path, own: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(cached, own) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            std::fs::copy(cached, own).map(drop)
        }
        other => other,
    }
}

fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}
