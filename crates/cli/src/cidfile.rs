//! `--cidfile`: made before the container is, so that one that exists stops the run in time.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use crate::error::Failure;

/// An open, empty file, or nothing.
#[derive(Debug)]
pub struct Cidfile(Option<(PathBuf, File)>);

impl Cidfile {
    /// # Errors
    /// [`Failure::Write`] if it exists or cannot be made.
    pub fn reserve(path: Option<&PathBuf>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Cidfile(None));
        };
        let file = File::create_new(path).map_err(|source| Failure::Write {
            path: path.clone(),
            source,
        })?;
        Ok(Cidfile(Some((path.clone(), file))))
    }

    /// # Errors
    /// [`Failure::Write`].
    pub fn write(mut self, id: &str) -> Result<(), Failure> {
        match self.0.take() {
            None => Ok(()),
            Some((path, mut file)) => file
                .write_all(id.as_bytes())
                .map_err(|source| Failure::Write { path, source }),
        }
    }
}

impl Drop for Cidfile {
    fn drop(&mut self) {
        // Never written: there is no container.
        if let Some((path, _)) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
