//! A container's root, made and mounted while the rest of its plan is drawn.

use std::os::fd::OwnedFd;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::RootPlan;
use gamut_spec::Fault;
use gamut_store::snapshot::{self, Fresh, RootAttributes, SnapshotError};

/// See the module. Unless it is taken for a start, it is removed again.
#[derive(Debug)]
pub(super) struct RootAhead {
    plan: RootPlan,
    made: Option<Result<Made, SnapshotError>>,
}

#[derive(Debug)]
struct Made {
    /// The container may not be in the database yet.
    _fresh: Fresh,
    /// `None`: the start mounts it, and says what is wrong.
    mounted: Option<OwnedFd>,
}

impl RootAhead {
    pub(super) fn make(plan: RootPlan, (mode, uid, gid): (u32, u32, u32)) -> Self {
        let attributes = RootAttributes { mode, uid, gid };
        let made = snapshot::make(container_of(&plan), attributes).map(|fresh| Made {
            _fresh: fresh,
            mounted: gamut_container::ahead::mount(&plan),
        });
        RootAhead {
            plan,
            made: Some(made),
        }
    }

    /// The mounted root for a start of `plan`.
    pub(super) fn take(mut self, plan: &RootPlan) -> Result<Option<OwnedFd>, StartError> {
        if self.plan != *plan {
            return Ok(None);
        }
        match self.made.take() {
            None => Ok(None),
            Some(Ok(made)) => Ok(made.mounted),
            Some(Err(error)) => Err(StartError::Step {
                step: "make the container's root".into(),
                reason: error.to_string(),
                hint: error.hint(),
            }),
        }
    }
}

impl Drop for RootAhead {
    fn drop(&mut self) {
        if let Some(Ok(made)) = self.made.take() {
            drop(made);
            // What stays is a directory without a row: the next repair finds it.
            let _ = gamut_store::gc::remove_container_directory(container_of(&self.plan));
        }
    }
}

fn container_of(plan: &RootPlan) -> &Path {
    plan.upper.parent().unwrap_or(Path::new("/"))
}
