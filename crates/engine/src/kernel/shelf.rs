//! Kernels that are kept: `kernels/<16 digits of the digest>/`, with `kernel`, what is known of it in
//! `kernel.json`, and its configuration in `config` if it has one. The link `kernels/default` names the
//! configured one. A directory gets its name when everything is in it, and loses it before it is emptied.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gamut_store::blob::Blobs;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::error::KernelError;
use super::image::{self, Form};
use super::needs::{self, Lack};
use super::pack;
use crate::engine::Engine;

const KERNEL: &str = "kernel";
const RECORD: &str = "kernel.json";
const CONFIG: &str = "config";
const DEFAULT: &str = "default";
/// Of a digest's digits; what its directory is called.
const ID_DIGITS: usize = 16;
const MAX_NAME_BYTES: usize = 128;

/// What is known of a kernel that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The first digits of `digest`.
    pub id: String,
    pub name: String,
    /// Of its file: `sha256:…`.
    pub digest: String,
    pub release: String,
    pub form: Form,
    pub size_bytes: u64,
    /// Nanoseconds since the epoch.
    pub created_ns: u64,
    pub origin: Origin,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Built {
        /// The source's name and version.
        source: String,
        compiler: String,
        /// A digest of all that it was made from.
        recipe: String,
    },
    Imported {
        path: PathBuf,
    },
}

/// What looking at a kernel has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub kept: Kept,
    /// `None`: its configuration is not known.
    pub lacks: Option<Vec<Lack>>,
}

impl Kept {
    #[must_use]
    pub fn is_built(&self) -> bool {
        matches!(self.origin, Origin::Built { .. })
    }
}

impl Engine {
    /// All that are kept, the oldest first.
    ///
    /// # Errors
    /// [`KernelError::File`].
    pub fn kernels(&self) -> Result<Vec<Kept>, KernelError> {
        let directory = self.dirs.kernels();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(KernelError::at("list", directory)(error)),
        };
        let mut kept: Vec<Kept> = entries
            .flatten()
            .filter(|entry| entry.file_name() != DEFAULT)
            // One that is being removed, or that a power cut has torn, is none.
            .filter_map(|entry| record(&entry.path()))
            .collect();
        kept.sort_by(|a, b| (a.created_ns, &a.id).cmp(&(b.created_ns, &b.id)));
        Ok(kept)
    }

    /// The one with this name, or whose id begins so.
    ///
    /// # Errors
    /// [`KernelError::Unknown`] and [`KernelError::Ambiguous`].
    pub fn kept_kernel(&self, wanted: &str) -> Result<Kept, KernelError> {
        let all = self.kernels()?;
        if let Some(kept) = all.iter().find(|kept| kept.name == wanted) {
            return Ok(kept.clone());
        }
        let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        let is_it = |kept: &&Kept| match wanted.len() > ID_DIGITS {
            true => kept.digest.ends_with(digits) && digits.len() == 64,
            false => !digits.is_empty() && kept.id.starts_with(digits),
        };
        let mut found = all.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(kept), None) => Ok(kept.clone()),
            (Some(_), Some(_)) => Err(KernelError::Ambiguous(wanted.to_owned())),
            (None, _) => Err(KernelError::Unknown(wanted.to_owned())),
        }
    }

    /// Where a kernel's file is.
    #[must_use]
    pub fn kernel_file(&self, kept: &Kept) -> PathBuf {
        self.directory(&kept.id).join(KERNEL)
    }

    /// Keeps a copy of a kernel's file. One that is kept already stays as it is, under its old name.
    ///
    /// # Errors
    /// [`KernelError::NotAKernel`] and what reading and writing fail with.
    pub fn import_kernel(&self, path: &Path, name: Option<&str>) -> Result<Kept, KernelError> {
        let content = image::read(path)?;
        let origin = Origin::Imported {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        };
        let found = identify(path, &content)?;
        let config = image::own_config(&content, found.form).or_else(|| config_beside(path));
        self.put(path, &content, config, name, origin)
    }

    /// Keeps a kernel that was made here.
    pub(super) fn keep_kernel(
        &self,
        content: &[u8],
        config: Option<String>,
        name: Option<&str>,
        origin: Origin,
    ) -> Result<Kept, KernelError> {
        let kept = self.put(Path::new(KERNEL), content, config, name, origin.clone())?;
        if kept.origin == origin {
            return Ok(kept);
        }
        // Other words for the same kernel: the next build is to find it by them.
        let kept = Kept { origin, ..kept };
        let path = self.directory(&kept.id).join(RECORD);
        let scratch = self.store.scratch()?;
        let made = scratch.path().join(RECORD);
        std::fs::write(&made, text(&kept))
            .and_then(|()| std::fs::rename(&made, &path))
            .map_err(KernelError::at("write", path))?;
        Ok(kept)
    }

    /// Whether a kernel may get this name.
    pub(super) fn check_name(&self, name: Option<&str>) -> Result<(), KernelError> {
        free_name(&self.kernels()?, name, "").map(drop)
    }

    fn put(
        &self,
        path: &Path,
        content: &[u8],
        config: Option<String>,
        name: Option<&str>,
        origin: Origin,
    ) -> Result<Kept, KernelError> {
        let found = identify(path, content)?;
        let unpacked = match found.form {
            Form::BzImage => image::unpacked(content),
            Form::Vmlinux | Form::VmlinuxWithoutPvh => None,
        };
        let release = found
            .release
            .or_else(|| image::release(unpacked.as_deref().unwrap_or(content)))
            .ok_or_else(|| KernelError::NotAKernel {
                path: path.to_owned(),
                reason: "it does not say which version of Linux it is".to_owned(),
            })?;
        let content = match found.form {
            Form::BzImage => content.to_vec(),
            _ => pack::pack(content).map_err(|reason| KernelError::NotAKernel {
                path: path.to_owned(),
                reason: reason.to_owned(),
            })?,
        };
        let digest = Blobs::digest(&content);
        let all = self.kernels()?;
        if let Some(kept) = all.iter().find(|kept| kept.digest == digest.to_string()) {
            return Ok(kept.clone());
        }
        let kept = Kept {
            id: digest.hex()[..ID_DIGITS].to_owned(),
            name: free_name(&all, name, &release)?,
            digest: digest.to_string(),
            release,
            form: found.form,
            size_bytes: content.len() as u64,
            created_ns: crate::record::now_ns(),
            origin,
        };
        self.write(&kept, &content, config.as_deref())?;
        Ok(kept)
    }

    fn write(&self, kept: &Kept, content: &[u8], config: Option<&str>) -> Result<(), KernelError> {
        let scratch = self.store.scratch()?;
        let made = scratch.path().join(KERNEL);
        let target = self.directory(&kept.id);
        let record = text(kept);
        std::fs::create_dir(&made).map_err(KernelError::at("make", &made))?;
        let mut files = vec![(KERNEL, content), (RECORD, &record)];
        files.extend(config.map(|config| (CONFIG, config.as_bytes())));
        for (name, content) in files {
            let path = made.join(name);
            std::fs::write(&path, content).map_err(KernelError::at("write", path))?;
        }
        let shelf = self.dirs.kernels();
        std::fs::create_dir_all(&shelf).map_err(KernelError::at("make", &shelf))?;
        match std::fs::rename(&made, &target) {
            // Somebody else has just kept the same one.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) => Err(KernelError::at("make", target)(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Makes one the kernel of guests for which none is named, or with `None` takes that back.
    ///
    /// # Errors
    /// As [`Self::kept_kernel`].
    pub fn use_kernel(&self, wanted: Option<&str>) -> Result<Option<Kept>, KernelError> {
        let link = self.dirs.kernels().join(DEFAULT);
        let Some(wanted) = wanted else {
            return match std::fs::remove_file(&link) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(KernelError::at("remove", link)(error))
                }
                _ => Ok(None),
            };
        };
        let kept = self.kept_kernel(wanted)?;
        let scratch = self.store.scratch()?;
        let made = scratch.path().join(DEFAULT);
        std::os::unix::fs::symlink(&kept.id, &made)
            .and_then(|()| std::fs::rename(&made, &link))
            .map_err(KernelError::at("make", link))?;
        Ok(Some(kept))
    }

    /// The one that [`Self::use_kernel`] named.
    ///
    /// # Errors
    /// [`KernelError::Unknown`] if it is gone by another way than [`Self::remove_kernel`].
    pub fn configured_kernel(&self) -> Result<Option<Kept>, KernelError> {
        let link = self.dirs.kernels().join(DEFAULT);
        let Ok(id) = std::fs::read_link(link) else {
            return Ok(None);
        };
        let kept = record(&self.dirs.kernels().join(&id));
        match kept {
            Some(kept) => Ok(Some(kept)),
            None => Err(KernelError::Unknown(id.to_string_lossy().into_owned())),
        }
    }

    /// Removes one. Machines that run keep theirs.
    ///
    /// # Errors
    /// As [`Self::kept_kernel`].
    pub fn remove_kernel(&self, wanted: &str) -> Result<Kept, KernelError> {
        let kept = self.kept_kernel(wanted)?;
        let link = self.dirs.kernels().join(DEFAULT);
        if std::fs::read_link(&link).is_ok_and(|id| id == Path::new(&kept.id)) {
            std::fs::remove_file(&link).map_err(KernelError::at("remove", link))?;
        }
        let directory = self.directory(&kept.id);
        // Its tree goes with the scratch directory; what a killed process leaves of that is found.
        let scratch = self.store.scratch()?;
        match std::fs::rename(&directory, scratch.path().join(KERNEL)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(KernelError::at("remove", directory)(error))
            }
            _ => Ok(kept),
        }
    }

    /// Reads one again, and says what it lacks.
    ///
    /// # Errors
    /// [`KernelError::Torn`] if it is not what was kept.
    pub fn verify_kernel(&self, wanted: &str) -> Result<Verified, KernelError> {
        let kept = self.kept_kernel(wanted)?;
        let content = image::read(&self.kernel_file(&kept))?;
        let actual = Blobs::digest(&content).to_string();
        if actual != kept.digest {
            let name = kept.name;
            return Err(KernelError::Torn { name, actual });
        }
        let beside = self.directory(&kept.id).join(CONFIG);
        let config = std::fs::read_to_string(beside).ok();
        let config = config.or_else(|| image::own_config(&content, kept.form));
        let lacks = config.map(|text| needs::lacks(&Config::parse(&text)));
        Ok(Verified { kept, lacks })
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.dirs.kernels().join(id)
    }
}

fn text(kept: &Kept) -> Vec<u8> {
    // Cannot fail: there is nothing in it but texts and numbers.
    serde_json::to_vec_pretty(kept).unwrap_or_default()
}

fn record(directory: &Path) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(directory.join(RECORD)).ok()?).ok()
}

fn identify(path: &Path, content: &[u8]) -> Result<image::Found, KernelError> {
    image::identify_bytes(content).map_err(|reason| KernelError::NotAKernel {
        path: path.to_owned(),
        reason: reason.to_owned(),
    })
}

/// A distribution's `/boot/config-RELEASE` for `/boot/vmlinuz-RELEASE`, or `config` in the same directory.
pub(super) fn config_beside(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let release = name.strip_prefix("vmlinuz-");
    let of_release = release.map(|release| path.with_file_name(format!("config-{release}")));
    let places = of_release.into_iter().chain([path.with_file_name(CONFIG)]);
    places
        .into_iter()
        .find_map(|place| std::fs::read_to_string(place).ok())
}

/// The name that was asked for, or the release, numbered if it is taken.
fn free_name(all: &[Kept], name: Option<&str>, release: &str) -> Result<String, KernelError> {
    let names: BTreeMap<&str, ()> = all.iter().map(|kept| (kept.name.as_str(), ())).collect();
    let Some(name) = name else {
        let numbered = (2..).map(|number| format!("{release}-{number}"));
        let mut candidates = std::iter::once(release.to_owned()).chain(numbered);
        let free = candidates.find(|candidate| !names.contains_key(candidate.as_str()));
        // Cannot be `None`: the candidates have no end.
        return Ok(free.unwrap_or_default());
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !begins_well || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) || name == DEFAULT {
        return Err(KernelError::Name(name.to_owned()));
    }
    match names.contains_key(name) {
        true => Err(KernelError::NameTaken(name.to_owned())),
        false => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirs::Dirs;

    fn engine(directory: &Path) -> Engine {
        let dirs = Dirs::new(directory.join("root"), directory.join("run"));
        Engine::open(dirs).expect("opened")
    }

    #[test]
    fn one_is_kept_found_verified_and_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = engine(directory.path());
        let path = directory.path().join("vmlinuz-1.0-a");
        std::fs::write(&path, image::example("1.0-a")).expect("written");
        let config = directory.path().join("config-1.0-a");
        std::fs::write(config, "CONFIG_64BIT=y\n").expect("written");

        let kept = engine.import_kernel(&path, None).expect("kept");
        assert_eq!(kept.name, "1.0-a");
        assert_eq!(
            engine
                .import_kernel(&path, Some("again"))
                .expect("the same"),
            kept
        );
        assert_eq!(
            engine.kernels().expect("listed"),
            std::slice::from_ref(&kept)
        );
        assert_eq!(engine.kept_kernel("1.0-a").expect("by name"), kept);
        assert_eq!(engine.kept_kernel(&kept.id[..4]).expect("by id"), kept);
        assert_eq!(engine.kept_kernel(&kept.digest).expect("by digest"), kept);
        let lacks = engine.verify_kernel("1.0-a").expect("whole").lacks;
        assert!(
            lacks
                .expect("known")
                .iter()
                .any(|lack| lack.option == "CONFIG_EROFS_FS")
        );

        std::fs::write(engine.kernel_file(&kept), "torn").expect("written");
        let torn = engine.verify_kernel("1.0-a").expect_err("noticed");
        assert!(matches!(torn, KernelError::Torn { .. }), "{torn}");
        engine.remove_kernel("1.0-a").expect("removed");
        assert_eq!(engine.kernels().expect("listed"), []);
        let gone = engine.remove_kernel("1.0-a").expect_err("gone");
        assert!(matches!(gone, KernelError::Unknown(_)), "{gone}");
    }

    #[test]
    fn names_are_free_and_plain() {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = engine(directory.path());
        let import = |text: &str, name: Option<&str>| {
            let path = directory.path().join("kernel");
            let mut content = image::example("1.0");
            content.extend_from_slice(text.as_bytes());
            std::fs::write(&path, content).expect("written");
            engine.import_kernel(&path, name)
        };
        assert_eq!(import("a", None).expect("kept").name, "1.0");
        assert_eq!(import("b", None).expect("kept").name, "1.0-2");
        assert_eq!(import("c", Some("mine")).expect("kept").name, "mine");
        let taken = import("d", Some("mine")).expect_err("refused");
        assert!(matches!(taken, KernelError::NameTaken(_)), "{taken}");
        for name in ["", "..", "a/b", "-a", "default", "a b"] {
            let wrong = import("d", Some(name)).expect_err("refused");
            assert!(matches!(wrong, KernelError::Name(_)), "{wrong}");
        }
    }
}
