//! How an image came to be, as its configuration tells it, with the sizes of the layers that are
//! here.

use gamut_spec::digest::Digest;
use gamut_store::db::Image;

use crate::engine::Engine;
use crate::error::EngineError;

/// One step, the latest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Of the image itself, on its last step.
    pub id: Option<Digest>,
    /// Nanoseconds since the epoch.
    pub created_ns: Option<i64>,
    pub created_by: String,
    pub comment: String,
    /// Bytes of the files that the step left; 0 if it left none.
    pub size_bytes: u64,
    /// The names of the image, on its last step.
    pub tags: Vec<String>,
}

/// A layer of an image, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerOf {
    pub diff_id: Digest,
    pub size_bytes: u64,
    /// Names of the images that it is the top layer of.
    pub top_of: Vec<String>,
}

impl Engine {
    /// # Errors
    /// Not found, or a damaged configuration.
    pub fn history(&self, named: &str) -> Result<Vec<Step>, EngineError> {
        let image = self.find_image(named)?;
        let config = self.image_config(&image)?;
        let view = self.view_of(image)?;
        let layers = self.store.image_layers(&view.image)?;
        let mut sizes = layers.iter().map(|layer| layer.size_bytes);
        let mut steps: Vec<Step> = config
            .history
            .iter()
            .map(|step| Step {
                id: None,
                created_ns: step.created.as_deref().and_then(nanoseconds),
                created_by: step.created_by.clone().unwrap_or_default(),
                comment: step.comment.clone().unwrap_or_default(),
                size_bytes: match step.empty_layer {
                    true => 0,
                    false => sizes.next().unwrap_or(0),
                },
                tags: Vec::new(),
            })
            .collect();
        // An image may tell less than it has.
        steps.extend(sizes.map(|size_bytes| Step {
            id: None,
            created_ns: None,
            created_by: String::new(),
            comment: String::new(),
            size_bytes,
            tags: Vec::new(),
        }));
        if let Some(last) = steps.last_mut() {
            last.id = Some(view.image.id);
            last.tags = view.tags;
        }
        steps.reverse();
        Ok(steps)
    }

    /// An image and its layers, with the images that end with one of them.
    ///
    /// # Errors
    /// Not found.
    pub fn layers_of(&self, named: &str) -> Result<(Image, Vec<LayerOf>), EngineError> {
        let image = self.find_image(named)?;
        let others = self.images()?;
        let layers = self.store.image_layers(&image)?;
        let listed = layers.iter().enumerate().map(|(index, layer)| {
            let below = &image.layers[..=index];
            let ends_here = others.iter().filter(|other| other.image.layers == below);
            LayerOf {
                diff_id: layer.diff_id.clone(),
                size_bytes: layer.size_bytes,
                top_of: ends_here.flat_map(|other| other.tags.clone()).collect(),
            }
        });
        let listed = listed.collect();
        Ok((image, listed))
    }
}

fn nanoseconds(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}
