//! `export`: a container's whole root file system as a tar.

use std::io::Write;
use std::os::fd::AsFd;

use gamut_store::tar;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::{record, roots};

impl Engine {
    /// Writes the root file system of a container that runs or not, without what is mounted in it.
    ///
    /// # Errors
    /// When it cannot be read, or the archive not written.
    pub fn export(&mut self, named: &str, out: impl Write) -> Result<(), EngineError> {
        let view = self.container(named)?;
        self.remount(&view)?;
        let plan = record::read_plan(&self.dirs.container(&view.row.id))?;
        let tree = roots::container_tree(&plan)?;
        tar::tree(tree.as_fd(), &roots::ids(&plan), out)?;
        Ok(())
    }
}
