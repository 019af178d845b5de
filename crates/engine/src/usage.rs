//! What takes the disk: images, containers, volumes and what is left of pulls, as `system df` shows
//! them; and every byte of the store's directory with what it belongs to.

use std::collections::{BTreeMap, HashMap, HashSet};

use gamut_plan::request::{MountSource, RunRequest};
use gamut_spec::digest::Digest;
pub use gamut_store::account::Owner;
use gamut_store::db::Container;
use gamut_store::erofs::format::Algorithm;
pub use gamut_store::snapshot::Usage;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::ImageView;
use crate::start::View;

/// How the names of volumes begin that belong to one container.
const ANONYMOUS: &str = "of-";

/// Everything in the store's directory.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    pub images: Vec<ImageUsage>,
    pub containers: Vec<ContainerUsage>,
    pub volumes: Vec<VolumeUsage>,
    /// What pulls have left: downloads that go on where they were, and content that no image has.
    pub cache: Vec<CacheUsage>,
    /// Layers, manifests and configurations that images have, each once; those that no container
    /// relies on.
    pub image_bytes: u64,
    pub unused_image_bytes: u64,
    /// All there is.
    pub pieces: Vec<Piece>,
}

/// One image. Bytes on disk.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    pub view: ImageView,
    /// Of layers that other images have too.
    pub shared_bytes: u64,
    pub unique_bytes: u64,
    /// What files of its layers are compressed with.
    pub compression: Vec<String>,
    /// How many containers rely on it.
    pub containers: usize,
}

/// One container.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    pub view: View,
    /// Of its changes, its log and its record.
    pub bytes: u64,
    /// How many volumes it uses.
    pub volumes: usize,
}

/// One volume.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    pub name: String,
    /// How many containers use it.
    pub links: usize,
    pub bytes: u64,
}

impl VolumeUsage {
    /// Whether it belongs to one container, and goes with it.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.name.starts_with(ANONYMOUS)
    }
}

/// Something that no image needs.
#[derive(Debug, Clone)]
pub struct CacheUsage {
    pub owner: Owner,
    pub bytes: u64,
    /// A process is at it.
    pub in_use: bool,
}

/// Some of the bytes.
#[derive(Debug, Clone)]
pub struct Piece {
    pub owner: Owner,
    pub usage: Usage,
    /// The names of images, containers and volumes that have it.
    pub belongs_to: Vec<String>,
}

/// What the database says of the owners.
struct Known {
    images: Vec<ImageView>,
    containers: Vec<View>,
    /// Layer directory → diff id.
    layers: HashMap<String, Digest>,
    /// Diff id → what the layer's files are compressed with.
    algorithms: HashMap<Digest, Vec<Algorithm>>,
    /// Merged image → images that are shown by it.
    merged: HashMap<String, Vec<Digest>>,
    /// Blob, by its digits → images that it is of.
    blobs: HashMap<String, Vec<Digest>>,
    /// Volume → names of the containers that use it.
    volumes: HashMap<String, Vec<String>>,
}

impl Engine {
    /// Measures everything. What changes meanwhile may be counted or not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn disk_usage(&mut self) -> Result<DiskUsage, EngineError> {
        let known = Known::of(self)?;
        let account = self.store.account()?;
        let pieces: Vec<Piece> = account
            .into_iter()
            .map(|(owner, usage)| Piece {
                belongs_to: known.belongs_to(&owner),
                owner,
                usage,
            })
            .collect();
        let bytes: BTreeMap<&Owner, u64> = pieces
            .iter()
            .map(|piece| (&piece.owner, piece.usage.allotted_bytes))
            .collect();
        let of = |owner: &Owner| bytes.get(owner).copied().unwrap_or(0);
        let (image_bytes, unused_image_bytes) = known.image_bytes(&pieces);
        Ok(DiskUsage {
            images: known.image_usages(&pieces),
            containers: known
                .containers
                .iter()
                .map(|view| {
                    let id = &view.row.id;
                    let own = [Owner::Changes, Owner::Log, Owner::Record];
                    ContainerUsage {
                        bytes: own.iter().map(|owner| of(&owner(id.clone()))).sum(),
                        volumes: volumes_of(&view.row)
                            .into_iter()
                            .filter(|name| bytes.contains_key(&Owner::Volume(name.clone())))
                            .count(),
                        view: view.clone(),
                    }
                })
                .collect(),
            volumes: pieces
                .iter()
                .filter_map(|piece| match &piece.owner {
                    Owner::Volume(name) => Some(VolumeUsage {
                        name: name.clone(),
                        links: piece.belongs_to.len(),
                        bytes: piece.usage.allotted_bytes,
                    }),
                    _ => None,
                })
                .collect(),
            cache: pieces
                .iter()
                .filter(|piece| is_cache(piece))
                .map(|piece| CacheUsage {
                    owner: piece.owner.clone(),
                    bytes: piece.usage.allotted_bytes,
                    in_use: self.store.is_in_use(&piece.owner),
                })
                .collect(),
            image_bytes,
            unused_image_bytes,
            pieces,
        })
    }
}

/// Whether it is there for the next pull only.
fn is_cache(piece: &Piece) -> bool {
    match piece.owner {
        Owner::Layer(_) | Owner::Merged(_) | Owner::Blob(_) => piece.belongs_to.is_empty(),
        Owner::Download(_) | Owner::Temporary(_) => true,
        _ => false,
    }
}

impl Known {
    fn of(engine: &mut Engine) -> Result<Known, EngineError> {
        let containers = engine.containers()?;
        let mut volumes: HashMap<String, Vec<String>> = HashMap::new();
        for view in &containers {
            for volume in volumes_of(&view.row) {
                volumes
                    .entry(volume)
                    .or_default()
                    .push(view.row.name.clone());
            }
        }
        let layers = engine.store.db().layers()?;
        let mut merged: HashMap<String, Vec<Digest>> = HashMap::new();
        let mut blobs: HashMap<String, Vec<Digest>> = HashMap::new();
        for view in engine.images()? {
            for name in engine.store.names_of(&view.image)? {
                let images = merged.entry(name).or_default();
                images.push(view.image.id.clone());
            }
            for blob in engine.store.db().blobs_of(&view.image)? {
                let images = blobs.entry(blob.hex()).or_default();
                images.push(view.image.id.clone());
            }
        }
        Ok(Known {
            merged,
            blobs,
            images: engine.images()?,
            containers,
            algorithms: layers
                .iter()
                .map(|layer| {
                    let algorithms = engine.store.layer_algorithms(layer);
                    (layer.diff_id.clone(), algorithms)
                })
                .collect(),
            layers: layers
                .into_iter()
                .map(|layer| (layer.directory, layer.diff_id))
                .collect(),
            volumes,
        })
    }

    /// The images that have a layer or a blob.
    fn images_with<'k>(&'k self, owner: &'k Owner) -> impl Iterator<Item = &'k ImageView> {
        let layer = match owner {
            Owner::Layer(name) => self.layers.get(name),
            _ => None,
        };
        self.images.iter().filter(move |view| match owner {
            Owner::Layer(_) => layer.is_some_and(|layer| view.image.layers.contains(layer)),
            Owner::Merged(name) => self
                .merged
                .get(name)
                .is_some_and(|images| images.contains(&view.image.id)),
            Owner::Blob(hex) => self
                .blobs
                .get(hex)
                .is_some_and(|images| images.contains(&view.image.id)),
            _ => false,
        })
    }

    fn compression(&self, view: &ImageView) -> Vec<String> {
        let layers = view.image.layers.iter();
        let used = |algorithm: &Algorithm| {
            let has = |layer: &Digest| self.algorithms.get(layer);
            layers
                .clone()
                .filter_map(has)
                .any(|of| of.contains(algorithm))
        };
        let all = Algorithm::ALL.into_iter();
        all.filter(used)
            .map(|algorithm| algorithm.name().to_ascii_lowercase())
            .collect()
    }

    fn containers_of(&self, image: &Digest) -> usize {
        let relies = |view: &&View| view.row.image_id.as_ref() == Some(image);
        self.containers.iter().filter(relies).count()
    }

    fn belongs_to(&self, owner: &Owner) -> Vec<String> {
        match owner {
            Owner::Layer(_) | Owner::Merged(_) | Owner::Blob(_) => {
                self.images_with(owner).map(name).collect()
            }
            Owner::Changes(id) | Owner::Log(id) | Owner::Record(id) => self
                .containers
                .iter()
                .filter(|view| view.row.id == *id)
                .map(|view| view.row.name.clone())
                .collect(),
            Owner::Volume(volume) => self.volumes.get(volume).cloned().unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Bytes of all images together, and of what no container relies on.
    fn image_bytes(&self, pieces: &[Piece]) -> (u64, u64) {
        let (mut all, mut unused) = (0, 0);
        for piece in pieces {
            let mut images = self.images_with(&piece.owner).peekable();
            if images.peek().is_none() {
                continue;
            }
            all += piece.usage.allotted_bytes;
            if images.all(|view| self.containers_of(&view.image.id) == 0) {
                unused += piece.usage.allotted_bytes;
            }
        }
        (all, unused)
    }

    fn image_usages(&self, pieces: &[Piece]) -> Vec<ImageUsage> {
        let mut usages: Vec<ImageUsage> = self
            .images
            .iter()
            .map(|view| ImageUsage {
                view: view.clone(),
                shared_bytes: 0,
                unique_bytes: 0,
                compression: self.compression(view),
                containers: self.containers_of(&view.image.id),
            })
            .collect();
        for piece in pieces {
            let ids: HashSet<&Digest> = self
                .images_with(&piece.owner)
                .map(|view| &view.image.id)
                .collect();
            let bytes = piece.usage.allotted_bytes;
            for usage in usages
                .iter_mut()
                .filter(|usage| ids.contains(&usage.view.image.id))
            {
                match ids.len() {
                    1 => usage.unique_bytes += bytes,
                    _ => usage.shared_bytes += bytes,
                }
            }
        }
        usages
    }
}

/// What people call an image.
fn name(view: &ImageView) -> String {
    let named = view.tags.first().or(view.digests.first());
    named.map_or_else(|| view.image.id.short(), Clone::clone)
}

/// The names of the volumes that a container uses.
fn volumes_of(row: &Container) -> Vec<String> {
    let request: Option<RunRequest> = serde_json::from_str(&row.request).ok();
    let mounts = request.map(|request| request.storage.mounts);
    let mut names: Vec<String> = mounts
        .unwrap_or_default()
        .into_iter()
        .filter_map(|mount| match mount.source {
            MountSource::Volume { name, .. } => name,
            _ => None,
        })
        .collect();
    names.push(format!("{ANONYMOUS}{}", row.id));
    names
}
