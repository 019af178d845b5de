//! Manifest lists that are put together here: an index, and where each of its images is, so that a
//! push can bring them along. A list has a name like an image's, in a table of its own.

use std::collections::BTreeMap;

use gamut_registry::{Client, Fetched, Options, RegistryError};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Descriptor, Document, ImageConfig, Index, Manifest, MediaType, Platform};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};
use gamut_store::db::DbError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::copy::Copier;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::canonical;
use crate::push::{PushError, PushEvents, PushOptions, Pushed};
use crate::registries::Registries;

/// A list in the making.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct List {
    pub index: Index,
    /// Where the entries' content is, by digest.
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    /// In the repository of this name.
    Registry(Reference),
    /// Here, as the image with this id.
    Image(Digest),
}

/// Which entries an index gives to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    All,
    /// The one for this machine.
    Own,
}

/// What is said of an entry, or of the list, in place of what was said before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    pub os: Option<String>,
    pub architecture: Option<String>,
    pub variant: Option<String>,
    pub os_version: Option<String>,
    pub annotations: Vec<(String, String)>,
}

/// How to push a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListOptions {
    pub format: Format,
    pub push: PushOptions,
}

/// Which document it becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// OCI's image index.
    #[default]
    Oci,
    /// Docker's manifest list.
    Docker,
}

#[derive(Debug, Error)]
pub enum ListError {
    #[error("there is no manifest list {0}")]
    NoList(String),
    #[error("there is a manifest list {0} already")]
    Exists(String),
    #[error("the manifest list {list} has no {entry}")]
    NoEntry { list: String, entry: String },
    #[error("`{0}` has a digest and cannot be the name of a list")]
    ByDigest(String),
    #[error("the record of the manifest list {list} is damaged: {source}")]
    Damaged {
        list: String,
        source: serde_json::Error,
    },
}

impl Fault for ListError {
    fn kind(&self) -> Kind {
        match self {
            ListError::NoList(_) | ListError::NoEntry { .. } => Kind::NotFound,
            ListError::Exists(_) => Kind::Conflict,
            ListError::ByDigest(_) | ListError::Damaged { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ListError::NoList(name) => Some(format!("make it with `gamut manifest create {name}`")),
            ListError::Exists(_) => Some("add to it with `--amend`, or remove it first".into()),
            ListError::NoEntry { list, .. } => {
                Some(format!("`gamut manifest inspect {list}` shows what it has"))
            }
            _ => None,
        }
    }
}

impl Default for List {
    fn default() -> List {
        List {
            index: Index {
                schema_version: 2,
                media_type: Some(MediaType::OciIndex),
                artifact_type: None,
                manifests: Vec::new(),
                subject: None,
                annotations: None,
            },
            sources: BTreeMap::new(),
        }
    }
}

impl List {
    /// Adds an entry, or takes it for the one with its digest.
    fn add(&mut self, entry: Descriptor, source: Source) {
        self.sources.insert(entry.digest.to_string(), source);
        match self.position(&entry.digest) {
            Some(at) => self.index.manifests[at] = entry,
            None => self.index.manifests.push(entry),
        }
    }

    fn position(&self, digest: &Digest) -> Option<usize> {
        let mut entries = self.index.manifests.iter();
        entries.position(|entry| entry.digest == *digest)
    }

    /// The entry that is named by its digest, or by where it came from.
    fn find(&self, named: &str) -> Option<usize> {
        let digest = match (named.parse::<Digest>(), named.parse::<Reference>()) {
            (Ok(digest), _) => return self.position(&digest),
            (_, Ok(reference)) if reference.digest().is_some() => reference.digest().cloned(),
            (_, Ok(reference)) => {
                let source = Source::Registry(reference);
                let known = self.sources.iter().find(|(_, known)| **known == source);
                known.and_then(|(digest, _)| digest.parse().ok())
            }
            _ => None,
        };
        self.position(&digest?)
    }
}

impl Engine {
    /// Makes an empty list; one that is there is a conflict.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn create_list(&mut self, name: &Reference) -> Result<(), EngineError> {
        if name.digest().is_some() {
            return Err(ListError::ByDigest(name.familiar()).into());
        }
        if self.store.db().list(&canonical(name))?.is_some() {
            return Err(ListError::Exists(name.familiar()).into());
        }
        self.keep_list(name, &List::default())
    }

    /// # Errors
    /// [`ListError::NoList`].
    pub fn list(&self, name: &Reference) -> Result<List, EngineError> {
        let text = self.store.db().list(&canonical(name))?;
        let text = text.ok_or_else(|| ListError::NoList(name.familiar()))?;
        let list = serde_json::from_str(&text);
        Ok(list.map_err(|source| ListError::Damaged {
            list: name.familiar(),
            source,
        })?)
    }

    fn keep_list(&mut self, name: &Reference, list: &List) -> Result<(), EngineError> {
        let text = serde_json::to_string(list).map_err(|source| ListError::Damaged {
            list: name.familiar(),
            source,
        })?;
        let name = canonical(name);
        self.store
            .db_mut()
            .write::<_, DbError>(|transaction| transaction.put_list(&name, &text))?;
        Ok(())
    }

    /// Forgets a list; what it names stays.
    ///
    /// # Errors
    /// [`ListError::NoList`].
    pub fn remove_list(&mut self, name: &Reference) -> Result<(), EngineError> {
        let reference = canonical(name);
        let found = self
            .store
            .db_mut()
            .write::<_, DbError>(|transaction| transaction.forget_list(&reference))?;
        match found {
            true => Ok(()),
            false => Err(ListError::NoList(name.familiar()).into()),
        }
    }

    /// Adds an image: as the registry has it, else as it is here. The digests of what was added.
    ///
    /// # Errors
    /// When it is in neither place, or [`ListError::NoList`].
    pub fn add_to_list(
        &mut self,
        name: &Reference,
        image: &str,
        entries: Entries,
        said: &Annotations,
        options: Options,
    ) -> Result<Vec<Digest>, EngineError> {
        let mut list = self.list(name)?;
        let client = Client::new(options);
        let image = image.strip_prefix("docker://").unwrap_or(image);
        let remote = match image.parse::<Reference>() {
            Ok(reference) => {
                let reference = Registries::of_host()?.target(&reference)?;
                client
                    .manifest(&reference)
                    .map(|fetched| (reference, fetched))
            }
            // The id of an image that is here.
            Err(_) => Err(RegistryError::BadRegistry(image.to_owned())),
        };
        let mut added = match remote {
            Ok((reference, fetched)) => {
                let found = remote_entries(&client, &reference, fetched, entries)?;
                let source = Source::Registry(reference);
                found.into_iter().map(|e| (e, source.clone())).collect()
            }
            Err(error) => match self.find_image(image) {
                Ok(_) => vec![self.local_entry(image)?],
                Err(_) => return Err(error.into()),
            },
        };
        let mut digests = Vec::new();
        for (entry, source) in &mut added {
            annotate(entry, said);
            digests.push(entry.digest.clone());
            list.add(entry.clone(), source.clone());
        }
        self.keep_list(name, &list)?;
        Ok(digests)
    }

    fn local_entry(&self, image: &str) -> Result<(Descriptor, Source), EngineError> {
        let image = self.find_image(image)?;
        let original = self.manifest_of(&image)?;
        let media_type = original.manifest.media_type.clone();
        let mut entry = Descriptor::new(
            media_type.unwrap_or(MediaType::OciManifest),
            image.manifest_digest.clone(),
            original.bytes.len() as u64,
        );
        entry.platform = Some(self.image_config(&image)?.platform());
        Ok((entry, Source::Image(image.id)))
    }

    /// Says something else of an entry; of the list itself, if `entry` is `None`.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn annotate_list(
        &mut self,
        name: &Reference,
        entry: Option<&str>,
        said: &Annotations,
    ) -> Result<(), EngineError> {
        let mut list = self.list(name)?;
        match entry {
            Some(entry) => {
                let at = find(&list, name, entry)?;
                annotate(&mut list.index.manifests[at], said);
            }
            None => {
                let own = list.index.annotations.get_or_insert_default();
                own.extend(said.annotations.iter().cloned());
            }
        }
        self.keep_list(name, &list)
    }

    /// Takes an entry out of a list.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn remove_from_list(&mut self, name: &Reference, entry: &str) -> Result<(), EngineError> {
        let mut list = self.list(name)?;
        let at = find(&list, name, entry)?;
        let gone = list.index.manifests.remove(at);
        list.sources.remove(&gone.digest.to_string());
        self.keep_list(name, &list)
    }

    /// Pushes a list as `to`, and first what it names, as far as that is not there.
    ///
    /// # Errors
    /// [`ListError`], [`PushError`].
    pub fn push_list(
        &mut self,
        name: &Reference,
        to: &Reference,
        list_options: ListOptions,
        options: Options,
        events: &dyn PushEvents,
    ) -> Result<Pushed, EngineError> {
        let list = self.list(name)?;
        let to = &Registries::of_host()?.target(to)?;
        let client = Client::new(options);
        let copier = Copier {
            client: &client,
            to,
            events,
        };
        let mut index = list.index.clone();
        for entry in &mut index.manifests {
            match list.sources.get(&entry.digest.to_string()) {
                Some(Source::Registry(from)) => copier.entry(from, entry, 1)?,
                Some(Source::Image(id)) => {
                    let pushed = self.push_untagged(&client, id, to, list_options.push, events)?;
                    entry.media_type = pushed.media_type;
                    entry.digest = pushed.digest;
                    entry.size = pushed.size;
                }
                None => {}
            }
        }
        let media_type = match list_options.format {
            Format::Oci => MediaType::OciIndex,
            Format::Docker => MediaType::DockerIndex,
        };
        index.media_type = Some(media_type.clone());
        let bytes = serde_json::to_vec(&index).map_err(|source| ListError::Damaged {
            list: name.familiar(),
            source,
        })?;
        let put = client
            .push_manifest(to, &media_type, &bytes)
            .map_err(PushError::from)?;
        Ok(Pushed {
            descriptor: Descriptor::new(media_type, put.digest, bytes.len() as u64),
        })
    }
}

/// A document of a registry, as `manifest inspect` shows it.
///
/// # Errors
/// When the registry does not answer, or does not have it.
pub fn remote_document(reference: &Reference, options: Options) -> Result<Vec<u8>, EngineError> {
    let reference = Registries::of_host()?.target(reference)?;
    Ok(Client::new(options).manifest(&reference)?.bytes)
}

fn find(list: &List, name: &Reference, entry: &str) -> Result<usize, ListError> {
    list.find(entry).ok_or_else(|| ListError::NoEntry {
        list: name.familiar(),
        entry: entry.to_owned(),
    })
}

/// What a document of a registry gives to a list: itself, or what is in it.
fn remote_entries(
    client: &Client,
    reference: &Reference,
    fetched: Fetched,
    entries: Entries,
) -> Result<Vec<Descriptor>, EngineError> {
    Ok(match fetched.document {
        Document::Index(index) if entries == Entries::All => index.manifests,
        Document::Index(index) => vec![index.select(&Platform::host())?.clone()],
        Document::Manifest(manifest) => {
            let mut entry = fetched.descriptor;
            entry.artifact_type = manifest.artifact_type.clone();
            entry.platform = platform_of(client, reference, &manifest)?;
            vec![entry]
        }
    })
}

/// What an image's configuration says; artifacts have none.
fn platform_of(
    client: &Client,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Option<Platform>, RegistryError> {
    if !manifest.config.media_type.is_image_config() {
        return Ok(None);
    }
    let (config, _): (ImageConfig, _) = client.config(reference, &manifest.config)?;
    Ok(Some(config.platform()))
}

fn annotate(entry: &mut Descriptor, said: &Annotations) {
    let set = |to: &mut Option<String>, said: &Option<String>| {
        if said.is_some() {
            to.clone_from(said);
        }
    };
    if said.os.is_some()
        || said.architecture.is_some()
        || said.variant.is_some()
        || said.os_version.is_some()
    {
        let platform = entry.platform.get_or_insert_with(Platform::host);
        if let Some(os) = &said.os {
            platform.os.clone_from(os);
        }
        if let Some(architecture) = &said.architecture {
            platform.architecture.clone_from(architecture);
        }
        set(&mut platform.variant, &said.variant);
        set(&mut platform.os_version, &said.os_version);
    }
    if !said.annotations.is_empty() {
        let annotations = entry.annotations.get_or_insert_default();
        annotations.extend(said.annotations.iter().cloned());
    }
}
