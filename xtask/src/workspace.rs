//! The repository as the checks see it: cargo's packages and the text of every Rust source file.
//!
//! Checks take slices of these, never the disk, so that their tests are strings.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::{self, Error};
use crate::lexer;

/// Folders that hold Rust of the workspace. `fuzz/libfuzzer/` and `benches/` are outside of it.
const FOLDERS: [&str; 5] = ["crates", "fuzz/src", "fuzz/tests", "tests", "xtask"];

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
    pub(crate) sources: Vec<Source>,
}

/// A member of the workspace, as `cargo metadata` describes it (cargo-metadata(1)).
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    /// The text of its `Cargo.toml`.
    #[serde(skip)]
    pub(crate) manifest: String,
    /// Its folder, relative to the root: `crates/sys`.
    #[serde(skip)]
    pub(crate) folder: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's own name, also where the manifest renames it.
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// `lib`, `bin`, `test`, `bench`, `example`, `custom-build`, `proc-macro`.
    pub(crate) kind: Vec<String>,
    pub(crate) src_path: PathBuf,
}

/// One Rust source file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Relative to the root, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text without comments and literals, see [`lexer::mask`].
    pub(crate) masked: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        Source {
            path: path.to_owned(),
            masked: lexer::mask(&text),
            text,
        }
    }

    /// The room that holds this file: `sys` for `crates/sys/src/lib.rs`; a folder at the root
    /// that is no room gives its own name.
    pub(crate) fn room(&self) -> &str {
        room(&self.path)
    }
}

/// See [`Source::room`]; also for the folder of a package.
pub(crate) fn room(path: &str) -> &str {
    let mut parts = path.split('/');
    match (parts.next(), parts.next()) {
        (Some("crates"), Some(room)) => room,
        (Some(first), _) => first,
        (None, _) => path,
    }
}

impl Workspace {
    /// Asks cargo, then reads every source file.
    pub(crate) fn load() -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Metadata {
            workspace_root: PathBuf,
            packages: Vec<Package>,
        }
        let output = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
        let metadata: Metadata = serde_json::from_str(&output)
            .map_err(|error| Error::Json("the output of `cargo metadata`".to_owned(), error))?;
        let root = metadata.workspace_root;
        let mut packages = metadata.packages;
        for package in &mut packages {
            package.manifest = error::read(&package.manifest_path)?;
            let folder = package.manifest_path.parent().unwrap_or(&root);
            package.folder = relative(&root, folder);
        }
        packages.sort_by(|a, b| a.folder.cmp(&b.folder));
        let mut sources = Vec::new();
        for folder in FOLDERS {
            collect(&root, &root.join(folder), &mut sources)?;
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Workspace {
            root,
            packages,
            sources,
        })
    }
}

/// The cargo that runs us, else the one in the path.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a program to its end and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let name = format!("{command:?}");
    let output = command
        .output()
        .map_err(|error| Error::Spawn(name.clone(), error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Command(name, said))
    }
}

/// `path` below `root`, with `/` between the parts.
pub(crate) fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.to_string_lossy().replace('\\', "/")
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<(), Error> {
    let failed = |error| Error::Read(folder.to_owned(), error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(Source::new(&relative(root, &path), error::read(&path)?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_room() {
        assert_eq!(room("crates/sys/src/lib.rs"), "sys");
        assert_eq!(room("crates/sys"), "sys");
        assert_eq!(room("tests/tests/main.rs"), "tests");
    }
}
