//! `image verify` and `system check`: every byte of images read again, and what is damaged taken out of
//! the way, so that the next pull fetches it.

use std::collections::BTreeMap;

use gamut_spec::digest::Digest;
use gamut_store::db::Image;
use gamut_store::layer::LayerRecord;
pub use gamut_store::verify::Verdict;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::ImageView;

/// A part of images.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// By its diff id.
    Layer(Digest),
    /// A manifest, a configuration, an attestation.
    Blob(Digest),
}

/// What was found of one part.
#[derive(Debug, Clone)]
pub struct Finding {
    pub part: Part,
    pub verdict: Verdict,
    /// The images that have it.
    pub images: Vec<Image>,
}

impl Finding {
    /// Whether its images cannot be relied on.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Missing | Verdict::Damaged(_))
    }
}

impl Engine {
    /// Reads all parts of these images, each once.
    ///
    /// # Errors
    /// When something cannot be read for another reason than that it is damaged.
    pub fn verify(&self, images: &[ImageView]) -> Result<Vec<Finding>, EngineError> {
        let mut parts: BTreeMap<Part, Vec<Image>> = BTreeMap::new();
        for ImageView { image, .. } in images {
            let blobs = self.store.db().blobs_of(image)?;
            let blobs = blobs.into_iter().map(Part::Blob);
            let layers = image.layers.iter().map(|id| Part::Layer(id.clone()));
            for part in layers.chain(blobs) {
                let users = parts.entry(part).or_default();
                if !users.contains(image) {
                    users.push(image.clone());
                }
            }
        }
        parts
            .into_iter()
            .map(|(part, images)| {
                let verdict = match &part {
                    Part::Blob(digest) => self.store.verify_blob(digest)?,
                    Part::Layer(diff_id) => match self.store.db().layer(diff_id)? {
                        Some(layer) => self.store.verify_layer(&layer)?,
                        None => Verdict::Missing,
                    },
                };
                Ok(Finding {
                    part,
                    verdict,
                    images,
                })
            })
            .collect()
    }

    /// Takes what is damaged away, unless a container is running from it or a process is using it.
    /// Returns what is gone now.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_damaged(&mut self, findings: &[Finding]) -> Result<Vec<Part>, EngineError> {
        let live: Vec<Digest> = self
            .containers()?
            .into_iter()
            .filter(|view| view.status.is_live())
            .filter_map(|view| view.row.image_id)
            .collect();
        let mut removed = Vec::new();
        for finding in findings.iter().filter(|finding| finding.is_bad()) {
            if finding.images.iter().any(|image| live.contains(&image.id)) {
                continue;
            }
            let gone = match &finding.part {
                Part::Blob(digest) => self.store.remove_damaged_blob(digest)?,
                Part::Layer(diff_id) => match self.store.db().layer(diff_id)? {
                    Some(layer) => self.remove_damaged_layer(&layer)?,
                    None => true,
                },
            };
            if gone {
                removed.push(finding.part.clone());
            }
        }
        Ok(removed)
    }

    fn remove_damaged_layer(&mut self, layer: &LayerRecord) -> Result<bool, EngineError> {
        let gone = self.store.remove_damaged_layer(layer)?;
        // Its image must not be found mounted when it has been pulled again.
        self.release_images()?;
        Ok(gone)
    }
}
