//! Removing images, and the content that no image needs any more.
//!
//! Rows go first, in the transaction that makes them superfluous. Then each file is removed under
//! an exclusive pin, after one more look into the database: a pull that has found the content just
//! before holds a shared pin until it has recorded its image, so either the pin is in our way or
//! the row is.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use gamut_spec::digest::{Algorithm, Digest};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::db::{DbError, Image, Transaction};
use crate::file_error::FileError;
use crate::hash::Hasher;
use crate::pin::{self, Locked, Pin, TEMPORARY_PREFIX};
use crate::snapshot::BASE;
use crate::store::{Store, StoreError};
use crate::tree;

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageTarget<'a> {
    /// A canonical reference: the name goes, and the image with its last name.
    Reference(&'a str),
    /// An id: the image with all of its names.
    Id(&'a Digest),
}

/// Whether to go on where Docker asks for `--force`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// A container that relies on the image, or tags in several repositories, are a conflict.
    Refuse,
    /// Names are taken away all the same. An image that a container relies on stays, nameless.
    Untag,
    /// Names are taken away, however many, but an image that a container relies on is a conflict.
    Unused,
}

/// What has been removed, in the order and the words of `docker rmi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(String),
    /// An image's id, then the chain ids of layers that no other image has.
    Deleted(Digest),
}

impl Store {
    /// Removes a name or an image, and the content that nothing needs any more.
    pub fn remove_image(
        &mut self,
        target: ImageTarget<'_>,
        force: Force,
    ) -> Result<Vec<Removed>, StoreError> {
        let mut removed = Vec::new();
        let gone = self.db_mut().write(|transaction| {
            let image = match target {
                ImageTarget::Reference(reference) => {
                    untag(transaction, reference, force, &mut removed)?
                }
                ImageTarget::Id(id) => untag_all(transaction, id, force, &mut removed)?,
            };
            let Some(image) = image else {
                return Ok::<_, DbError>(None);
            };
            let blobs = transaction.blobs_of(&image)?;
            transaction.forget_image(&image.id)?;
            removed.push(Removed::Deleted(image.id.clone()));
            let kept = chains(&transaction.images()?);
            let chain = chain_ids(&image.layers).into_iter().rev();
            removed.extend(chain.filter(|id| !kept.contains(id)).map(Removed::Deleted));
            Ok(Some((blobs, transaction.forget_unused_layers()?)))
        })?;
        if let Some((blobs, layers)) = gone {
            for layer in layers {
                self.discard_layer(&layer.diff_id, &layer.directory)?;
            }
            for blob in blobs {
                self.discard_blob(&blob.hex())?;
            }
            self.discard_merged()?;
        }
        Ok(removed)
    }

    /// Removes every layer, blob and partial download that no image needs and no process is using. What no
    /// row names goes first: on a full disk that makes the room which the rows' own removal takes.
    pub fn collect_garbage(&mut self) -> Result<(), StoreError> {
        let path = self.root().join("ingest");
        let ingest = pin::open_directory(&path)?;
        for name in names_in(&path)? {
            discard(ingest.as_fd(), &name).map_err(FileError::at("remove", &path.join(&name)))?;
        }
        for name in names_in(self.blobs().directory())? {
            if !name.starts_with(TEMPORARY_PREFIX) {
                self.discard_blob(&name)?;
            }
        }
        for name in names_in(self.layers().directory())? {
            if name == BASE || name.starts_with(TEMPORARY_PREFIX) {
                continue;
            }
            if let Some(known) = self.layers().identify(&name) {
                self.discard_layer(&known.record.diff_id, &name)?;
            }
        }
        self.discard_merged()?;
        let unused = self
            .db_mut()
            .write(|transaction| transaction.forget_unused_layers())?;
        for layer in unused {
            self.discard_layer(&layer.diff_id, &layer.directory)?;
        }
        Ok(())
    }

    /// Removes the layer in the directory `name`, unless it is recorded or somebody is using it.
    pub(crate) fn discard_layer(&self, diff_id: &Digest, name: &str) -> Result<(), StoreError> {
        let path = self.layers().directory().to_owned();
        let layers = pin::open_directory(&path)?;
        let failed = |errno| FileError::at("remove", &path.join(name))(errno);
        let Locked::Held(_pin) =
            Pin::exclusive(layers.as_fd(), OsStr::new(name)).map_err(failed)?
        else {
            return Ok(());
        };
        let recorded = self.db().layer(diff_id)?;
        if recorded.is_some_and(|layer| layer.directory == name) {
            return Ok(());
        }
        bury(layers.as_fd(), name).map_err(failed)?;
        Ok(())
    }

    /// Removes the merged images that no image is shown by. One that is missed can be made again.
    fn discard_merged(&self) -> Result<(), StoreError> {
        let path = self.merged();
        let directory = match pin::open_directory(path) {
            Err(error) if error.errno == Errno::NOENT => return Ok(()),
            other => other?,
        };
        let needed = self.image_names()?;
        for name in names_in(path)? {
            if !needed.contains(&name) {
                let failed = |errno| FileError::at("remove", &path.join(&name))(errno);
                discard(directory.as_fd(), &name).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn discard_blob(&self, hex: &str) -> Result<(), StoreError> {
        let path = self.blobs().directory().to_owned();
        // The number of digits tells the algorithm.
        let algorithm = [Algorithm::Sha256, Algorithm::Sha512].map(Algorithm::as_str);
        let parse = |name: &str| format!("{name}:{hex}").parse::<Digest>().ok();
        let Some(digest) = algorithm.into_iter().find_map(parse) else {
            return Ok(());
        };
        let blobs = pin::open_directory(&path)?;
        let failed = |errno| FileError::at("remove", &path.join(hex))(errno);
        let Locked::Held(_pin) = Pin::exclusive(blobs.as_fd(), OsStr::new(hex)).map_err(failed)?
        else {
            return Ok(());
        };
        if !self.db().needs_blob(&digest)? {
            rustix::fs::unlinkat(&blobs, hex, AtFlags::empty()).map_err(failed)?;
        }
        Ok(())
    }
}

/// Removes the whole directory of a container: [`Store::remove_container_directory`] for those who
/// have no store open.
pub fn remove_container_directory(path: &Path) -> Result<(), StoreError> {
    let id = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    crate::snapshot::check_id(id)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let containers = pin::open_directory(parent)?;
    discard(containers.as_fd(), id).map_err(FileError::at("remove", path))?;
    Ok(())
}

/// Removes `name` in `directory`, unless somebody holds a pin on it; false then.
pub(crate) fn discard(directory: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    match Pin::exclusive(directory, OsStr::new(name))? {
        Locked::Held(_pin) => bury(directory, name).map(|()| true),
        Locked::InUse => Ok(false),
        Locked::Absent => Ok(true),
    }
}

/// Renames, then removes: what is half-deleted has no name that anybody looks for.
fn bury(directory: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    if name.starts_with(TEMPORARY_PREFIX) {
        return tree::remove(directory, OsStr::new(name), directory);
    }
    let grave = pin::temporary_name()?;
    match rustix::fs::renameat(directory, name, directory, &grave) {
        Ok(()) => tree::remove(directory, OsStr::new(&grave), directory),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The names in a directory that are UTF-8: all of ours are.
pub(crate) fn names_in(path: &std::path::Path) -> Result<Vec<String>, FileError> {
    let directory = pin::open_directory(path)?;
    let mut names = Vec::new();
    tree::for_each_entry(directory.as_fd(), |name, kind| {
        if kind == FileType::Directory || kind == FileType::RegularFile {
            names.extend(name.to_str().ok().map(str::to_owned));
        }
        Ok(())
    })
    .map_err(FileError::at("list", path))?;
    Ok(names)
}

/// Takes one name away. The image is given back if that was its last name and nothing needs it.
fn untag(
    transaction: &Transaction<'_>,
    reference: &str,
    force: Force,
    removed: &mut Vec<Removed>,
) -> Result<Option<Image>, DbError> {
    let image = transaction
        .image_by_reference(reference)?
        .ok_or_else(|| DbError::not_found("image", reference))?;
    let (tags, digests) = transaction.names(&image.id)?;
    let others = |names: &[String]| names.iter().filter(|name| *name != reference).count();
    let user = transaction.image_user(&image.id)?;
    let last_tag = others(&tags) == 0;
    if let Some(container) = user
        .as_deref()
        .filter(|_| last_tag && force != Force::Untag)
    {
        return Err(in_use(reference, container));
    }
    transaction.untag(reference)?;
    removed.push(Removed::Untagged(reference.to_owned()));
    // With the last tag of a repository, its digests go too.
    let repository = repository(reference);
    let mut left = others(&tags) + others(&digests);
    if !tags
        .iter()
        .any(|tag| tag != reference && self::repository(tag) == repository)
    {
        for name in digests.iter().filter(|name| *name != reference) {
            if self::repository(name) == repository {
                transaction.untag(name)?;
                removed.push(Removed::Untagged(name.clone()));
                left -= 1;
            }
        }
    }
    Ok((left == 0 && user.is_none()).then_some(image))
}

/// Takes all names away. The image is given back if nothing needs it.
fn untag_all(
    transaction: &Transaction<'_>,
    id: &Digest,
    force: Force,
    removed: &mut Vec<Removed>,
) -> Result<Option<Image>, DbError> {
    let image = transaction
        .image(id)?
        .ok_or_else(|| DbError::not_found("image", &id.to_string()))?;
    let user = transaction.image_user(id)?;
    let (tags, digests) = transaction.names(id)?;
    let repositories: HashSet<_> = tags
        .iter()
        .chain(&digests)
        .map(|name| repository(name))
        .collect();
    if let Some(container) = user.as_deref().filter(|_| force != Force::Untag) {
        return Err(in_use(&id.short(), container));
    }
    if force == Force::Refuse && repositories.len() > 1 {
        return Err(DbError::ImageTagged { image: id.short() });
    }
    for name in tags.into_iter().chain(digests) {
        transaction.untag(&name)?;
        removed.push(Removed::Untagged(name));
    }
    Ok(user.is_none().then_some(image))
}

fn in_use(image: &str, container: &str) -> DbError {
    DbError::ImageInUse {
        image: image.to_owned(),
        container: container.get(..12).unwrap_or(container).to_owned(),
    }
}

/// A canonical reference without its tag or digest.
fn repository(reference: &str) -> &str {
    let named = reference
        .split_once('@')
        .map_or(reference, |(name, _)| name);
    match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => named,
    }
}

/// OCI image spec, "config.md", "Layer ChainID".
pub(crate) fn chain_ids(layers: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(layers.len());
    for diff_id in layers {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(below) => Hasher::of(Algorithm::Sha256, format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}

fn chains(images: &[Image]) -> HashSet<Digest> {
    images
        .iter()
        .flat_map(|image| chain_ids(&image.layers))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_reference_without_tag_and_digest() {
        assert_eq!(
            repository("docker.io/library/nginx:latest"),
            "docker.io/library/nginx"
        );
        assert_eq!(repository("127.0.0.1:5000/a/b"), "127.0.0.1:5000/a/b");
        assert_eq!(repository("127.0.0.1:5000/a/b:1"), "127.0.0.1:5000/a/b");
        assert_eq!(
            repository("127.0.0.1:5000/a/b:1@sha256:00"),
            "127.0.0.1:5000/a/b"
        );
    }

    #[test]
    fn a_chain_begins_with_its_first_layer() {
        let layers = [
            Hasher::of(Algorithm::Sha256, b"1"),
            Hasher::of(Algorithm::Sha256, b"2"),
        ];
        let chain = chain_ids(&layers);
        assert_eq!(chain[0], layers[0]);
        assert_eq!(
            chain[1],
            Hasher::of(
                Algorithm::Sha256,
                format!("{} {}", layers[0], layers[1]).as_bytes()
            )
        );
    }
}
