//! What a container's child mounts, drawn from the plan.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_plan::cell::StartError;
use gamut_plan::launch::{Groups, LaunchPlan, Terminal};
use oci_spec::runtime::Mount;

use super::bind::{Locks, clone_host};
use super::devices::{self, Nodes};
use super::mounts::{self, Op, Place};
use super::prepare::{errno_of, step_failed};
use super::target::Kind;
use super::{files, idmap};
use crate::ahead;
use crate::cgroup::Hierarchies;

/// What the keeper makes while the child mounts, for an [`Op::Given`].
#[derive(Debug)]
pub(crate) enum Later {
    /// A control group in one hierarchy, with the attributes of its mount.
    Group { path: PathBuf, attributes: u64 },
    /// A file with these contents.
    File { path: PathBuf, contents: String },
}

impl Later {
    /// The tree to give, when the control groups are there.
    pub(crate) fn make(&self) -> Result<OwnedFd, StartError> {
        match self {
            Later::Group { path, attributes } => clone_host(path, *attributes)
                .map(|(tree, _)| tree)
                .map_err(|e| step_failed(format!("bind the cgroup {}", path.display()), e)),
            Later::File { path, contents } => files::write(path, contents),
        }
    }
}

/// What is mounted, in order.
#[derive(Default)]
pub(crate) struct Operations {
    pub(crate) now: Vec<Op>,
    /// What waits for the keeper.
    pub(crate) late: Vec<Op>,
    /// What the keeper makes for each [`Op::Given`] among that, in their order.
    pub(crate) later: Vec<Later>,
    /// The container's devpts, from which its terminals come.
    pub(crate) devpts: Option<OwnedFd>,
}

/// Whether what waits for the keeper may come after what does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    AsListed,
    AsItSuits,
}

/// The mounts in order: the specification's, with /dev's nodes after its tmpfs, our own devpts in
/// place of the listed one, and the files that gamut writes last. Those, the control groups and what
/// comes on top of them wait until the keeper has made them, after the clone.
pub(crate) fn of(
    plan: &LaunchPlan,
    userns: bool,
    maps: Option<&idmap::Maps>,
    hierarchies: &Hierarchies,
    root: BorrowedFd<'_>,
) -> Result<Operations, StartError> {
    let linux_devices = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.devices().as_deref())
        .unwrap_or_default();
    // Who asked for all groups gave a configuration to be kept to the letter: "in the listed order".
    let order = match plan.groups {
        Groups::All => Order::AsListed,
        Groups::Needed | Groups::Unified => Order::AsItSuits,
    };
    let mut operations = Operations::default();
    let mut below_cgroups = None;
    let mut readonly_dev = false;
    let (locks, nodes) = if userns {
        (Locks::Assumed, Nodes::Bind(maps))
    } else {
        (Locks::Kernels, Nodes::Make)
    };
    let label = linux_label(plan);
    let mounts = plan.spec.mounts().as_deref().unwrap_or_default();
    for (index, mount) in mounts.iter().enumerate() {
        let earlier = &mounts[..index];
        let destination = mount.destination().as_path();
        let late = below_cgroups.is_some_and(|above| destination.starts_with(above));
        let ops = if late {
            &mut operations.late
        } else {
            &mut operations.now
        };
        let is_dev = destination == Path::new("/dev");
        if is_dev
            && linux_devices.is_empty()
            && !userns
            && let Some(tree) = ahead::dev(mount)
        {
            ops.push(Op::Attach {
                tree,
                target: c"/dev".to_owned(),
                kind: Kind::Directory,
            });
            continue;
        }
        match mount.typ().as_deref() {
            Some("cgroup" | "cgroup2") => {
                let view = super::cgroupfs::view(plan, mount, hierarchies)?;
                ops.extend(view.directory);
                for (target, group) in view.groups {
                    operations.promise(target, Kind::Directory, group, order);
                }
                below_cgroups = (order == Order::AsItSuits).then_some(destination);
            }
            // Made by the keeper where that needs terminals from it. /proc/PID/mountinfo has mounts in
            // the order in which they were made, and there are those who look.
            Some("devpts")
                if destination == Path::new("/dev/pts")
                    && (order == Order::AsItSuits || plan.streams.terminal != Terminal::None) =>
            {
                let root_uid = maps.map_or(0, |maps| maps.uid(0));
                // None is asked for where the group of terminals has no id.
                let tty_gid = tty_gid(mount).map(|gid| maps.map_or(gid, |maps| maps.gid(gid)));
                let made = mounts::devpts(root_uid, tty_gid, label)
                    .map_err(|e| step_failed("mount devpts", e))?;
                let tree = made
                    .try_clone()
                    .map_err(|e| step_failed("copy a descriptor", errno_of(&e)))?;
                ops.push(Op::Attach {
                    tree,
                    target: c"/dev/pts".to_owned(),
                    kind: Kind::Directory,
                });
                operations.devpts = Some(made);
            }
            _ => {
                let inside = own_source(plan, mount, earlier);
                let mut op = mounts::prepare(
                    mount,
                    Place {
                        root,
                        maps,
                        locks,
                        label,
                        inside,
                    },
                )?;
                if let (true, Op::New(new)) = (is_dev, &mut op) {
                    readonly_dev |= new.writable();
                }
                ops.push(op);
            }
        }
        if is_dev && !is_bind(mount) {
            let made = devices::devices(linux_devices, nodes)?;
            operations.now.push(made);
        }
    }
    let is_dev = |mount: &Mount| mount.destination() == Path::new("/dev");
    if !mounts.iter().any(is_dev) {
        // In the root itself.
        let made = devices::devices(linux_devices, nodes)?;
        operations.now.push(made);
    }
    operations
        .now
        .extend(devices::elsewhere(linux_devices, nodes)?);
    if readonly_dev {
        let target = c"/dev".to_owned();
        operations.now.push(Op::ReadOnly { target });
    }
    // A mount point that is missing cannot be made any more once the root is read-only.
    let root = plan.spec.root().as_ref();
    let fixed = root.is_some_and(|root| root.readonly() == Some(true));
    for (target, file) in files::of(plan) {
        let (target, kind) = (target.to_owned(), Kind::File);
        if fixed {
            let tree = file.make()?;
            operations.now.push(Op::Attach { tree, target, kind });
        } else {
            operations.promise(target, kind, file, order);
        }
    }
    Ok(operations)
}

fn linux_label(plan: &LaunchPlan) -> Option<&str> {
    let linux = plan.spec.linux().as_ref()?;
    linux
        .mount_label()
        .as_deref()
        .filter(|label| !label.is_empty())
}

/// The group of the terminals: devpts(5), `gid=`.
fn tty_gid(mount: &Mount) -> Option<u32> {
    let mut options = mount.options().iter().flatten();
    options.find_map(|option| option.strip_prefix("gid=")?.parse().ok())
}

/// Whether somebody else's files are shown: what is there is theirs to make. "A mount is a bind mount if it
/// has either `bind` or `rbind` in the options."
pub(crate) fn is_bind(mount: &Mount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    let named = options.iter().any(|word| word == "bind" || word == "rbind");
    named || mount.typ().as_deref() == Some("bind")
}

/// Where the source of a bind is in the container's root, if one of the `earlier` mounts is there or
/// above it. Without one it is what it is on the host.
fn own_source<'a>(plan: &LaunchPlan, mount: &'a Mount, earlier: &[Mount]) -> Option<&'a Path> {
    let root = plan.spec.root().as_ref()?.path();
    if !root.is_absolute() {
        return None;
    }
    let source = mount.source().as_ref()?.strip_prefix(root).ok()?;
    let covers = |above: &Mount| {
        let above = above.destination();
        let above = above.strip_prefix("/").unwrap_or(above);
        source.starts_with(above)
    };
    earlier.iter().any(covers).then_some(source)
}

impl Operations {
    fn promise(&mut self, target: CString, kind: Kind, what: Later, order: Order) {
        let ops = match order {
            Order::AsListed => &mut self.now,
            Order::AsItSuits => &mut self.late,
        };
        ops.push(Op::Given { target, kind });
        self.later.push(what);
    }
}
