//! Taking over a group that is there already.

use rustix::process::Pid;

use super::discover::{Hierarchies, Version};
use super::error::CgroupError;
use super::group::{Cgroup, Present, attach_to};
use super::limits::Needs;

impl Cgroup {
    /// As [`Self::create`], but takes a group that is there already, with the limits that it has.
    ///
    /// # Errors
    /// Those of [`Self::create`], of groups that exist apart. What was made stays.
    pub fn adopt(
        hierarchies: &Hierarchies,
        path: &str,
        needs: &Needs,
    ) -> Result<Self, CgroupError> {
        let group = Self::closed(hierarchies, path)?;
        for index in needs.places(hierarchies) {
            let needs = needs.on(hierarchies.mounted[index].version);
            group.make(index, needs, Present::Taken)?;
        }
        Ok(group)
    }

    /// Takes the group `path` over, which somebody else has made with the process `first` in it.
    /// Where they left a hierarchy out that `needs` asks for, the group is made; on v2 `first` is
    /// moved there, on v1 that is left to [`Self::attach_files`].
    ///
    /// # Errors
    /// As [`Self::create`]; what was made stays, for [`Self::remove`].
    pub fn take_over(
        hierarchies: &Hierarchies,
        path: &str,
        needs: &Needs,
        first: Pid,
    ) -> Result<Self, CgroupError> {
        let group = Self::closed(hierarchies, path)?;
        for index in needs.places(hierarchies) {
            let version = hierarchies.mounted[index].version;
            match (group.existing(index)?, version) {
                (Some(_), Version::V1) => {}
                (Some(_), Version::V2) => group.enable(index, needs.on(version))?,
                (None, Version::V1) => {
                    group.make(index, needs.on(version), Present::Refused)?;
                }
                (None, Version::V2) => {
                    let dir = group.make(index, needs.on(version), Present::Refused)?;
                    attach_to(dir, first.as_raw_nonzero().get())?;
                }
            }
        }
        Ok(group)
    }
}
