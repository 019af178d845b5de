//! What the tests share: a store in a scratch directory, and archives made by hand.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use gamut_store::Digest;
use gamut_store::Store;
use gamut_store::layer::{Layer, LayerError};
use gamut_store::unpack::{LayerSource, UnpackOptions, UnpackProblem, Warnings};
use gamut_store::verify::Verdict;
use sha2::Digest as _;

pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// A store that goes with the test.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let store = Store::open(&directory.path().join("store")).expect("a store");
        Self { directory, store }
    }

    pub(crate) fn root(&self) -> &Path {
        self.store.root()
    }

    /// Unpacks a plain tar.
    pub(crate) fn unpack(&self, tar: &[u8]) -> Result<(Layer, Warnings), LayerError> {
        self.unpack_with(tar, &UnpackOptions::default())
    }

    pub(crate) fn unpack_with(
        &self,
        tar: &[u8],
        options: &UnpackOptions,
    ) -> Result<(Layer, Warnings), LayerError> {
        unpack(&self.store, tar, tar, TAR, options)
    }

    /// Unpacks a plain tar and says where its tree is.
    pub(crate) fn tree(&self, tar: &[u8]) -> PathBuf {
        let (layer, _) = self.unpack(tar).unwrap_or_else(|error| panic!("{error}"));
        self.store.layers().tree(&layer.record)
    }

    /// Unpacks a tar that must be refused, leaving nothing.
    pub(crate) fn refused(&self, tar: &[u8]) -> UnpackProblem {
        self.refused_with(tar, &UnpackOptions::default())
    }

    pub(crate) fn refused_with(&self, tar: &[u8], options: &UnpackOptions) -> UnpackProblem {
        problem(self.unpack_with(tar, options), self)
    }

    /// Names under `layers`, without the one for images without layers.
    pub(crate) fn layer_names(&self) -> Vec<String> {
        listed(&self.root().join("layers"))
            .into_iter()
            .filter(|name| name != "base")
            .collect()
    }
}

/// The problem of an unpacking that has failed and left nothing.
pub(crate) fn problem<T>(result: Result<T, LayerError>, scratch: &Scratch) -> UnpackProblem {
    assert_eq!(scratch.layer_names(), [""; 0], "something is left behind");
    match result {
        Err(LayerError::Unpack(error)) => *error.problem,
        Err(other) => panic!("not a matter of unpacking: {other}"),
        Ok(_) => panic!("it was unpacked"),
    }
}

/// Unpacks `bytes`, which are `tar` compressed. Whatever is unpacked must be good for the same
/// archive again, and be found sound.
pub(crate) fn unpack(
    store: &Store,
    tar: &[u8],
    bytes: &[u8],
    media_type: &str,
    options: &UnpackOptions,
) -> Result<(Layer, Warnings), LayerError> {
    let (digest, diff_id) = (sha256(bytes), sha256(tar));
    let source = LayerSource {
        digest: &digest,
        size_bytes: Some(bytes.len() as u64),
        media_type,
        diff_id: &diff_id,
    };
    let unpacked = store.layers().unpack(&source, bytes, options)?;
    let mut again = Vec::new();
    let mut reproduction = store.layers().reproduce(&unpacked.0).expect("a record");
    if let Err(error) = reproduction.read_to_end(&mut again) {
        panic!("it cannot be reproduced: {error}");
    }
    assert!(again == tar, "another archive was reproduced");
    let verdict = store.verify_layer(&unpacked.0.record).expect("verified");
    assert_eq!(verdict, Verdict::Sound);
    Ok(unpacked)
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let hex: String = sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}").parse().expect("a digest")
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

pub(crate) fn listed(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Whether the test can run; says why not.
pub(crate) fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: skipped: needs root");
    }
    root
}

/// An archive written byte by byte: the `tar` crate's builder refuses what attackers write.
#[derive(Debug, Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.entry(b'0', name, "", text.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.entry(b'5', name, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, b"")
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, b"")
    }

    /// PAX records for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length != body + length.to_string().len() {
                length += 1;
            }
            bytes.extend(format!("{length} {key}=").bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.entry(b'x', "pax", "", &bytes)
    }

    pub(crate) fn entry(self, kind: u8, name: &str, target: &str, data: &[u8]) -> Self {
        self.raw(kind, name, target, data, |_| ())
    }

    /// An entry whose header `change` changes before it is summed up.
    pub(crate) fn raw(
        mut self,
        kind: u8,
        name: &str,
        target: &str,
        data: &[u8],
        change: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, if kind == b'5' { "0000755" } else { "0000644" });
        // Everybody may give a file to himself.
        put(108, &format!("{:07o}", rustix::process::geteuid().as_raw()));
        put(116, &format!("{:07o}", rustix::process::getegid().as_raw()));
        put(124, &format!("{:011o}", data.len()));
        put(136, "14524200000");
        put(157, target);
        put(257, "ustar\x0000");
        put(329, "0000000");
        put(337, "0000000");
        header[156] = kind;
        change(&mut header);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// A reader that fails after its bytes.
#[derive(Debug)]
pub(crate) struct Breaks<'b>(pub(crate) &'b [u8]);

impl Read for Breaks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::ErrorKind::ConnectionReset.into()),
            count => Ok(count),
        }
    }
}
