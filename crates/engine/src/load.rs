//! `load`: images from an archive or a directory, whoever wrote it.
//!
//! What the archive is, its files say: an OCI layout (`oci-layout`), Docker's archive
//! (`manifest.json`, a list), both (Docker since 25), or skopeo's `dir:` (`manifest.json`, a
//! manifest). Of a layout every blob is checked against its digest; of Docker's archive, which has
//! none, the layers against the configuration and the configuration by its being the image's id.

use std::collections::BTreeMap;
use std::io::Read;

use gamut_spec::digest::Digest;
use gamut_spec::image::layout::{
    ARCHIVE_FILE, ArchiveImage, INDEX_FILE, LAYOUT_FILE, blob_file, entry_name,
};
use gamut_spec::image::{
    Compression, Descriptor, Document, ImageConfig, ImageError, Index, MAX_CONFIG_BYTES,
    MAX_INDEX_DEPTH, MAX_MANIFEST_BYTES, Manifest, MediaType, Platform,
};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};
use gamut_store::blob::Blobs;
use gamut_store::db::Image;
use gamut_store::layer::{Layer, LayerError};
use gamut_store::members::{Members, MembersError};
use gamut_store::unpack::LayerSource;
use thiserror::Error;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::canonical;
use crate::made::{ImageFormat, Recording, document, manifest};
use crate::pull::{LayerEvent, PullEvents};
use crate::trust;

/// Why nothing was loaded, or not all.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Members(#[from] MembersError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the archive has no image: neither `{INDEX_FILE}` nor `{ARCHIVE_FILE}`")]
    NoImage,
    #[error("the archive has no image for {0}")]
    Platform(Platform),
    #[error("`{name}` is no name of an image")]
    Name {
        name: String,
        source: gamut_spec::reference::ReferenceError,
    },
    #[error("layer {layer}")]
    Layer { layer: String, source: LayerError },
    #[error("layer {layer} cannot be read")]
    Stream {
        layer: String,
        source: std::io::Error,
    },
}

impl Fault for LoadError {
    fn kind(&self) -> Kind {
        match self {
            Self::Members(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::NoImage | Self::Name { .. } => Kind::Invalid,
            Self::Platform(_) => Kind::NotFound,
            Self::Stream { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Members(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Layer { source, .. } => match source.kind() {
                Kind::Invalid => Some("the archive is damaged: save it again".into()),
                _ => source.hint(),
            },
            Self::NoImage => Some("a tar of a root file system is for `gamut import`".into()),
            Self::Platform(_) => Some("leave `--platform` out, or save that platform".into()),
            Self::Name { .. } | Self::Stream { .. } => None,
        }
    }
}

/// An image that is here now.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub image: Image,
    /// The names that it got.
    pub names: Vec<Reference>,
}

/// An image of the archive, read but for its layers.
struct Found {
    id: Digest,
    manifest: Vec<u8>,
    manifest_type: MediaType,
    config: Vec<u8>,
    config_type: MediaType,
    parsed: ImageConfig,
    /// The file of each layer and, where there is one, its descriptor.
    layers: Vec<(String, Option<Descriptor>)>,
    names: Vec<Reference>,
}

impl Engine {
    /// Loads every image of an archive, or those of a platform.
    ///
    /// # Errors
    /// [`LoadError`]. Images that came before the one that failed stay.
    pub fn load(
        &mut self,
        members: &Members,
        platform: Option<&Platform>,
        events: &dyn PullEvents,
    ) -> Result<Vec<Loaded>, EngineError> {
        let (transport, found) = find(members, platform)?;
        for image in &found {
            let name = match image.names.first() {
                Some(name) => name.familiar(),
                None => image.id.short(),
            };
            trust::check_archive(self.policy.as_deref(), transport, &name)?;
        }
        let mut loaded = Vec::new();
        for image in found {
            let layers = self.load_layers(members, &image, events)?;
            let recording = Recording {
                manifest: &image.manifest,
                manifest_type: image.manifest_type,
                config: &image.config,
                config_type: image.config_type,
                layers,
                names: image.names.iter().map(canonical).collect(),
            };
            loaded.push(Loaded {
                image: self.record_made(&image.parsed, recording)?,
                names: image.names,
            });
        }
        Ok(loaded)
    }

    fn load_layers(
        &self,
        members: &Members,
        image: &Found,
        events: &dyn PullEvents,
    ) -> Result<Vec<Layer>, EngineError> {
        let mut layers = Vec::new();
        for ((file, entry), diff_id) in image.layers.iter().zip(&image.parsed.rootfs.diff_ids) {
            let short = diff_id.short();
            if let Some(layer) = self.store.layer(diff_id)? {
                events.event(&short, LayerEvent::Exists);
                layers.push(layer);
                continue;
            }
            events.event(&short, LayerEvent::Extracting);
            layers.push(self.load_layer(members, file, entry.as_ref(), diff_id, events)?);
            events.event(&short, LayerEvent::Done);
        }
        Ok(layers)
    }

    fn load_layer(
        &self,
        members: &Members,
        file: &str,
        entry: Option<&Descriptor>,
        diff_id: &Digest,
        events: &dyn PullEvents,
    ) -> Result<Layer, EngineError> {
        let missing = || LoadError::from(MembersError::NotFound(file.to_owned()));
        let member = members
            .get(file)
            .map_err(LoadError::from)?
            .ok_or_else(missing)?;
        let plain = MediaType::DockerLayer(Compression::None);
        let (source, bytes): (LayerSource<'_>, Box<dyn Read + Send>) = match entry {
            Some(entry) => {
                let source = LayerSource {
                    digest: &entry.digest,
                    size_bytes: Some(entry.size),
                    media_type: entry.media_type.as_str(),
                    diff_id,
                };
                (source, Box::new(member))
            }
            // Nobody says what the file's own digest is, but what it unpacks to has one.
            None => {
                let source = LayerSource {
                    digest: diff_id,
                    size_bytes: None,
                    media_type: plain.as_str(),
                    diff_id,
                };
                let layer = diff_id.short();
                let bytes = member
                    .decompressed()
                    .map_err(|source| LoadError::Stream { layer, source })?;
                (source, bytes)
            }
        };
        let unpacked = self
            .store
            .layers()
            .unpack(&source, bytes, &self.unpack_options()?);
        let (layer, warnings) = unpacked.map_err(|source| LoadError::Layer {
            layer: file.to_owned(),
            source,
        })?;
        for warning in &warnings.kept {
            let text = format!(
                "layer {}: {}: {}",
                diff_id.short(),
                warning.entry,
                warning.what
            );
            events.warning(&text);
        }
        Ok(layer)
    }

    /// Opens an archive; what has to be kept meanwhile is kept in the store.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn open_archive(&self, path: &std::path::Path) -> Result<Members, EngineError> {
        Ok(Members::open(path, self.store.root()).map_err(LoadError::from)?)
    }

    /// The same of a stream.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn keep_archive(&self, stream: impl Read + Send) -> Result<Members, EngineError> {
        Ok(Members::of_stream(stream, self.store.root()).map_err(LoadError::from)?)
    }
}

/// The images, and the transport by which they come: containers-transports(5).
fn find(
    members: &Members,
    platform: Option<&Platform>,
) -> Result<(&'static str, Vec<Found>), LoadError> {
    let has = |name: &str| members.get(name).map(|member| member.is_some());
    let is_docker = has(ARCHIVE_FILE)?;
    let (transport, mut found) = match (has(LAYOUT_FILE)? && has(INDEX_FILE)?, is_docker) {
        (true, true) => ("docker-archive", of_layout(members, platform)?),
        (true, false) if members.is_directory() => ("oci", of_layout(members, platform)?),
        (true, false) => ("oci-archive", of_layout(members, platform)?),
        (false, true) => of_archive(members)?,
        (false, false) => return Err(LoadError::NoImage),
    };
    if let Some(wanted) = platform {
        found.retain(|image| wanted.accepts(&image.parsed.platform()));
        if found.is_empty() {
            return Err(LoadError::Platform(wanted.clone()));
        }
    }
    match found.is_empty() {
        true => Err(LoadError::NoImage),
        false => Ok((transport, found)),
    }
}

/// An OCI image layout. Each entry of its index is an image, or an index of one for several
/// platforms; entries without names that differ in their platform are one image, too.
fn of_layout(members: &Members, platform: Option<&Platform>) -> Result<Vec<Found>, LoadError> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let bytes = members.read(INDEX_FILE, MAX_MANIFEST_BYTES)?;
    let index = match Document::parse(&bytes, Some(MediaType::OciIndex.as_str()))? {
        Document::Index(index) => index,
        Document::Manifest(_) => return Err(LoadError::NoImage),
    };
    let also = docker_names(members)?;
    let mut found: BTreeMap<Digest, Found> = BTreeMap::new();
    for entry in images_of(&index, wanted)? {
        let Some(image) = of_entry(members, entry, wanted)? else {
            continue;
        };
        let id = image.id.clone();
        let image = found.entry(id.clone()).or_insert(image);
        let names = entry_name(entry).into_iter();
        for name in names.chain(also.get(&id).into_iter().flatten().cloned()) {
            if !image.names.contains(&name) {
                image.names.push(name);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The entries of a layout's index that are images of their own.
fn images_of<'i>(index: &'i Index, wanted: &Platform) -> Result<Vec<&'i Descriptor>, LoadError> {
    let is_image = |entry: &&Descriptor| {
        let is_document = entry.media_type.is_manifest() || entry.media_type.is_index();
        is_document && !entry.platform.as_ref().is_some_and(Platform::is_unknown)
    };
    let entries: Vec<&Descriptor> = index.manifests.iter().filter(is_image).collect();
    let variants = |entry: &&Descriptor| entry.platform.is_some() && entry_name(entry).is_none();
    match entries.len() > 1 && entries.iter().all(variants) {
        true => Ok(vec![index.select(wanted)?]),
        false => Ok(entries),
    }
}

/// The image behind an entry; `None` if it is no image but some other artifact.
fn of_entry(
    members: &Members,
    entry: &Descriptor,
    wanted: &Platform,
) -> Result<Option<Found>, LoadError> {
    let mut entry = entry.clone();
    for _ in 0..=MAX_INDEX_DEPTH {
        let bytes = blob(members, &entry, MAX_MANIFEST_BYTES)?;
        match Document::parse(&bytes, Some(entry.media_type.as_str()))? {
            Document::Index(index) => entry = index.select(wanted)?.clone(),
            Document::Manifest(manifest) if !manifest.config.media_type.is_image_config() => {
                return Ok(None);
            }
            Document::Manifest(manifest) => {
                let config = blob(members, &manifest.config, MAX_CONFIG_BYTES)?;
                let files = |layer: &Descriptor| blob_file(&layer.digest);
                let found = of_manifest(&manifest, bytes, config, files)?;
                return Ok(Some(found));
            }
        }
    }
    Err(ImageError::TooDeep.into())
}

fn of_manifest(
    manifest: &Manifest,
    bytes: Vec<u8>,
    config: Vec<u8>,
    file: impl Fn(&Descriptor) -> String,
) -> Result<Found, LoadError> {
    let parsed = ImageConfig::parse(&config)?;
    parsed.check_layers(manifest)?;
    let layers = manifest.image_layers()?.into_iter();
    Ok(Found {
        id: manifest.config.digest.clone(),
        manifest: bytes,
        manifest_type: manifest
            .media_type
            .clone()
            .unwrap_or(MediaType::OciManifest),
        config,
        config_type: manifest.config.media_type.clone(),
        parsed,
        layers: layers
            .map(|layer| (file(&layer.descriptor), Some(layer.descriptor)))
            .collect(),
        names: Vec::new(),
    })
}

/// A blob of a layout.
fn blob(members: &Members, entry: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, LoadError> {
    Ok(members.read_verified(&blob_file(&entry.digest), &entry.digest, limit_bytes)?)
}

/// The names that Docker's description gives to images of a layout, by their ids.
fn docker_names(members: &Members) -> Result<BTreeMap<Digest, Vec<Reference>>, LoadError> {
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    let Some(_) = members.get(ARCHIVE_FILE)? else {
        return Ok(names);
    };
    let bytes = members.read(ARCHIVE_FILE, MAX_MANIFEST_BYTES)?;
    for image in ArchiveImage::parse_list(&bytes)? {
        let hex = image.config.rsplit('/').next().unwrap_or_default();
        if let Ok(id) = format!("sha256:{hex}").parse() {
            names.entry(id).or_default().extend(parse_names(&image)?);
        }
    }
    Ok(names)
}

fn parse_names(image: &ArchiveImage) -> Result<Vec<Reference>, LoadError> {
    let names = image.repo_tags.iter().flatten();
    let parse = |name: &String| {
        name.parse().map_err(|source| LoadError::Name {
            name: name.clone(),
            source,
        })
    };
    names.map(parse).collect()
}

/// Docker's archive, or skopeo's `dir:`.
fn of_archive(members: &Members) -> Result<(&'static str, Vec<Found>), LoadError> {
    let bytes = members.read(ARCHIVE_FILE, MAX_MANIFEST_BYTES)?;
    let is_list = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_list {
        return Ok(("dir", vec![of_directory(members, bytes)?]));
    }
    let images = ArchiveImage::parse_list(&bytes)?;
    let found = images.iter().map(|image| of_archive_image(members, image));
    Ok(("docker-archive", found.collect::<Result<_, _>>()?))
}

/// skopeo's `dir:`: blobs are called by the digits of their digests.
fn of_directory(members: &Members, bytes: Vec<u8>) -> Result<Found, LoadError> {
    let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
        return Err(LoadError::NoImage);
    };
    let digest = &manifest.config.digest;
    let config = members.read_verified(&digest.hex(), digest, MAX_CONFIG_BYTES)?;
    of_manifest(&manifest, bytes, config, |layer| layer.digest.hex())
}

fn of_archive_image(members: &Members, image: &ArchiveImage) -> Result<Found, LoadError> {
    let config = members.read(&image.config, MAX_CONFIG_BYTES)?;
    let parsed = ImageConfig::parse(&config)?;
    let diff_ids = &parsed.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        return Err(LoadError::Image(ImageError::LayerCount {
            layers: image.layers.len(),
            diff_ids: diff_ids.len(),
        }));
    }
    let format = ImageFormat::Docker;
    let mut entries = Vec::new();
    for (file, diff_id) in image.layers.iter().zip(diff_ids) {
        let missing = || MembersError::NotFound(file.clone());
        let member = members.get(file)?.ok_or_else(missing)?;
        let size_bytes = member.plain_bytes().map_err(|source| LoadError::Stream {
            layer: file.clone(),
            source,
        })?;
        entries.push(format.plain_layer(diff_id, size_bytes));
    }
    let id = Blobs::digest(&config);
    let config_entry = Descriptor::new(format.config(), id.clone(), config.len() as u64);
    let manifest = manifest(format, config_entry, entries);
    Ok(Found {
        id,
        manifest: document(&manifest),
        manifest_type: format.manifest(),
        config,
        config_type: format.config(),
        parsed,
        layers: image
            .layers
            .iter()
            .map(|file| (file.clone(), None))
            .collect(),
        names: parse_names(image)?,
    })
}
