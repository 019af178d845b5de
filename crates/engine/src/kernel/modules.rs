//! A distribution's kernel modules (modules.dep(5), depmod(8)): which of them a guest needs, in the order in
//! which they are to be loaded, and decompressed.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use gamut_vmm::initramfs::Module;

use super::error::KernelError;
use super::needs::{NEEDS, Weight};

/// Each module's file, and the files of those that come before it.
pub(super) const DEPENDENCIES: &str = "modules.dep";
/// No module is longer than this.
const MAX_MODULE_BYTES: u64 = 64 << 20;
/// No list is.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// What `depmod` wrote into a kernel's directory of modules.
struct Tree {
    /// Name → its file and those that it depends on, the last one first to be loaded.
    files: BTreeMap<String, (String, Vec<String>)>,
    builtin: HashSet<String>,
    /// Name → names that it asks for at run time, which only `modprobe` would know.
    soft: BTreeMap<String, Vec<String>>,
    /// Alias → name, without those that are patterns.
    aliases: BTreeMap<String, String>,
}

/// The modules in `directory`, `/lib/modules/RELEASE`, that a guest needs.
pub(super) fn needed(directory: &Path) -> Result<Vec<Module>, KernelError> {
    let tree = Tree::read(directory)?;
    let mut order = Order::default();
    for need in &NEEDS {
        let Some(module) = need.module else { continue };
        if tree.files.contains_key(module) {
            tree.with_dependencies(module, &mut order);
        } else if !tree.builtin.contains(module) && need.weight == Weight::Needed {
            return Err(KernelError::Modules {
                path: directory.to_owned(),
                reason: format!("there is no module {module}, for {}", need.purpose),
            });
        }
    }
    order
        .names
        .into_iter()
        .map(|name| {
            let (file, _) = &tree.files[name];
            let content = content(&directory.join(file))?;
            let name = name.to_owned();
            Ok(Module { name, content })
        })
        .collect()
}

/// The modules so far, and those whose dependencies are being added.
#[derive(Default)]
struct Order<'t> {
    names: Vec<&'t str>,
    begun: HashSet<&'t str>,
}

impl Tree {
    fn read(directory: &Path) -> Result<Tree, KernelError> {
        let dependencies = list(&directory.join(DEPENDENCIES))?;
        // Only the first is always there.
        let optional = |name: &str| list(&directory.join(name)).unwrap_or_default();
        Ok(Tree {
            files: dependencies.lines().filter_map(dependency).collect(),
            builtin: optional("modules.builtin").lines().map(name_of).collect(),
            soft: optional("modules.softdep")
                .lines()
                .filter_map(soft_dependency)
                .collect(),
            aliases: optional("modules.alias")
                .lines()
                .filter_map(alias)
                .collect(),
        })
    }

    /// Adds `module` behind all that it needs.
    fn with_dependencies<'t>(&'t self, module: &str, order: &mut Order<'t>) {
        // A dependency of a builtin one, or a soft one that is not there.
        let module = match self.files.contains_key(module) {
            true => module,
            false => match self.aliases.get(module) {
                Some(name) => name,
                None => return,
            },
        };
        let Some((name, (_, before))) = self.files.get_key_value(module) else {
            return;
        };
        // Also where two name each other.
        if !order.begun.insert(name) {
            return;
        }
        let soft = self.soft.get(name).into_iter().flatten();
        let hard = before.iter().rev().map(|file| name_of(file));
        for one in soft.cloned().chain(hard) {
            self.with_dependencies(&one, order);
        }
        order.names.push(name);
    }
}

fn list(path: &Path) -> Result<String, KernelError> {
    let file = File::open(path).map_err(KernelError::at("open", path))?;
    let mut text = String::new();
    file.take(MAX_LIST_BYTES)
        .read_to_string(&mut text)
        .map_err(KernelError::at("read", path))?;
    Ok(text)
}

/// `kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz`.
fn dependency(line: &str) -> Option<(String, (String, Vec<String>))> {
    let (file, before) = line.split_once(':')?;
    let before = before.split_whitespace().map(str::to_owned).collect();
    Some((name_of(file), (file.to_owned(), before)))
}

/// `softdep libcrc32c pre: crc32c post: other`.
fn soft_dependency(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.strip_prefix("softdep ")?.split_whitespace();
    let name = words.next()?.replace('-', "_");
    let before = words
        .skip_while(|word| *word != "pre:")
        .skip(1)
        .take_while(|word| *word != "post:");
    Some((name, before.map(|word| word.replace('-', "_")).collect()))
}

/// `alias crc32c crc32c_generic`.
fn alias(line: &str) -> Option<(String, String)> {
    let (alias, name) = line.strip_prefix("alias ")?.split_once(' ')?;
    let is_pattern = alias.contains(['*', '?', '[', ':']);
    (!is_pattern).then(|| (alias.replace('-', "_"), name.trim().replace('-', "_")))
}

/// A module's name is its file's, with `_` for `-`.
fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let end = base.find(".ko").unwrap_or(base.len());
    base[..end].replace('-', "_")
}

/// A module as the kernel takes it. Some kernels could decompress it themselves, most cannot.
fn content(path: &Path) -> Result<Vec<u8>, KernelError> {
    let file = File::open(path).map_err(KernelError::at("open", path))?;
    let name = path.extension().unwrap_or_default();
    let stream: Box<dyn Read> = match name.as_encoded_bytes() {
        b"gz" => Box::new(flate2::read::GzDecoder::new(file)),
        b"xz" => Box::new(lzma_rust2::XzReader::new(file, true)),
        b"zst" => {
            let decoder = zstd::stream::read::Decoder::new(file);
            Box::new(decoder.map_err(KernelError::at("read", path))?)
        }
        _ => Box::new(file),
    };
    let mut content = Vec::new();
    stream
        .take(MAX_MODULE_BYTES)
        .read_to_end(&mut content)
        .map_err(KernelError::at("read", path))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, content).expect("written");
        };
        write(
            DEPENDENCIES,
            b"v/virtio_mmio.ko.zst: v/virtio.ko v/virtio_ring.ko\nv/virtio.ko: v/virtio_ring.ko\nv/virtio_ring.ko:\n\
              v/virtio-blk.ko.gz: v/virtio.ko v/virtio_ring.ko\nv/virtio_net.ko:\nv/virtiofs.ko: f/fuse.ko\nf/fuse.ko:\n\
              v/vmw_vsock_virtio_transport.ko:\nf/erofs.ko: l/libcrc32c.ko\nl/libcrc32c.ko:\nc/crc32c_intel.ko:\n",
        );
        write("modules.builtin", b"kernel/fs/overlayfs/overlay.ko\n");
        write(
            "modules.softdep",
            b"# comment\nsoftdep libcrc32c pre: crc32c\n",
        );
        write(
            "modules.alias",
            b"alias pci:v* virtio_pci\nalias crc32c crc32c_intel\n",
        );
        for name in [
            "v/virtio.ko",
            "v/virtio_ring.ko",
            "v/virtio_net.ko",
            "v/virtiofs.ko",
            "v/vmw_vsock_virtio_transport.ko",
            "f/fuse.ko",
            "f/erofs.ko",
            "l/libcrc32c.ko",
            "c/crc32c_intel.ko",
        ] {
            write(name, name.as_bytes());
        }
        let zstd = zstd::encode_all(&b"packed by zstd"[..], 0).expect("packed");
        write("v/virtio_mmio.ko.zst", &zstd);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"packed by gzip").expect("packed");
        write("v/virtio-blk.ko.gz", &gzip.finish().expect("packed"));
        directory
    }

    #[test]
    fn each_comes_after_what_it_depends_on_and_is_unpacked() {
        let directory = tree();
        let modules = needed(directory.path()).expect("found");
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "virtio_ring",
                "virtio",
                "virtio_mmio",
                "virtio_blk",
                "vmw_vsock_virtio_transport",
                "virtio_net",
                "fuse",
                "virtiofs",
                "crc32c_intel",
                "libcrc32c",
                "erofs",
            ]
        );
        assert_eq!(modules[2].content, b"packed by zstd");
        assert_eq!(modules[3].content, b"packed by gzip");
        assert_eq!(modules[0].content, b"v/virtio_ring.ko");
    }

    #[test]
    fn what_is_needed_and_missing_is_named() {
        let directory = tree();
        std::fs::write(directory.path().join("modules.builtin"), "").expect("written");
        let error = needed(directory.path()).expect_err("refused");
        assert!(error.to_string().contains("overlay"), "{error}");
        let file = directory.path().join(DEPENDENCIES);
        std::fs::write(file, "virtio_mmio.ko: b.ko\nb.ko: virtio_mmio.ko\n").expect("written");
        let error = needed(directory.path()).expect_err("refused");
        assert!(error.to_string().contains("virtio_blk"), "{error}");
    }

    #[test]
    fn xz_is_unpacked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.ko");
        std::fs::write(&path, b"packed by xz".repeat(1000)).expect("written");
        let Ok(status) = std::process::Command::new("xz").arg(&path).status() else {
            println!("skipped: there is no xz here");
            return;
        };
        assert!(status.success());
        let content = content(&directory.path().join("a.ko.xz")).expect("read");
        assert_eq!(content, b"packed by xz".repeat(1000));
    }
}
