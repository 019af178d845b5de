//! `save`: images as one archive or directory that others can load.
//!
//! Layers are written as their uncompressed tars, byte for byte as they were unpacked: so a loaded
//! image has the same id. The same images are the same archive, whenever and wherever it is written.

use std::collections::BTreeMap;
use std::io::{self, Write};

use gamut_spec::digest::Digest;
use gamut_spec::image::layout::{
    ARCHIVE_FILE, ArchiveImage, IMAGE_NAME, INDEX_FILE, LAYOUT, LAYOUT_FILE, REF_NAME,
    REPOSITORIES_FILE, blob_file,
};
use gamut_spec::image::{Descriptor, Index, Manifest, MediaType, Platform};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};
use gamut_store::blob::Blobs;
use gamut_store::db::Image;
use gamut_store::layer::Layer;
use gamut_store::reproduce::ReproduceError;
use thiserror::Error;

pub use gamut_store::tar::Files;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::made::{ImageFormat, document, manifest};

/// What an image is saved as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SaveFormat {
    /// Docker's archive, which since Docker 25 is an OCI layout as well.
    #[default]
    DockerArchive,
    /// An OCI layout as an archive.
    OciArchive,
    /// An OCI layout as a directory.
    OciDirectory,
    /// skopeo's `dir:`: a manifest, and blobs beside it.
    DockerDirectory,
}

impl SaveFormat {
    fn image_format(self) -> ImageFormat {
        match self {
            Self::DockerDirectory => ImageFormat::Docker,
            _ => ImageFormat::Oci,
        }
    }
}

/// Why an image could not be saved.
#[derive(Debug, Error)]
pub enum SaveError {
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Layer(#[from] ReproduceError),
    #[error("`{named}` is for {offered}, and {wanted} was asked for")]
    Platform {
        named: String,
        offered: Box<Platform>,
        wanted: Box<Platform>,
    },
    #[error("a `docker-dir` has room for one image, and there are {0}")]
    OneOnly(usize),
}

impl Fault for SaveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Write(error) => match ReproduceError::within(error) {
                Some(error) => error.kind(),
                None => Kind::Unavailable,
            },
            Self::Layer(error) => error.kind(),
            Self::Platform { .. } => Kind::NotFound,
            Self::OneOnly(_) => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Write(error) => ReproduceError::within(error).and_then(Fault::hint),
            Self::Layer(error) => error.hint(),
            Self::Platform { .. } => Some("pull that platform first".into()),
            Self::OneOnly(_) => Some("save them one by one, or as a `docker-archive`".into()),
        }
    }
}

/// An image to be saved.
struct Saved {
    image: Image,
    names: Vec<Reference>,
    layers: Vec<Layer>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    entries: Vec<Descriptor>,
}

/// What a blob is written from.
enum Content<'s> {
    Bytes(&'s [u8]),
    Layer(&'s Layer, u64),
}

impl Engine {
    /// Writes the images that are named, each once, with the names that they were named by. A name
    /// without a tag stands for all tags of its repository.
    ///
    /// # Errors
    /// [`SaveError`], or an image that is not here. What is written then is no archive.
    pub fn save<W: Write>(
        &self,
        named: &[String],
        platform: Option<&Platform>,
        format: SaveFormat,
        mut files: Files<W>,
    ) -> Result<Option<W>, EngineError> {
        let images = self.selected(named, platform, format.image_format())?;
        match format {
            SaveFormat::DockerDirectory => self.write_directory(&images, &mut files)?,
            SaveFormat::DockerArchive => {
                self.write_layout(&images, &mut files)?;
                write_docker(&images, &mut files).map_err(SaveError::Write)?;
            }
            SaveFormat::OciArchive | SaveFormat::OciDirectory => {
                self.write_layout(&images, &mut files)?;
            }
        }
        Ok(files.finish().map_err(SaveError::Write)?)
    }

    fn selected(
        &self,
        named: &[String],
        platform: Option<&Platform>,
        format: ImageFormat,
    ) -> Result<Vec<Saved>, EngineError> {
        let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
        for text in named {
            for (image, name) in self.meant(text)? {
                if let Some(wanted) = platform {
                    let offered = self.image_config(&image)?.platform();
                    if !wanted.accepts(&offered) {
                        return Err(EngineError::from(SaveError::Platform {
                            named: text.clone(),
                            offered: Box::new(offered),
                            wanted: Box::new(wanted.clone()),
                        }));
                    }
                }
                let at = images.iter().position(|(seen, _)| seen.id == image.id);
                let at = at.unwrap_or_else(|| {
                    images.push((image, Vec::new()));
                    images.len() - 1
                });
                let names = &mut images[at].1;
                names.extend(name.filter(|name| !names.contains(name)));
            }
        }
        images
            .into_iter()
            .map(|(image, names)| self.saved(image, names, format))
            .collect()
    }

    /// The images behind one word, with the name that each has by it; an id gives none.
    fn meant(&self, text: &str) -> Result<Vec<(Image, Option<Reference>)>, EngineError> {
        let is_plain = text
            .rsplit('/')
            .next()
            .is_some_and(|end| !end.contains([':', '@']));
        let Ok(reference) = text.parse::<Reference>() else {
            return Ok(vec![(self.find_image(text)?, None)]);
        };
        let db = self.store.db();
        let mut found = Vec::new();
        if is_plain {
            for tag in db.tags()? {
                let Ok(name) = tag.reference.parse::<Reference>() else {
                    continue;
                };
                if name.name() == reference.name()
                    && let Some(image) = db.image(&tag.image_id)?
                {
                    found.push((image, Some(name)));
                }
            }
        }
        if found.is_empty() {
            let image = self.find_image(text)?;
            let by_name = db.image_by_reference(&crate::images::canonical(&reference))?;
            let has_tag = by_name.is_some() && reference.digest().is_none();
            found.push((image, has_tag.then_some(reference)));
        }
        Ok(found)
    }

    fn saved(
        &self,
        image: Image,
        names: Vec<Reference>,
        format: ImageFormat,
    ) -> Result<Saved, EngineError> {
        let layers = self.pinned(&image)?;
        let config = self.image_config_bytes(&image)?;
        let entries: Vec<Descriptor> = layers
            .iter()
            .map(|layer| {
                let tar_bytes = self.store.layers().tar_bytes(layer)?;
                Ok(format.plain_layer(&layer.record.diff_id, tar_bytes))
            })
            .collect::<Result<_, ReproduceError>>()?;
        // A pulled manifest may carry annotations that are worth keeping; its layers are others.
        let annotations = self.manifest_of(&image)?.manifest.annotations;
        let config_entry = Descriptor::new(format.config(), image.id.clone(), config.len() as u64);
        let manifest = Manifest {
            annotations: annotations.filter(|_| format == ImageFormat::Oci),
            ..manifest(format, config_entry, entries.clone())
        };
        Ok(Saved {
            manifest: document(&manifest),
            image,
            names,
            layers,
            config,
            entries,
        })
    }

    fn write_layout<W: Write>(
        &self,
        images: &[Saved],
        files: &mut Files<W>,
    ) -> Result<(), EngineError> {
        let blobs = blobs_of(images);
        let write = |files: &mut Files<W>| -> Result<(), SaveError> {
            files.directory("blobs").map_err(SaveError::Write)?;
            let mut algorithm = "";
            for (digest, content) in &blobs {
                if algorithm != digest.algorithm().as_str() {
                    algorithm = digest.algorithm().as_str();
                    let directory = format!("blobs/{algorithm}");
                    files.directory(&directory).map_err(SaveError::Write)?;
                }
                self.write_blob(files, &blob_file(digest), content)?;
            }
            let index = document(&index_of(images));
            bytes(files, INDEX_FILE, &index).map_err(SaveError::Write)?;
            bytes(files, LAYOUT_FILE, LAYOUT.as_bytes()).map_err(SaveError::Write)
        };
        Ok(write(files)?)
    }

    fn write_directory<W: Write>(
        &self,
        images: &[Saved],
        files: &mut Files<W>,
    ) -> Result<(), EngineError> {
        let [image] = images else {
            return Err(SaveError::OneOnly(images.len()).into());
        };
        let manifest = Blobs::digest(&image.manifest);
        for (digest, content) in blobs_of(images) {
            if digest != manifest {
                self.write_blob(files, &digest.hex(), &content)?;
            }
        }
        // containers-transports(5), dir.
        let version = b"Directory Transport Version: 1.1\n";
        bytes(files, ARCHIVE_FILE, &image.manifest)
            .and_then(|()| bytes(files, "version", version))
            .map_err(SaveError::Write)?;
        Ok(())
    }

    fn write_blob<W: Write>(
        &self,
        files: &mut Files<W>,
        name: &str,
        content: &Content<'_>,
    ) -> Result<(), SaveError> {
        match content {
            Content::Bytes(content) => bytes(files, name, content),
            Content::Layer(layer, tar_bytes) => {
                let archive = self.store.layers().reproduce(layer)?;
                files.file(name, archive, *tar_bytes)
            }
        }
        .map_err(SaveError::Write)
    }
}

/// Everything that is named by its digest, each once.
fn blobs_of(images: &[Saved]) -> BTreeMap<Digest, Content<'_>> {
    let mut blobs = BTreeMap::new();
    for image in images {
        let manifest = Blobs::digest(&image.manifest);
        blobs.insert(manifest, Content::Bytes(&image.manifest));
        blobs.insert(image.image.id.clone(), Content::Bytes(&image.config));
        for (layer, entry) in image.layers.iter().zip(&image.entries) {
            blobs.insert(entry.digest.clone(), Content::Layer(layer, entry.size));
        }
    }
    blobs
}

/// The index of a layout: an entry for each name, one for an image without.
fn index_of(images: &[Saved]) -> Index {
    let mut manifests = Vec::new();
    for image in images {
        let plain = Descriptor::new(
            MediaType::OciManifest,
            Blobs::digest(&image.manifest),
            image.manifest.len() as u64,
        );
        let entry = |name: &Reference| {
            let mut annotations = BTreeMap::from([(IMAGE_NAME.to_owned(), name.to_string())]);
            let tag = name.tag().map(|tag| (REF_NAME.to_owned(), tag.to_owned()));
            annotations.extend(tag);
            Descriptor {
                annotations: Some(annotations),
                ..plain.clone()
            }
        };
        manifests.extend(image.names.iter().map(entry));
        if image.names.is_empty() {
            manifests.push(plain);
        }
    }
    Index {
        schema_version: 2,
        media_type: Some(MediaType::OciIndex),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: None,
    }
}

/// What makes a layout Docker's archive, too.
fn write_docker<W: Write>(images: &[Saved], files: &mut Files<W>) -> io::Result<()> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut list = Vec::new();
    for image in images {
        let tags = image.names.iter().map(Reference::familiar).collect();
        let sources = image
            .entries
            .iter()
            .map(|entry| (entry.digest.clone(), entry.clone()));
        list.push(ArchiveImage {
            config: blob_file(&image.image.id),
            repo_tags: Some(tags).filter(|tags: &Vec<String>| !tags.is_empty()),
            layers: image
                .entries
                .iter()
                .map(|entry| blob_file(&entry.digest))
                .collect(),
            layer_sources: sources.collect(),
        });
        let Some(top) = image.entries.last() else {
            continue;
        };
        for name in &image.names {
            let tags = repositories.entry(name.familiar_name()).or_default();
            let tag = name.tag().unwrap_or_default().to_owned();
            tags.insert(tag, top.digest.hex());
        }
    }
    bytes(files, ARCHIVE_FILE, &document(&list))?;
    bytes(files, REPOSITORIES_FILE, &document(&repositories))
}

fn bytes<W: Write>(files: &mut Files<W>, name: &str, content: &[u8]) -> io::Result<()> {
    files.file(name, content, content.len() as u64)
}
