//! `import`: a tar of a root file system becomes an image of one layer.

use std::io::Read;

use gamut_spec::image::{ContainerConfig, History, ImageConfig, Platform, RootFs, change};
use gamut_spec::reference::Reference;
use gamut_store::StoreError;
use gamut_store::db::Image;
use gamut_store::unpack::Warning;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::canonical;
use crate::made::{ImageFormat, now};

/// What the image is besides its files.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// A word about how it came to be.
    pub message: String,
    /// What it runs on.
    pub platform: Platform,
    pub name: Option<Reference>,
}

impl Engine {
    /// Makes an image of a tar, which may be compressed. What could not be kept of the archive is
    /// told.
    ///
    /// # Errors
    /// An instruction or an archive that cannot be used; nothing is left behind.
    pub fn import(
        &mut self,
        archive: impl Read + Send,
        options: &ImportOptions,
    ) -> Result<(Image, Vec<Warning>), EngineError> {
        let mut config = ContainerConfig::default();
        change::apply(&mut config, &options.changes)?;
        let new = self
            .store
            .layers()
            .unpack_new(archive, &self.unpack_options()?)
            .map_err(StoreError::from)?;
        let diff_id = new.layer.record.diff_id.clone();
        let created = Some(now());
        let Platform {
            os,
            architecture,
            variant,
            os_version,
        } = options.platform.clone();
        let config = ImageConfig {
            architecture,
            os,
            variant,
            os_version,
            created: created.clone(),
            author: None,
            config,
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: vec![diff_id.clone()],
            },
            history: vec![History {
                created,
                comment: Some(options.message.clone()),
                ..History::default()
            }],
        };
        let format = ImageFormat::Oci;
        let entries = vec![format.plain_layer(&diff_id, new.tar_bytes)];
        let names = options.name.iter().map(canonical).collect();
        let image = self.record_new(&config, format, entries, vec![new.layer], names)?;
        Ok((image, new.warnings.kept))
    }
}
