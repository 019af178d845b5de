//! The processes of a container, by the host's numbers.

use std::path::Path;

use gamut_container::home;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

impl Engine {
    /// Those in the control group of a container that runs under the host's kernel, and in the groups
    /// below; without one, those in its pid namespace.
    ///
    /// # Errors
    /// When its plan or its group cannot be read.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, EngineError> {
        let dirs = self.dirs.container(id);
        let plan = record::read_plan(&dirs)?;
        match home::group_of(&plan)? {
            Some(group) => Ok(group.processes()?),
            None => Ok(beside(record::read_status(&dirs)?.pid)),
        }
    }
}

/// The processes in the pid namespace of one, in order.
fn beside(first: i32) -> Vec<i32> {
    let of = |pid: &str| std::fs::read_link(Path::new("/proc").join(pid).join("ns/pid")).ok();
    let Some(namespace) = of(&first.to_string()) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<i32> = names
        .filter(|name| of(name).as_ref() == Some(&namespace))
        .filter_map(|name| name.parse().ok())
        .collect();
    found.sort_unstable();
    found
}
