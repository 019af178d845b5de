//! Where a kernel's source comes from: a tree or an archive that is named, an archive that a distribution's
//! package has put into /usr/src, or that package as `apt-get` fetches it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gamut_store::blob::Blobs;

use super::error::KernelError;

/// The distribution's package with the newest source that it has, by way of another package.
const PACKAGE: &str = "linux-source";
const INSTALLED: &str = "/usr/src";
/// No archive of Linux is longer.
const MAX_ARCHIVE_BYTES: u64 = 1 << 30;

/// A source, not yet unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Tree(PathBuf),
    Archive(PathBuf),
    /// A package's name and its file's, which has the version in it.
    Package {
        name: String,
        file: String,
    },
}

impl Source {
    /// The source that is named, or else the one that this host gives.
    pub(super) fn find(named: Option<&Path>) -> Result<Source, KernelError> {
        if let Some(path) = named {
            let path = std::fs::canonicalize(path).map_err(KernelError::at("open", path))?;
            return match path.is_dir() {
                true => tree(path),
                false => Ok(Source::Archive(path)),
            };
        }
        match installed(Path::new(INSTALLED)) {
            Some(archive) => Ok(Source::Archive(archive)),
            None => package(),
        }
    }

    /// What to call it.
    pub(super) fn words(&self) -> String {
        match self {
            Source::Tree(path) => path.display().to_string(),
            Source::Archive(path) => file_name(path),
            Source::Package { file, .. } => file.trim_end_matches(".deb").to_owned(),
        }
    }

    /// A text that changes with its content.
    pub(super) fn identity(&self) -> Result<String, KernelError> {
        match self {
            Source::Tree(path) => {
                let mut files = Vec::new();
                list(path, &mut files)?;
                files.sort_unstable();
                Ok(Blobs::digest(files.join("\n").as_bytes()).to_string())
            }
            Source::Archive(path) => {
                let file = File::open(path).map_err(KernelError::at("open", path))?;
                let mut content = Vec::new();
                file.take(MAX_ARCHIVE_BYTES)
                    .read_to_end(&mut content)
                    .map_err(KernelError::at("read", path))?;
                Ok(Blobs::digest(&content).to_string())
            }
            Source::Package { file, .. } => Ok(file.clone()),
        }
    }

    /// The tree, unpacked into `scratch` if it is not one already. `run` carries out a command.
    pub(super) fn unpack(
        &self,
        scratch: &Path,
        run: &mut dyn FnMut(&str, Command) -> Result<(), KernelError>,
    ) -> Result<PathBuf, KernelError> {
        let archive = match self {
            Source::Tree(path) => return Ok(path.clone()),
            Source::Archive(path) => path.clone(),
            Source::Package { name, file } => {
                let mut fetch = Command::new("apt-get");
                // As root it would go to a user that cannot write here, and say so.
                fetch.args(["download", "-q", "-o", "APT::Sandbox::User=root", name]);
                fetch.current_dir(scratch);
                run(&format!("fetching {name}"), fetch)?;
                let mut unpack = Command::new("dpkg-deb");
                unpack.args(["-x", file, "package"]).current_dir(scratch);
                run(&format!("unpacking {name}"), unpack)?;
                let place = scratch.join("package/usr/src");
                installed(&place).ok_or_else(|| {
                    KernelError::NoSource(format!("the package {name} has no archive in it"))
                })?
            }
        };
        let tree = scratch.join("source");
        std::fs::create_dir(&tree).map_err(KernelError::at("make", &tree))?;
        let mut unpack = Command::new("tar");
        unpack.args(["--strip-components=1", "--no-same-owner", "-xf"]);
        unpack.arg(&archive).current_dir(&tree);
        run(&format!("unpacking {}", file_name(&archive)), unpack)?;
        match tree.join("Kconfig").is_file() {
            true => Ok(tree),
            false => {
                let archive = archive.display();
                Err(KernelError::NoSource(format!(
                    "{archive} has no Linux in it"
                )))
            }
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A tree that can be built from without being written to.
fn tree(path: PathBuf) -> Result<Source, KernelError> {
    if !path.join("Kconfig").is_file() {
        return Err(KernelError::NoSource(format!(
            "{} is no tree of Linux",
            path.display()
        )));
    }
    // What the tree's own Makefile looks at.
    let used = [".config", "include/config", "arch/x86/include/generated"];
    match used.iter().any(|name| path.join(name).exists()) {
        true => Err(KernelError::NotClean(path)),
        false => Ok(Source::Tree(path)),
    }
}

/// The newest `linux-source-VERSION.tar.*` in a directory.
fn installed(directory: &Path) -> Option<PathBuf> {
    let is_source = |name: &str| name.starts_with(PACKAGE) && name.contains(".tar");
    let newest = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_source))
        .filter_map(|entry| Some((entry.metadata().ok()?.mtime(), entry.path())))
        .max()?;
    Some(newest.1)
}

/// What apt would fetch.
fn package() -> Result<Source, KernelError> {
    let none = || {
        let none = "apt-get knows no package `linux-source`, and /usr/src has no archive of it";
        KernelError::NoSource(none.to_owned())
    };
    let depends = said("apt-cache", &["depends", PACKAGE]).ok_or_else(none)?;
    let name = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(PACKAGE))
        .unwrap_or(PACKAGE)
        .to_owned();
    // `'URI' FILE SIZE HASH`.
    let uris = said("apt-get", &["download", "--print-uris", "-q", &name]).ok_or_else(none)?;
    let file = uris
        .lines()
        .find(|line| line.starts_with('\''))
        .and_then(|line| line.split_whitespace().nth(1))
        .ok_or_else(none)?
        .to_owned();
    Ok(Source::Package { name, file })
}

/// What a program says, if it succeeds.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Each file below, with its length and when it was changed.
fn list(directory: &Path, files: &mut Vec<String>) -> Result<(), KernelError> {
    let entries = std::fs::read_dir(directory).map_err(KernelError::at("list", directory))?;
    for entry in entries.flatten() {
        let path = entry.path();
        // Not through links: those of the tree lead into it.
        let stat = entry
            .metadata()
            .map_err(KernelError::at("look at", &path))?;
        match stat.is_dir() {
            true => list(&path, files)?,
            false => files.push(format!(
                "{} {} {}",
                path.display(),
                stat.len(),
                stat.mtime()
            )),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_to_be_clean_and_changes_with_its_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let none = Source::find(Some(path)).expect_err("refused");
        assert!(matches!(none, KernelError::NoSource(_)), "{none}");
        std::fs::write(path.join("Kconfig"), "").expect("written");
        let source = Source::find(Some(path)).expect("a tree");
        let before = source.identity().expect("known");
        assert_eq!(before, source.identity().expect("known"));
        std::fs::write(path.join("Kconfig"), "changed").expect("written");
        assert_ne!(before, source.identity().expect("known"));
        std::fs::write(path.join(".config"), "").expect("written");
        let used = Source::find(Some(path)).expect_err("refused");
        assert!(matches!(used, KernelError::NotClean(_)), "{used}");
    }

    #[test]
    fn an_installed_archive_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(installed(directory.path()), None);
        let archive = directory.path().join("linux-source-6.1.tar.xz");
        std::fs::write(&archive, "").expect("written");
        std::fs::write(directory.path().join("linux-config-6.1"), "").expect("written");
        assert_eq!(installed(directory.path()), Some(archive));
    }
}
