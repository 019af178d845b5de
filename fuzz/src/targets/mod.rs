//! The targets, a file for each kind of thing that comes from outside.

mod archive;
mod firecracker;
mod image;
mod layer;
mod lazy;
mod merge;
mod registry;
mod tree;
mod trust;
mod virtio;

use crate::Target;

/// All of them.
pub const TARGETS: [Target; 25] = [
    Target {
        name: "reference",
        run: registry::reference,
        made: Vec::new,
    },
    Target {
        name: "manifest",
        run: registry::manifest,
        made: Vec::new,
    },
    Target {
        name: "config",
        run: registry::config,
        made: Vec::new,
    },
    Target {
        name: "challenge",
        run: registry::challenge,
        made: Vec::new,
    },
    Target {
        name: "token",
        run: registry::token,
        made: Vec::new,
    },
    Target {
        name: "image",
        run: image::run,
        made: image::seeds,
    },
    Target {
        name: "merge",
        run: merge::run,
        made: image::seeds,
    },
    Target {
        name: "tar",
        run: layer::tar,
        made: layer::seeds,
    },
    Target {
        name: "pax",
        run: layer::pax,
        made: layer::pax_seeds,
    },
    Target {
        name: "archive",
        run: archive::run,
        made: layer::seeds,
    },
    Target {
        name: "toc",
        run: lazy::toc,
        made: lazy::tocs,
    },
    Target {
        name: "lazy-index",
        run: lazy::index,
        made: lazy::indexes,
    },
    Target {
        name: "lazy-blob",
        run: lazy::blob,
        made: lazy::blobs,
    },
    Target {
        name: "openpgp",
        run: trust::openpgp,
        made: Vec::new,
    },
    Target {
        name: "sigstore",
        run: trust::sigstore,
        made: Vec::new,
    },
    Target {
        name: "virtio-block",
        run: virtio::block,
        made: virtio::block_seeds,
    },
    Target {
        name: "virtio-entropy",
        run: virtio::entropy,
        made: virtio::entropy_seeds,
    },
    Target {
        name: "virtio-fs",
        run: virtio::fs,
        made: virtio::fs_seeds,
    },
    Target {
        name: "virtio-console",
        run: virtio::console,
        made: virtio::console_seeds,
    },
    Target {
        name: "virtio-net",
        run: virtio::net,
        made: virtio::net_seeds,
    },
    Target {
        name: "virtio-balloon",
        run: virtio::balloon,
        made: virtio::balloon_seeds,
    },
    Target {
        name: "virtio-vsock",
        run: virtio::vsock,
        made: virtio::vsock_seeds,
    },
    Target {
        name: "virtio-pmem",
        run: virtio::pmem,
        made: virtio::pmem_seeds,
    },
    Target {
        name: "firecracker-api",
        run: firecracker::api,
        made: firecracker::api_seeds,
    },
    Target {
        name: "firecracker-metadata",
        run: firecracker::metadata,
        made: firecracker::metadata_seeds,
    },
];
