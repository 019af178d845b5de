//! Groups that the workload made below its own, for a further process to be put into.

use std::str::FromStr;

use super::controller::ControllerSet;
use super::discover::Mode;
use super::error::CgroupError;
use super::group::{Cgroup, check_path};

/// A group below a workload's own, in some of its hierarchies: `[CONTROLLER[,CONTROLLER...]:]PATH`, as
/// runc's `exec --cgroup` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    /// Whose hierarchies; all if there is none.
    controllers: ControllerSet,
    /// Relative; empty is the workload's own group.
    path: String,
}

impl FromStr for Below {
    type Err = CgroupError;

    fn from_str(text: &str) -> Result<Self, CgroupError> {
        let (names, path) = match text.split_once(':') {
            Some((names, path)) => (names, path),
            None => ("", text),
        };
        let mut controllers = ControllerSet::NONE;
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let known = ControllerSet::from_v1_names(name);
            if known.is_empty() {
                let name = name.to_owned();
                return Err(CgroupError::UnknownController { name });
            }
            known.iter().for_each(|known| controllers.insert(known));
        }
        let path = path.trim_matches('/').to_owned();
        if !path.is_empty() {
            check_path(&path)?;
        }
        Ok(Below { controllers, path })
    }
}

impl Cgroup {
    /// This group, but in the hierarchies of `below` what is there. A later one wins.
    ///
    /// # Errors
    /// [`CgroupError::NotFound`] for a group that is missing where this one exists: what is put into it
    /// would stay outside.
    pub fn descended(mut self, below: &[Below]) -> Result<Self, CgroupError> {
        for Below { controllers, path } in below {
            for index in 0..self.hierarchies().mounted.len() {
                let hierarchy = &self.hierarchies().mounted[index];
                let meant = controllers.is_empty()
                    || self.hierarchies().mode == Mode::V2
                    || !controllers.intersection(hierarchy.controllers).is_empty();
                if meant && !path.is_empty() {
                    self.descend(index, path)?;
                }
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::controller::Controller;
    use super::*;

    #[test]
    fn controllers_and_a_path() {
        let below: Below = "cpu,memory:a/b/".parse().unwrap();
        let set = ControllerSet::of(&[Controller::Cpu, Controller::Memory]);
        assert_eq!((below.controllers, below.path.as_str()), (set, "a/b"));
        let own: Below = "/".parse().unwrap();
        assert!(own.controllers.is_empty() && own.path.is_empty());
        for wrong in ["..", "a/../b", "whaaat:/a"] {
            assert!(wrong.parse::<Below>().is_err(), "{wrong}");
        }
    }
}
