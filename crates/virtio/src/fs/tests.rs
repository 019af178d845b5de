//! A guest without a kernel: requests as Linux sends them, and as it never would.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::*;
use crate::driver::{Driver, Part};

const ROOT: u64 = 1;

struct Guest {
    driver: Driver<Fs>,
    directory: TempDir,
    uid: u32,
}

fn open(path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).expect("a directory")
}

/// `EPERM` and its like: the tree is served by root, as in life.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: files of others are made by root");
    }
    is_root
}

impl Guest {
    /// A tree with `upper`, which is private, and `0`, which is not.
    fn new() -> Self {
        // As the jail does: ids of files do not take capabilities away.
        let bits = rustix::thread::CapabilitiesSecureBits::NO_SETUID_FIXUP;
        let _ = rustix::thread::set_capabilities_secure_bits(bits);
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["upper", "0"] {
            fs::create_dir(directory.path().join(name)).expect("made");
        }
        let export = Export {
            tag: "gamut".into(),
            root: open(directory.path()),
            descriptors: open(Path::new("/proc/self/fd")),
            private: c"upper".into(),
        };
        let driver = Driver::started(Fs::new(export).expect("served"), u64::MAX);
        let mut guest = Self {
            driver,
            directory,
            uid: 0,
        };
        let init = Answer::default().u32(7).u32(38).u32(1 << 17).u32(u32::MAX);
        let answer = guest.ask(26, 0, init, 200).expect("negotiated");
        assert_eq!(answer.len(), 64);
        assert_eq!(&answer[..8], [7, 0, 0, 0, 36, 0, 0, 0]);
        guest
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn head(&self, opcode: u32, node: u64, arguments: &Answer) -> Vec<u8> {
        let length = 40 + arguments.0.len() as u32;
        let head = Answer::default().u32(length).u32(opcode).u64(7).u64(node);
        let head = head.u32(self.uid).u32(self.uid).u32(1).u32(0);
        head.bytes(&arguments.0).0
    }

    /// The answer's payload.
    fn ask(
        &mut self,
        opcode: u32,
        node: u64,
        arguments: Answer,
        room: u32,
    ) -> Result<Vec<u8>, Errno> {
        let request = self.head(opcode, node, &arguments);
        let parts = [Part::Out(&request), Part::In(16), Part::In(room)];
        let (length, bytes) = self.driver.request(1, &parts);
        let mut fields = Fields(&bytes);
        assert_eq!(fields.u32(), Ok(length), "the length is told twice");
        let error = fields.u32().expect("an error") as i32;
        assert_eq!(fields.u64(), Ok(7), "the request's number");
        match error {
            0 => Ok(bytes[16..length as usize].to_vec()),
            error => {
                assert_eq!(length, 16);
                Err(Errno::from_raw_os_error(-error))
            }
        }
    }

    fn look_up(&mut self, parent: u64, name: &str) -> Result<Entry, Errno> {
        let answer = self.ask(1, parent, text(name), 128)?;
        Ok(Entry::parse(&answer))
    }

    fn create(&mut self, parent: u64, name: &str) -> Result<(Entry, u64), Errno> {
        let flags = libc::O_RDWR | libc::O_CREAT;
        let arguments = Answer::default()
            .u32(flags as u32)
            .u32(0o666)
            .u32(0o022)
            .u32(0);
        let answer = self.ask(35, parent, arguments.bytes(&text(name).0), 144)?;
        let handle = Fields(&answer[128..]).u64()?;
        Ok((Entry::parse(&answer), handle))
    }

    fn open(&mut self, node: u64, flags: i32) -> Result<u64, Errno> {
        let arguments = Answer::default().u32(flags as u32).u32(0);
        let answer = self.ask(14, node, arguments, 16)?;
        Fields(&answer).u64()
    }

    fn read(&mut self, handle: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        self.ask(15, ROOT, at(handle, offset, size), size)
    }

    fn write(&mut self, handle: u64, offset: u64, data: &[u8], flags: u32) -> Result<u32, Errno> {
        let arguments = Answer::default().u64(handle).u64(offset);
        let arguments = arguments.u32(data.len() as u32).u32(flags);
        let arguments = arguments.u64(0).u32(0).u32(0).bytes(data);
        let answer = self.ask(16, ROOT, arguments, 8)?;
        Fields(&answer).u32()
    }

    fn names(&mut self, node: u64, size: u32) -> Vec<String> {
        let answer = self
            .ask(27, node, Answer::default().u64(0), 16)
            .expect("opened");
        let handle = Fields(&answer).u64().expect("a handle");
        let (mut names, mut offset) = (Vec::new(), 0);
        loop {
            let answer = self
                .ask(28, node, at(handle, offset, size), size)
                .expect("listed");
            if answer.is_empty() {
                break;
            }
            let mut fields = Fields(&answer);
            while !fields.0.is_empty() {
                fields.skip(8).expect("an inode");
                offset = fields.u64().expect("an offset");
                let length = fields.u32().expect("a length") as usize;
                fields.skip(4).expect("a kind");
                let name = fields.bytes(length).expect("a name");
                names.push(String::from_utf8_lossy(name).into_owned());
                fields
                    .skip((24 + length).next_multiple_of(8) - 24 - length)
                    .expect("padding");
            }
        }
        names.sort();
        names
    }

    fn setattr(&mut self, node: u64, valid: u32, values: &[(usize, u32)]) -> Result<(), Errno> {
        let mut arguments = vec![0; 88];
        arguments[..4].copy_from_slice(&valid.to_le_bytes());
        for (offset, value) in values {
            arguments[*offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        self.ask(4, node, Answer(arguments), 104).map(drop)
    }

    fn set_attribute(&mut self, node: u64, name: &str, value: &[u8]) -> Result<(), Errno> {
        let arguments = Answer::default().u32(value.len() as u32).u32(0);
        let arguments = arguments.bytes(&text(name).0).bytes(value);
        self.ask(21, node, arguments, 0).map(drop)
    }

    fn attribute(&mut self, node: u64, name: &str) -> Result<Vec<u8>, Errno> {
        let arguments = Answer::default().u32(100).u32(0).bytes(&text(name).0);
        self.ask(22, node, arguments, 100)
    }
}

fn text(text: &str) -> Answer {
    Answer::default().bytes(text.as_bytes()).bytes(&[0])
}

/// `struct fuse_read_in`.
fn at(handle: u64, offset: u64, size: u32) -> Answer {
    let arguments = Answer::default().u64(handle).u64(offset).u32(size);
    arguments.u32(0).u64(0).u32(0).u32(0)
}

#[derive(Debug)]
struct Entry {
    node: u64,
    valid_s: u64,
    inode: u64,
    mode: u32,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Self {
        let u64_at = |at: usize| Fields(&bytes[at..]).u64().expect("a field");
        Self {
            node: u64_at(0),
            valid_s: u64_at(16),
            inode: u64_at(40),
            mode: Fields(&bytes[40 + 60..]).u32().expect("a field"),
        }
    }
}

#[test]
fn a_file_is_made_written_read_and_listed() {
    let mut guest = Guest::new();
    let upper = guest.look_up(ROOT, "upper").expect("there");
    assert!(upper.valid_s > 1000, "nobody else changes it");
    let (file, handle) = guest.create(upper.node, "file").expect("made");
    let data: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    assert_eq!(guest.write(handle, 5, &data, 0), Ok(100_000));
    let read = guest.read(handle, 0, 200_000).expect("read");
    assert_eq!((&read[..5], &read[5..]), (&[0; 5][..], &data[..]));
    assert_eq!(guest.read(handle, 100_005, 10), Ok(Vec::new()), "the end");
    let on_host = guest.path("upper/file");
    let metadata = fs::metadata(&on_host).expect("there");
    assert_eq!((metadata.len(), metadata.ino()), (100_005, file.inode));
    assert_eq!(metadata.permissions().mode(), 0o100_644, "the umask counts");
    assert_eq!(file.mode, 0o100_644);
    assert_eq!(guest.names(upper.node, 4096), [".", "..", "file"]);
    guest
        .ask(18, file.node, at(handle, 0, 0), 0)
        .expect("released");
    assert_eq!(guest.read(handle, 0, 10), Err(Errno::BADF));
}

#[test]
fn what_the_host_changes_is_seen() {
    let mut guest = Guest::new();
    fs::write(guest.path("0/file"), "one").expect("written");
    let share = guest.look_up(ROOT, "0").expect("there");
    let file = guest.look_up(share.node, "file").expect("there");
    assert_eq!((share.valid_s, file.valid_s), (0, 0), "asked for each time");
    let handle = guest.open(file.node, libc::O_RDONLY).expect("opened");
    fs::write(guest.path("0/file"), "other").expect("written");
    assert_eq!(guest.read(handle, 0, 100).expect("read"), b"other");
    // A name that is another file now is another node; the old one is still there.
    fs::remove_file(guest.path("0/file")).expect("removed");
    fs::write(guest.path("0/file"), "new").expect("written");
    let new = guest.look_up(share.node, "file").expect("there");
    assert_ne!(new.node, file.node);
    let handle = guest
        .open(file.node, libc::O_RDONLY)
        .expect("opened without a name");
    assert_eq!(guest.read(handle, 0, 100).expect("read"), b"other");
}

#[test]
fn no_name_leads_out_of_the_tree() {
    let mut guest = Guest::new();
    symlink("/etc/passwd", guest.path("0/link")).expect("linked");
    symlink("/etc", guest.path("0/directory")).expect("linked");
    fs::write(guest.path("0/file"), "").expect("written");
    let share = guest.look_up(ROOT, "0").expect("there").node;
    for name in [
        "..",
        ".",
        "",
        "/",
        "/etc/passwd",
        "../0",
        "0/file",
        "directory/passwd",
    ] {
        for parent in [ROOT, share] {
            let found = guest.look_up(parent, name).err();
            assert_eq!(found, Some(Errno::INVAL), "{name}");
            assert_eq!(
                guest.create(parent, name).err(),
                Some(Errno::INVAL),
                "{name}"
            );
        }
        for opcode in [10, 11] {
            let removed = guest.ask(opcode, share, text(name), 0);
            assert_eq!(removed, Err(Errno::INVAL), "{name}");
        }
        let arguments = Answer::default()
            .u64(ROOT)
            .bytes(b"file\0")
            .bytes(&text(name).0);
        assert_eq!(
            guest.ask(12, share, arguments, 0),
            Err(Errno::INVAL),
            "{name}"
        );
        let arguments = Answer::default().u32(0o755).u32(0).bytes(&text(name).0);
        assert_eq!(
            guest.ask(9, share, arguments, 128),
            Err(Errno::INVAL),
            "{name}"
        );
        let arguments = text(name).bytes(b"target\0");
        assert_eq!(
            guest.ask(6, share, arguments, 128),
            Err(Errno::INVAL),
            "{name}"
        );
    }
    // A link is a link: it is neither opened nor gone through.
    let link = guest.look_up(share, "link").expect("there");
    assert_eq!(link.mode & 0o170_000, 0o120_000);
    assert_eq!(guest.open(link.node, libc::O_RDONLY), Err(Errno::LOOP));
    assert_eq!(
        guest
            .ask(5, link.node, Answer::default(), 100)
            .expect("read"),
        b"/etc/passwd"
    );
    let directory = guest.look_up(share, "directory").expect("there").node;
    assert_eq!(
        guest.look_up(directory, "passwd").err(),
        Some(Errno::NOTDIR)
    );
    let flags = libc::O_RDWR | libc::O_CREAT;
    let arguments = Answer::default().u32(flags as u32).u32(0o666).u32(0).u32(0);
    let created = guest.ask(35, share, arguments.bytes(b"link\0"), 144);
    assert_eq!(created, Err(Errno::LOOP), "a link is not created through");
}

#[test]
fn files_belong_to_who_made_them() {
    if !is_root() {
        return;
    }
    let mut guest = Guest::new();
    guest.uid = 1234;
    let upper = guest.look_up(ROOT, "upper").expect("there").node;
    guest
        .create(upper, "file")
        .expect("made, and rights are the guest's business");
    let arguments = Answer::default()
        .u32(0o1777)
        .u32(0o022)
        .bytes(b"directory\0");
    guest.ask(9, upper, arguments, 128).expect("made");
    guest
        .ask(6, upper, text("link").bytes(b"target\0"), 128)
        .expect("made");
    for (name, mode) in [("file", 0o644), ("directory", 0o1755), ("link", 0o777)] {
        let metadata = fs::symlink_metadata(guest.path(&format!("upper/{name}"))).expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 1234), "{name}");
        assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
    }
    // A whiteout, as overlayfs makes it.
    let whiteout = Answer::default().u32(libc::S_IFCHR).u32(0).u32(0).u32(0);
    guest
        .ask(8, upper, whiteout.bytes(b"gone\0"), 128)
        .expect("made");
    let metadata = fs::symlink_metadata(guest.path("upper/gone")).expect("there");
    assert_eq!(
        (metadata.mode() & libc::S_IFMT, metadata.rdev()),
        (libc::S_IFCHR, 0)
    );
    let device = Answer::default()
        .u32(libc::S_IFCHR)
        .u32(0x10_0523)
        .u32(0)
        .u32(0);
    match guest.ask(8, upper, device.bytes(b"device\0"), 128) {
        Ok(answer) => {
            let rdev = fs::symlink_metadata(guest.path("upper/device"))
                .expect("there")
                .rdev();
            assert_eq!(rdev, rustix::fs::makedev(5, 0x123));
            let node = Entry::parse(&answer).node;
            assert_eq!(
                guest.open(node, libc::O_RDWR),
                Err(Errno::NXIO),
                "never opened here"
            );
        }
        Err(error) => assert_eq!(error, Errno::PERM, "no CAP_MKNOD here"),
    }
}

#[test]
fn attributes_are_set_also_of_what_has_no_name() {
    let mut guest = Guest::new();
    let upper = guest.look_up(ROOT, "upper").expect("there").node;
    let (file, handle) = guest.create(upper, "file").expect("made");
    guest.write(handle, 0, b"0123456789", 0).expect("written");
    fs::rename(guest.path("upper/file"), guest.path("0/moved")).expect("renamed");
    guest
        .setattr(file.node, setattr_bits(&[0, 3]), &[(16, 4), (68, 0o4755)])
        .expect("set");
    let metadata = fs::metadata(guest.path("0/moved")).expect("there");
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (4, 0o4755));
    guest
        .setattr(
            file.node,
            setattr_bits(&[4, 5]),
            &[(32, 11), (40, 22), (60, 33)],
        )
        .expect("set");
    let metadata = fs::metadata(guest.path("0/moved")).expect("there");
    let times = (metadata.atime(), metadata.mtime(), metadata.mtime_nsec());
    assert_eq!(times, (11, 22, 33));
    // Who may not keep set-id bits loses them by writing.
    guest
        .write(handle, 0, b"x", WRITE_KILL_SUIDGID)
        .expect("written");
    let mode = || fs::metadata(guest.path("0/moved")).expect("there").mode() & 0o7777;
    assert_eq!(mode(), 0o755);
    if is_root() {
        guest
            .setattr(file.node, setattr_bits(&[1, 2]), &[(76, 12), (80, 34)])
            .expect("set");
        let metadata = fs::metadata(guest.path("0/moved")).expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
    }
}

fn setattr_bits(bits: &[u32]) -> u32 {
    bits.iter().map(|bit| 1 << bit).sum()
}

#[test]
fn an_overlays_marks_are_kept_as_the_users() {
    let mut guest = Guest::new();
    let upper = guest.look_up(ROOT, "upper").expect("there").node;
    let arguments = Answer::default().u32(0o755).u32(0).bytes(b"directory\0");
    let answer = guest.ask(9, upper, arguments, 128).expect("made");
    let directory = Entry::parse(&answer).node;
    match guest.set_attribute(directory, "trusted.overlay.opaque", b"y") {
        Err(Errno::OPNOTSUPP) => {
            eprintln!("skipped: no user attributes in the temporary directory");
            return;
        }
        other => other.expect("set"),
    }
    let mut value = [0; 8];
    let on_host = guest.path("upper/directory");
    let length = rustix::fs::getxattr(&on_host, "user.overlay.opaque", &mut value).expect("there");
    assert_eq!(&value[..length], b"y");
    assert_eq!(
        guest
            .attribute(directory, "trusted.overlay.opaque")
            .expect("there"),
        b"y"
    );
    let list = guest
        .ask(23, directory, Answer::default().u32(100).u32(0), 100)
        .expect("listed");
    assert_eq!(list, b"trusted.overlay.opaque\0");
    let size = guest
        .ask(23, directory, Answer::default().u32(0).u32(0), 8)
        .expect("asked");
    assert_eq!(Fields(&size).u32(), Ok(23));
    // What the guest's programs call so does not get there.
    let own = guest.set_attribute(directory, "user.overlay.opaque", b"y");
    assert_eq!(own, Err(Errno::OPNOTSUPP));
    guest
        .set_attribute(directory, "user.other", b"value")
        .expect("set");
    assert_eq!(
        guest.attribute(directory, "user.other").expect("there"),
        b"value"
    );
    guest
        .ask(24, directory, text("trusted.overlay.opaque"), 0)
        .expect("removed");
    let gone = guest.attribute(directory, "trusted.overlay.opaque");
    assert_eq!(gone, Err(Errno::NODATA));
    // A link has none.
    guest
        .ask(6, upper, text("link").bytes(b"target\0"), 128)
        .expect("made");
    let link = guest.look_up(upper, "link").expect("there").node;
    let refused = guest.set_attribute(link, "trusted.overlay.origin", b"");
    assert_eq!(refused, Err(Errno::PERM), "which overlayfs ignores");
}

#[test]
fn names_move_between_directories() {
    let mut guest = Guest::new();
    let upper = guest.look_up(ROOT, "upper").expect("there").node;
    let share = guest.look_up(ROOT, "0").expect("there").node;
    let (file, _) = guest.create(upper, "file").expect("made");
    let to = Answer::default().u64(share).bytes(b"file\0moved\0");
    guest.ask(12, upper, to, 0).expect("renamed");
    assert!(guest.path("0/moved").exists() && !guest.path("upper/file").exists());
    guest.create(upper, "file").expect("made");
    let no_replace = Answer::default()
        .u64(share)
        .u32(1)
        .u32(0)
        .bytes(b"file\0moved\0");
    assert_eq!(guest.ask(45, upper, no_replace, 0), Err(Errno::EXIST));
    let link = Answer::default().u64(file.node).bytes(b"linked\0");
    let answer = guest.ask(13, upper, link, 128).expect("linked");
    assert_eq!(Entry::parse(&answer).inode, file.inode);
    assert_eq!(Entry::parse(&answer).node, file.node, "the same node");
    guest.ask(10, share, text("moved"), 0).expect("removed");
    assert_eq!(guest.ask(11, ROOT, text("upper"), 0), Err(Errno::NOTEMPTY));
    assert_eq!(guest.names(upper, 4096), [".", "..", "file", "linked"]);
}

#[test]
fn what_is_forgotten_is_gone() {
    let mut guest = Guest::new();
    let upper = guest.look_up(ROOT, "upper").expect("there").node;
    for _ in 0..2 {
        guest.look_up(ROOT, "upper").expect("there");
    }
    let forget = |guest: &mut Guest, opcode, node, arguments| {
        let request = guest.head(opcode, node, &arguments);
        let (length, _) = guest.driver.request(0, &[Part::Out(&request)]);
        assert_eq!(length, 0, "nobody waits for an answer");
    };
    forget(&mut guest, 2, upper, Answer::default().u64(2));
    assert_eq!(guest.driver.counter("nodes"), 1);
    let batch = Answer::default().u32(3).u32(0).u64(upper).u64(1);
    // The third does not exist, the fourth is cut.
    forget(&mut guest, 42, 0, batch.u64(99).u64(1).u64(5));
    assert_eq!(guest.driver.counter("nodes"), 0);
    assert_eq!(guest.look_up(upper, "file").err(), Some(Errno::NOENT));
    assert!(guest.look_up(ROOT, "upper").is_ok());
    guest.ask(38, 0, Answer::default(), 0).expect("destroyed");
    assert_eq!(guest.driver.counter("nodes"), 0);
}

#[test]
fn a_long_directory_is_listed_in_pieces() {
    let mut guest = Guest::new();
    let mut expected: Vec<String> = (0..300).map(|at| format!("{at:0100}")).collect();
    for name in &expected {
        fs::write(guest.path("0").join(name), "").expect("made");
    }
    expected.extend([".".into(), "..".into()]);
    expected.sort();
    let share = guest.look_up(ROOT, "0").expect("there").node;
    assert_eq!(guest.names(share, 4096), expected);
    assert_eq!(guest.names(share, 300), expected);
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let mut guest = Guest::new();
    let upper = guest.look_up(ROOT, "upper").expect("there").node;
    let (file, handle) = guest.create(upper, "file").expect("made");
    // Every request, known or not, with arguments that are cut at each length.
    for opcode in 0..60 {
        for length in 0..64 {
            let arguments = Answer(vec![0; length]);
            let request = guest.head(opcode, file.node, &arguments);
            let head = guest.driver.add(1, &[Part::Out(&request), Part::In(200)]);
            guest.driver.kick(1);
            let (used, ..) = guest.driver.used(1).expect("given back");
            assert_eq!(used, head);
        }
    }
    // No room for an answer, no header, nothing at all, an unknown node and a handle that is none.
    let upper = guest.look_up(ROOT, "upper").expect("there").node;
    let request = guest.head(1, upper, &text("file"));
    assert_eq!(guest.driver.request(1, &[Part::Out(&request)]).0, 0);
    assert_eq!(
        guest
            .driver
            .request(1, &[Part::Out(&request), Part::In(15)])
            .0,
        0
    );
    assert_eq!(
        guest
            .driver
            .request(1, &[Part::Out(&request), Part::In(16)])
            .0,
        16
    );
    assert_eq!(
        guest
            .driver
            .request(1, &[Part::Out(&request[..39]), Part::In(99)])
            .0,
        0
    );
    assert_eq!(guest.driver.request(1, &[Part::In(99)]).0, 0);
    assert_eq!(guest.look_up(12345, "file").err(), Some(Errno::NOENT));
    assert_eq!(guest.read(handle + 100, 0, 10), Err(Errno::BADF));
    let _ = guest.look_up(upper, "file");
    let file = guest.look_up(upper, "file").expect("still there");
    let handle = guest.open(file.node, libc::O_RDWR).expect("opened");
    assert_eq!(guest.read(handle, u64::MAX, 10), Err(Errno::OVERFLOW));
    assert_eq!(guest.write(handle, u64::MAX, b"x", 0), Err(Errno::OVERFLOW));
    // More is said to be written than comes along.
    let arguments = Answer::default()
        .u64(handle)
        .u64(0)
        .u32(100)
        .u32(0)
        .u64(0)
        .u64(0);
    assert_eq!(
        guest.ask(16, ROOT, arguments.bytes(b"few"), 8),
        Err(Errno::INVAL)
    );
}

#[test]
fn a_tag_has_its_limits() {
    let config = Guest::new().driver.config::<40>(0);
    assert_eq!(&config[..6], b"gamut\0");
    assert_eq!(config[36..], 1_u32.to_le_bytes());
    for tag in [String::new(), "t".repeat(37), "a\0b".into()] {
        let export = Export {
            tag,
            root: open(Path::new("/")),
            descriptors: open(Path::new("/proc/self/fd")),
            private: c"upper".into(),
        };
        assert_eq!(Fs::new(export).err(), Some(Errno::INVAL));
    }
}
