//! Images: finding the one that a user means, listing, naming, removing.

use std::cell::OnceCell;

use gamut_spec::digest::Digest;
use gamut_spec::image::{ImageConfig, Platform};
use gamut_spec::reference::Reference;
use gamut_store::StoreError;
use gamut_store::db::Image;
use gamut_store::gc::ImageTarget;
use gamut_store::layer::LayerRecord;

pub use gamut_store::gc::{Force, Removed};

use crate::create::{Shown, Source};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{self, Event, Kind};

/// An image with its names.
#[derive(Debug, Clone)]
pub struct ImageView {
    pub image: Image,
    /// Canonical references with a tag.
    pub tags: Vec<String>,
    /// Canonical references with a digest.
    pub digests: Vec<String>,
}

impl Engine {
    /// The image that a user means: a reference, a whole id or the beginning of one.
    ///
    /// # Errors
    /// [`EngineError::NoImage`].
    pub fn find_image(&self, named: &str) -> Result<Image, EngineError> {
        let db = self.store.db();
        if let Ok(id) = named.parse::<Digest>()
            && let Some(image) = db.image(&id)?
        {
            return Ok(image);
        }
        if let Ok(reference) = named.parse::<Reference>()
            && let Some(image) = db.image_by_reference(&canonical(&reference))?
        {
            return Ok(image);
        }
        let digits = named.strip_prefix("sha256:").unwrap_or(named);
        if digits.len() >= 4
            && let Some(image) = db.image_by_prefix(digits)?
        {
            return Ok(image);
        }
        Err(EngineError::NoImage(named.to_owned()))
    }

    /// What a container is made from.
    ///
    /// # Errors
    /// [`EngineError::NoImage`], or what is damaged.
    pub fn source(&self, named: &str) -> Result<Source, EngineError> {
        let image = self.find_image(named)?;
        let shown = match self.merged_mount(&image)? {
            Some(mount) => Shown::Mount(mount),
            None => Shown::Layers(self.store.image_layers(&image)?),
        };
        Ok(Source {
            shown,
            id: Some(image.id),
            config: OnceCell::new(),
        })
    }

    /// The layers of an image, the bottom one first.
    ///
    /// # Errors
    /// As [`Self::source`].
    pub(crate) fn layer_records(&self, named: &str) -> Result<Vec<LayerRecord>, EngineError> {
        let image = self.find_image(named)?;
        Ok(self.store.image_layers(&image)?)
    }

    /// The configuration of what a container is made from.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn config_of<'s>(&self, source: &'s Source) -> Result<&'s ImageConfig, EngineError> {
        if let Some(config) = source.config.get() {
            return Ok(config);
        }
        let config = match &source.id {
            Some(id) => self.config_by_id(id)?,
            None => ImageConfig::of_nothing(Platform::host()),
        };
        Ok(source.config.get_or_init(|| config))
    }

    fn config_by_id(&self, id: &Digest) -> Result<ImageConfig, EngineError> {
        let bytes = self.store.blobs().read(id).map_err(StoreError::from)?;
        Ok(ImageConfig::parse(&bytes)?)
    }

    /// # Errors
    /// When the configuration is missing or damaged.
    pub fn image_config(&self, image: &Image) -> Result<ImageConfig, EngineError> {
        self.config_by_id(&image.id)
    }

    /// The configuration as it came from the registry.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn image_config_bytes(&self, image: &Image) -> Result<Vec<u8>, EngineError> {
        Ok(self
            .store
            .blobs()
            .read(&image.id)
            .map_err(StoreError::from)?)
    }

    /// All images, the latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn images(&self) -> Result<Vec<ImageView>, EngineError> {
        let db = self.store.db();
        db.images()?
            .into_iter()
            .map(|image| self.view_of(image))
            .collect()
    }

    /// # Errors
    /// When the database cannot be read.
    pub fn view_of(&self, image: Image) -> Result<ImageView, EngineError> {
        let (tags, digests) = self.store.db().names(&image.id)?;
        Ok(ImageView {
            image,
            tags,
            digests,
        })
    }

    /// Bytes of an image's files that are here: all of them, but for layers that are not whole
    /// ([`crate::filler`]).
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn present_bytes(&self, image: &Image) -> Result<u64, EngineError> {
        let layers = self.store.image_layers(image)?;
        let present = |layer: &LayerRecord| -> Result<u64, EngineError> {
            let pending = self.store.layers().present_bytes(layer)?;
            Ok(pending.unwrap_or(layer.size_bytes))
        };
        layers.iter().map(present).sum()
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// [`EngineError::NoImage`], or a name that is none.
    pub fn tag(&mut self, named: &str, name: &Reference) -> Result<(), EngineError> {
        let image = self.find_image(named)?;
        let name = canonical(name);
        self.store
            .db_mut()
            .write(|transaction| transaction.tag(&name, &image.id))?;
        self.tell_of_image("tag", &image.id, &name);
        Ok(())
    }

    /// Takes names away and leaves the image: these, or, without any, all that it has.
    ///
    /// # Errors
    /// [`EngineError::NoImage`], also for a name that is another's.
    pub fn untag(&mut self, named: &str, names: &[Reference]) -> Result<(), EngineError> {
        let image = self.find_image(named)?;
        let (tags, digests) = self.store.db().names(&image.id)?;
        let wanted: Vec<String> = names.iter().map(canonical).collect();
        let has = |name: &&String| !tags.contains(name) && !digests.contains(name);
        if let Some(other) = wanted.iter().find(has) {
            return Err(EngineError::NoImage(other.clone()));
        }
        let gone = match wanted.is_empty() {
            true => [tags, digests].concat(),
            false => wanted,
        };
        self.store.db_mut().write(|transaction| {
            gone.iter()
                .try_for_each(|name| transaction.untag(name).map(drop))
        })?;
        for name in &gone {
            self.tell_of_image("untag", &image.id, name);
        }
        Ok(())
    }

    /// Says what happened to an image.
    pub(crate) fn tell_of_image(&self, action: &str, id: &Digest, name: &str) {
        let attributes = events::attributes([("name", name)]);
        self.tell(&Event::now(
            Kind::Image,
            action,
            &id.to_string(),
            attributes,
        ));
    }

    /// Takes a name away, and the image with its last one.
    ///
    /// # Errors
    /// A conflict while a container relies on it, unless forced.
    pub fn remove_image(&mut self, named: &str, force: Force) -> Result<Vec<Removed>, EngineError> {
        let image = self.find_image(named)?;
        let reference = named.parse::<Reference>().ok().map(|r| canonical(&r));
        let by_name = match &reference {
            Some(name) if self.store.db().image_by_reference(name)?.is_some() => Some(name),
            _ => None,
        };
        let target = match by_name {
            Some(name) => ImageTarget::Reference(name),
            None => ImageTarget::Id(&image.id),
        };
        let removed = self.store.remove_image(target, force)?;
        for part in &removed {
            match part {
                Removed::Untagged(name) => self.tell_of_image("untag", &image.id, name),
                Removed::Deleted(id) if *id == image.id => {
                    self.tell_of_image("delete", id, &id.to_string());
                }
                // A layer of it.
                Removed::Deleted(_) => {}
            }
        }
        self.release_images()?;
        crate::filler::client::look(&self.dirs);
        Ok(removed)
    }
}

/// As the database has names.
pub(crate) fn canonical(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => format!(
            "{}:{}",
            reference.name(),
            reference.tag().unwrap_or("latest")
        ),
    }
}
