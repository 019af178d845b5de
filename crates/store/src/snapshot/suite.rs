//! The contract of a [`Snapshotter`], executable: every implementation passes [`run`].
//!
//! It is a test that lives outside a test, so it panics where the contract is broken. It mounts
//! for real, and therefore needs CAP_SYS_ADMIN, but attaches no mount anywhere: fsmount(2) gives a
//! descriptor, and the mount goes with it.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{ErofsImage, Lower, RootMount, SnapshotError, Snapshotter};
use crate::layer::{Form, LayerRecord, TREE};
use crate::unpack::RootAttributes;

/// What the layers of a run are on disk.
#[derive(Debug)]
pub enum Layers<S> {
    Trees,
    /// EROFS images.
    Images {
        /// Makes one of a tree, in a file.
        make: fn(&Path, &Path),
        /// Makes what shows several.
        merge: fn(&S, &[LayerRecord]),
    },
}

/// Holds a snapshotter to its contract. `make` is given a directory for layers and one for
/// containers, both new, below `scratch`.
///
/// # Panics
///
/// Where the contract is broken, and where a mount is not permitted.
pub fn run<S: Snapshotter>(scratch: &Path, layers: &Layers<S>, make: impl Fn(&Path, &Path) -> S) {
    let checks: [(&str, Check<S>); 9] = [
        ("layers-cover", upper_layers_cover_lower_ones),
        ("whiteouts", whiteouts_hide_what_lies_below),
        ("changes", changes_stay_with_their_root),
        ("reopen", a_root_is_opened_with_its_changes),
        ("empty", an_image_without_layers_has_a_root),
        ("order", forty_layers_keep_their_order),
        ("attributes", the_root_directory_is_the_images),
        ("remove", removing_leaves_nothing),
        ("names", only_ids_are_names),
    ];
    for (name, check) in checks {
        check(&Bench::new(&scratch.join(name), layers, &make));
    }
}

/// One article of the contract.
type Check<S> = fn(&Bench<'_, S>);

/// A snapshotter with room for layers.
#[derive(Debug)]
struct Bench<'k, S> {
    snapshotter: S,
    kept: &'k Layers<S>,
    layers: PathBuf,
    containers: PathBuf,
}

impl<'k, S: Snapshotter> Bench<'k, S> {
    fn new(path: &Path, kept: &'k Layers<S>, make: impl Fn(&Path, &Path) -> S) -> Self {
        let (layers, containers) = (path.join("layers"), path.join("containers"));
        fs::create_dir_all(layers.join("base").join(TREE)).expect("a directory for layers");
        fs::create_dir_all(&containers).expect("a directory for containers");
        Self {
            snapshotter: make(&layers, &containers),
            kept,
            layers,
            containers,
        }
    }

    /// A layer that `fill` fills.
    fn layer(&self, name: &str, fill: impl FnOnce(&Path)) -> LayerRecord {
        let tree = self.layers.join(name).join(TREE);
        fs::create_dir_all(&tree).expect("a layer's directory");
        fill(&tree);
        let form = match self.kept {
            Layers::Trees => Form::Directory,
            Layers::Images { make, .. } => {
                make(&tree, &self.layers.join(name).join(Form::Erofs.content()));
                Form::Erofs
            }
        };
        let digits = name.bytes().map(|byte| format!("{byte:02x}"));
        let hex = format!("{:0<64}", digits.collect::<String>());
        LayerRecord {
            diff_id: format!("sha256:{hex}").parse().expect("a digest"),
            directory: name.to_owned(),
            size_bytes: 0,
            entries: 0,
            root: None,
            opaque_root: false,
            form,
        }
    }

    fn prepare(&self, id: &str, layers: &[LayerRecord]) -> Mounted {
        if let Layers::Images { merge, .. } = self.kept {
            merge(&self.snapshotter, layers);
        }
        let mount = self.snapshotter.prepare(id, layers).expect("it prepares");
        Mounted::new(&mount)
    }
}

/// A root, mounted for as long as this lives.
#[derive(Debug)]
struct Mounted {
    root: OwnedFd,
}

impl Mounted {
    fn new(mount: &RootMount) -> Self {
        if mount.lower.is_empty() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(&mount.upper, flags, Mode::empty()).expect("a root");
            return Self { root };
        }
        let mut options = Vec::new();
        // A detached mount goes with its last descriptor.
        let mut images = Vec::new();
        for lower in &mount.lower {
            options.push(match lower {
                Lower::Directory(path) => ("lowerdir+", path.clone()),
                Lower::Image(image) => {
                    let tree = mount_image(image);
                    let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
                    images.push(tree);
                    ("lowerdir+", PathBuf::from(path))
                }
            });
        }
        options.push(("upperdir", mount.upper.clone()));
        options.push(("workdir", mount.work.clone()));
        Self {
            root: detached("overlay", &options),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.root.as_raw_fd()))
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a root can be written to");
    }
}

fn mount_image(image: &ErofsImage) -> OwnedFd {
    let devices = image.devices.iter().map(|path| ("device", path.clone()));
    let options: Vec<_> = std::iter::once(("source", image.file.clone()))
        .chain(devices)
        .collect();
    detached("erofs", &options)
}

fn detached(kind: &str, options: &[(&str, PathBuf)]) -> OwnedFd {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .unwrap_or_else(|errno| panic!("{kind} is there and we may mount: {errno}"));
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, value)
            .unwrap_or_else(|errno| panic!("{kind}, {key}={}: {errno}", value.display()));
    }
    rustix::mount::fsconfig_create(&context)
        .unwrap_or_else(|errno| panic!("{kind} takes the description: {errno}"));
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    rustix::mount::fsmount(&context, flags, attributes).expect("a mount")
}

fn whiteout(path: &Path) {
    let kind = FileType::CharacterDevice;
    rustix::fs::mknodat(CWD, path, kind, Mode::empty(), makedev(0, 0)).expect("a whiteout");
}

fn write(path: PathBuf, text: &str) {
    fs::write(path, text).expect("a file of a layer");
}

fn upper_layers_cover_lower_ones<S: Snapshotter>(bench: &Bench<'_, S>) {
    let below = bench.layer("below", |tree| {
        write(tree.join("both"), "below");
        write(tree.join("only-below"), "below");
        symlink("both", tree.join("link")).expect("a link");
    });
    let above = bench.layer("above", |tree| {
        write(tree.join("both"), "above");
        write(tree.join("only-above"), "above");
    });
    let root = bench.prepare("c1", &[below, above]);
    assert_eq!(root.read("both").as_deref(), Some("above"));
    assert_eq!(root.read("link").as_deref(), Some("above"));
    assert_eq!(root.read("only-below").as_deref(), Some("below"));
    assert_eq!(root.read("only-above").as_deref(), Some("above"));
}

fn whiteouts_hide_what_lies_below<S: Snapshotter>(bench: &Bench<'_, S>) {
    let below = bench.layer("below", |tree| {
        write(tree.join("gone"), "below");
        write(tree.join("kept"), "below");
        fs::create_dir(tree.join("opaque")).expect("a directory");
        write(tree.join("opaque/gone"), "below");
    });
    let above = bench.layer("above", |tree| {
        whiteout(&tree.join("gone"));
        fs::create_dir(tree.join("opaque")).expect("a directory");
        write(tree.join("opaque/new"), "above");
        let path = tree.join("opaque");
        rustix::fs::setxattr(
            &path,
            "trusted.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .expect("an opaque directory");
    });
    let root = bench.prepare("c1", &[below.clone(), above.clone()]);
    assert_eq!(root.read("gone"), None);
    assert_eq!(root.read("opaque/gone"), None);
    assert_eq!(root.read("opaque/new").as_deref(), Some("above"));
    assert_eq!(root.read("kept").as_deref(), Some("below"));
    let all = LayerRecord {
        opaque_root: true,
        ..above
    };
    let root = bench.prepare("c2", &[below, all]);
    assert_eq!(root.read("kept"), None, "an opaque root hides everything");
    assert_eq!(root.read("opaque/new").as_deref(), Some("above"));
}

fn changes_stay_with_their_root<S: Snapshotter>(bench: &Bench<'_, S>) {
    let layer = bench.layer("layer", |tree| {
        write(tree.join("file"), "image");
        write(tree.join("removed"), "image");
    });
    let layers = [layer];
    let first = bench.prepare("c1", &layers);
    let second = bench.prepare("c2", &layers);
    first.write("file", "changed");
    first.write("new", "new");
    fs::remove_file(first.path("removed")).expect("a file of the image can be removed");
    assert_eq!(first.read("file").as_deref(), Some("changed"));
    assert_eq!(first.read("removed"), None);
    assert_eq!(second.read("file").as_deref(), Some("image"));
    assert_eq!(second.read("removed").as_deref(), Some("image"));
    assert_eq!(second.read("new"), None);
    let tree = bench.layers.join("layer").join(TREE);
    assert_eq!(
        fs::read_to_string(tree.join("file")).ok().as_deref(),
        Some("image")
    );
    assert!(!tree.join("new").exists(), "a layer is never written to");
    let before = bench.snapshotter.roots().usage("c2").expect("measured");
    second.write("large", &"x".repeat(1 << 20));
    let after = bench.snapshotter.roots().usage("c2").expect("measured");
    assert!(
        after.allotted_bytes >= before.allotted_bytes + (1 << 20),
        "{before:?} {after:?}"
    );
    assert_eq!(after.inodes, before.inodes + 1);
}

fn a_root_is_opened_with_its_changes<S: Snapshotter>(bench: &Bench<'_, S>) {
    let layers = [bench.layer("layer", |tree| write(tree.join("file"), "image"))];
    let prepared = bench.snapshotter.prepare("c1", &layers).expect("prepared");
    Mounted::new(&prepared).write("file", "changed");
    let opened = bench.snapshotter.open("c1", &layers).expect("opened");
    assert_eq!(opened, prepared, "a root is always mounted in the same way");
    assert_eq!(
        Mounted::new(&opened).read("file").as_deref(),
        Some("changed")
    );
    let again = bench.snapshotter.prepare("c1", &layers);
    assert!(matches!(again, Err(SnapshotError::Exists(_))), "{again:?}");
    let absent = bench.snapshotter.open("c2", &layers);
    assert!(
        matches!(absent, Err(SnapshotError::NotFound(_))),
        "{absent:?}"
    );
}

fn an_image_without_layers_has_a_root<S: Snapshotter>(bench: &Bench<'_, S>) {
    let root = bench.prepare("c1", &[]);
    assert_eq!(fs::read_dir(root.path("")).expect("listed").count(), 0);
    root.write("file", "text");
    assert_eq!(root.read("file").as_deref(), Some("text"));
}

fn forty_layers_keep_their_order<S: Snapshotter>(bench: &Bench<'_, S>) {
    let layers: Vec<_> = (0..40)
        .map(|number| {
            bench.layer(&format!("l{number}"), |tree| {
                write(tree.join("last"), &number.to_string());
                write(tree.join(format!("own{number}")), "");
                if number > 0 {
                    whiteout(&tree.join(format!("own{}", number - 1)));
                }
            })
        })
        .collect();
    let root = bench.prepare("c1", &layers);
    assert_eq!(root.read("last").as_deref(), Some("39"));
    let mut names: Vec<_> = fs::read_dir(root.path(""))
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["last", "own39"]);
}

fn the_root_directory_is_the_images<S: Snapshotter>(bench: &Bench<'_, S>) {
    let below = LayerRecord {
        root: Some(RootAttributes {
            mode: 0o1711,
            uid: 12,
            gid: 34,
        }),
        ..bench.layer("below", |_| ())
    };
    let above = bench.layer("above", |_| ());
    let attributes = |root: &Mounted| {
        let metadata = fs::metadata(root.path("")).expect("looked at");
        (
            metadata.permissions().mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
        )
    };
    let root = bench.prepare("c1", &[below, above.clone()]);
    assert_eq!(attributes(&root), (0o1711, 12, 34));
    let root = bench.prepare("c2", &[above]);
    assert_eq!(attributes(&root), (0o755, 0, 0));
}

fn removing_leaves_nothing<S: Snapshotter>(bench: &Bench<'_, S>) {
    let layers = [bench.layer("layer", |tree| write(tree.join("file"), "image"))];
    let root = bench.prepare("c1", &layers);
    root.write("file", "changed");
    fs::create_dir_all(root.path("a/b/c")).expect("directories");
    drop(root);
    drop(bench.prepare("c2", &layers));
    let mut ids = bench.snapshotter.roots().list().expect("listed");
    ids.sort();
    assert_eq!(ids, ["c1", "c2"]);
    bench.snapshotter.roots().remove("c1").expect("removed");
    bench
        .snapshotter
        .roots()
        .remove("c1")
        .expect("removed already");
    assert_eq!(bench.snapshotter.roots().list().expect("listed"), ["c2"]);
    let measured = bench.snapshotter.roots().usage("c1");
    assert!(
        matches!(measured, Err(SnapshotError::NotFound(_))),
        "{measured:?}"
    );
    bench.snapshotter.roots().remove("c2").expect("removed");
    assert_eq!(fs::read_dir(&bench.containers).expect("listed").count(), 0);
    assert!(bench.layers.join("layer").join(TREE).join("file").exists());
    drop(bench.prepare("c1", &layers));
}

fn only_ids_are_names<S: Snapshotter>(bench: &Bench<'_, S>) {
    let long = "a".repeat(65);
    for id in ["", ".", "..", "a/b", "../c", "tmp-1", "a\0b", &long] {
        let prepared = bench.snapshotter.prepare(id, &[]);
        assert!(
            matches!(prepared, Err(SnapshotError::Id(_))),
            "{id:?}: {prepared:?}"
        );
        let removed = bench.snapshotter.roots().remove(id);
        assert!(
            matches!(removed, Err(SnapshotError::Id(_))),
            "{id:?}: {removed:?}"
        );
    }
    assert_eq!(fs::read_dir(&bench.containers).expect("listed").count(), 0);
}
