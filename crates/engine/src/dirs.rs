//! Where things lie: the state that survives a reboot, and what does not.

use std::path::{Path, PathBuf};

/// The two roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// State: images, containers, the database. `/var/lib/gamut`.
    pub root: PathBuf,
    /// Locks and sockets of what runs now. `/run/gamut`.
    pub run_root: PathBuf,
}

impl Dirs {
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, run_root: impl Into<PathBuf>) -> Self {
        Dirs {
            root: root.into(),
            run_root: run_root.into(),
        }
    }

    #[must_use]
    pub fn container(&self, id: &str) -> Container {
        Container {
            directory: self.root.join("containers").join(id),
            run: self.run_root.join(id),
        }
    }

    /// Compiled filters, and guests' initramfs.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where EROFS images of layers are mounted.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.run_root.join("images")
    }

    /// Where the filler is spoken to.
    #[must_use]
    pub fn filler(&self) -> PathBuf {
        self.run_root.join("filler")
    }

    /// Guest kernels that were built or imported.
    #[must_use]
    pub fn kernels(&self) -> PathBuf {
        self.root.join("kernels")
    }

    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }
}

/// The directories of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub directory: PathBuf,
    pub run: PathBuf,
}

impl Container {
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("container.log")
    }

    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Where its anonymous volumes lie.
    #[must_use]
    pub fn anonymous_volumes(&self) -> PathBuf {
        let id = self.directory.file_name().unwrap_or_default();
        let root = self.directory.ancestors().nth(2).unwrap_or(Path::new("/"));
        root.join("volumes")
            .join(format!("of-{}", id.to_string_lossy()))
    }

    /// Another container of the same roots.
    #[must_use]
    pub fn sibling(&self, id: &str) -> Container {
        Container {
            directory: self.directory.with_file_name(id),
            run: self.run.with_file_name(id),
        }
    }

    /// The roots that this lies below.
    #[must_use]
    pub fn roots(&self) -> Option<(&Path, &Path)> {
        Some((self.directory.parent()?.parent()?, self.run.parent()?))
    }
}
