//! A layer's archive: the image that is made of it can be read, and is what the same archive is
//! unpacked to as a tree; and it comes out of both again.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use gamut_store::erofs::Compression;
use gamut_store::erofs::read::Image;
use gamut_store::fuzzing::{self, Outcome};
use gamut_store::layer::Form;

use super::image::read_all;
use super::tree::compare;

const BLOCK: usize = 512;

/// How an image's files may be compressed.
pub(super) const COMPRESSIONS: [Compression; 3] =
    [Compression::None, Compression::Lz4, Compression::Zstd(1)];

/// Headers' sums are made right first: they are no hurdle for an attacker.
pub(super) fn tar(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    set_sums(&mut bytes);
    let place = Place::new();
    let open = |name: &str| File::open(place.path.join(name)).expect("a directory");
    // Any of them, but the same each time.
    let sum: usize = bytes.iter().map(|&byte| usize::from(byte)).sum();
    let (written, image) = place.image(&bytes, COMPRESSIONS[sum % COMPRESSIONS.len()]);
    if written.is_ok() {
        let image = Image::open(&image[..]).expect("our own image");
        read_all(&image).expect("all of it can be read");
        let again = fuzzing::reproduce(&bytes, Form::Erofs, open("image").as_fd());
        again.expect("the same archive");
    }
    // Who may not give files away has other trees.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let unpacked = fuzzing::tree(&bytes, open("tree/fs").as_fd(), open("tree").as_fd());
    assert_eq!(
        written, unpacked,
        "an image on the left, a tree on the right"
    );
    if written.is_ok() {
        let image = Image::open(&image[..]).expect("our own image");
        compare(&image, &place.path.join("tree/fs"));
        let again = fuzzing::reproduce(&bytes, Form::Directory, open("tree").as_fd());
        again.expect("the same archive");
    }
}

/// The records of an extended header.
pub(super) fn pax(bytes: &[u8]) {
    fuzzing::pax(bytes);
}

/// Two empty layers, in memory, which go with this.
pub(super) struct Place {
    path: PathBuf,
}

impl Place {
    pub(super) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let path = parent.join(format!("gamut-fuzz-{thread}"));
        let _ = fs::remove_dir_all(&path);
        for name in ["image", "tree/fs"] {
            fs::create_dir_all(path.join(name)).expect("a directory");
        }
        Self { path }
    }

    /// Makes the image of an archive, in `image`.
    pub(super) fn image(
        &self,
        tar: &[u8],
        compression: Compression,
    ) -> (Result<Outcome, String>, Vec<u8>) {
        let layer = File::open(self.path.join("image")).expect("a directory");
        let path = self.path.join("image/layer.erofs");
        let file = File::create_new(&path).expect("a file");
        let written = fuzzing::image(tar, compression, file.as_fd(), layer.as_fd());
        (written, fs::read(path).expect("a file"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Puts the right sum into whatever stands where a header is looked for.
fn set_sums(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + BLOCK) {
        if header.iter().any(|&byte| byte != 0) {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        let digits = header[124..136]
            .iter()
            .take_while(|digit| digit.is_ascii_digit());
        let size = digits.fold(0, |size: usize, digit| {
            size.saturating_mul(8)
                .saturating_add(usize::from(digit - b'0'))
        });
        at = at
            .saturating_add(BLOCK)
            .saturating_add(size.next_multiple_of(BLOCK).min(1 << 30));
    }
}

/// An archive.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: u8, name: &str, target: &str, data: &[u8]) -> Self {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, "0000755\x000000001\x000000002\0");
        put(124, &format!("{:011o}", data.len()));
        put(136, "14524200000");
        put(157, target);
        put(257, "ustar\x0000");
        put(329, "0000001");
        put(337, "0000003");
        header[156] = kind;
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn file(self, name: &str, bytes: usize) -> Self {
        let data: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        self.entry(b'0', name, "", &data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        set_sums(&mut self.0);
        self.0
    }
}

/// Archives with one of everything.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let names = Tar::default()
        .entry(b'5', "./", "", b"")
        .entry(b'5', "d/", "", b"")
        .file("d/small", 10)
        .file("d/large", 5000)
        .entry(b'1', "same", "d/large", b"")
        .entry(b'2', "link", "d", b"")
        .file("link/through", 3)
        .entry(b'2', "d/up", "../link/small", b"")
        .entry(b'3', "null", "", b"")
        .entry(b'4', "disk", "", b"")
        .entry(b'6', "fifo", "", b"")
        .file("implied/by/this", 1);
    let replaced = Tar::default()
        .file("a", 4096)
        .entry(b'5', "a", "", b"")
        .file("a/b", 1)
        .entry(b'1', "c", "a/b", b"")
        .file("a", 2)
        .file("c", 0)
        .entry(b'5', "c", "", b"")
        .entry(b'5', "c", "", b"")
        .file("c/../e", 1);
    let whiteouts = Tar::default()
        .file(".wh.gone", 0)
        .file("gone/again", 1)
        .file("d/.wh..wh..opq", 0)
        .file("d/x", 1)
        .file("d/.wh.x", 0)
        .file(".wh..wh.plnk/1", 0)
        .file(".wh..wh..opq", 0);
    let xattrs = Tar::default()
        .entry(b'x', "p", "", PAX)
        .file("x", 1)
        .entry(b'x', "p", "", PAX)
        .entry(b'5', "y", "", b"")
        .entry(b'x', "p", "", b"25 path=a/name/from/pax\n12 size=000\n")
        .file("n", 0)
        .entry(b'L', "l", "", &[b'n'; 300])
        .entry(b'K', "k", "", &[b't'; 200])
        .entry(b'2', "short", "short", b"");
    vec![
        names.end(),
        replaced.end(),
        whiteouts.end(),
        xattrs.end(),
        sparse(),
    ]
}

/// Times, owners and extended attributes.
const PAX: &[u8] = b"22 mtime=1600000000.5\n14 uid=100000\n11 gid=17\n\
    25 SCHILY.xattr.user.a=1\n30 SCHILY.xattr.trusted.b=\0\n\xff\n\
    40 SCHILY.xattr.trusted.overlay.opaque=y\n";

/// A sparse file in GNU's old form: GNU tar manual, "Storing Sparse Files".
fn sparse() -> Vec<u8> {
    let mut tar = Tar::default().entry(b'S', "sparse", "", &[b's'; 1024]).0;
    let mut put = |at: usize, text: &str| tar[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(257, "ustar  \0");
    put(386, "00000010000\x0000000001000\0");
    put(410, "00000020000\x0000000001000\0");
    put(483, "00000030000\0");
    Tar(tar).file("after", 1).end()
}

/// Records with what they can say.
pub(super) fn pax_seeds() -> Vec<Vec<u8>> {
    vec![
        PAX.to_vec(),
        b"9 path=a\n13 linkpath=\n17 size=12345678\n11 uid=-1\n20 mtime=-1.999999\n".to_vec(),
    ]
}
