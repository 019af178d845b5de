//! What a command line means depends on where it is typed: [`Surroundings`].

use std::path::{Path, PathBuf};

use crate::error::Failure;

/// The current directory and the variables of the process, or of a test.
pub struct Surroundings {
    /// `None` where it was removed or cannot be read.
    pub current_dir: Option<PathBuf>,
    pub variable: fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("current_dir", &self.current_dir)
            .finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            current_dir: std::env::current_dir().ok(),
            variable: |name| std::env::var(name).ok(),
        }
    }

    /// `path` as it is if absolute, else below the current directory.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf, Failure> {
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        let Some(current) = &self.current_dir else {
            return Err(Failure::NoCurrentDir {
                path: path.to_owned(),
            });
        };
        // `.` and `./x` without their dots; `..` stays, because links decide what it means.
        Ok(current.join(path).components().collect())
    }

    /// The text of a file named on the command line.
    pub fn read(&self, path: &Path) -> Result<String, Failure> {
        let bytes = self.absolute(path).and_then(|absolute| {
            std::fs::read(absolute).map_err(|source| Failure::Read {
                path: path.to_owned(),
                source,
            })
        })?;
        String::from_utf8(bytes).map_err(|_| Failure::NotText {
            path: path.to_owned(),
        })
    }
}
