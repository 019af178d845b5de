//! The devices: how each is made for a script, what its host does, and what must be true in the end.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};

use gamut_virtio::balloon::{Balloon, OutOfMemory, Reporting, Rubber, Statistics};
use gamut_virtio::block::{Access, Block, Cache, Disk};
use gamut_virtio::console::{Console, Size, Streams};
use gamut_virtio::entropy::Entropy;
use gamut_virtio::fs::{Export, Fs};
use gamut_virtio::pmem::{Pmem, Stores};
use gamut_virtio::rate::{Limit, Limiter};
use gamut_virtio::vsock::{HOST_CID, UnixSockets, Vsock};
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};

use super::script::{Script, WRITE};
use super::{HIGH, LOW, play};

pub(super) const ALL: u64 = u64::MAX;
pub(super) const NONE: u64 = 0;
const DISK_BYTES: u64 = 64 << 10;
const GUEST_CID: u64 = 3;

pub(super) fn unlimited() -> Limiter {
    Limiter::unlimited().expect("a timer")
}

fn file(byte: u8) -> File {
    let file = rustix::fs::memfd_create(c"disk", MemfdFlags::CLOEXEC).expect("a file");
    let file = File::from(file);
    file.write_all_at(&vec![byte; DISK_BYTES as usize], 0)
        .expect("filled");
    file
}

/// Two numbers of a limit's.
pub(super) fn limit(bytes: &[u8]) -> Limit {
    let number = |at: usize| u64::from(bytes.get(at).copied().unwrap_or_default());
    Limit {
        size: number(0) << (number(1) % 64),
        one_time_burst: number(2),
        refill_time_ms: number(3),
    }
}

/// A disk, whose first byte decides what one. It never grows, and never changes if it is read-only.
pub(in super::super) fn block(bytes: &[u8]) {
    let (&first, script) = bytes.split_first().unwrap_or((&0, &[]));
    let file = file(7);
    let is_read_only = first & 1 != 0;
    let disk = Disk {
        image: file.try_clone().expect("a descriptor").into(),
        access: if is_read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        },
        cache: if first & 2 != 0 {
            Cache::Unsafe
        } else {
            Cache::Writeback
        },
        id: "fuzz".to_owned(),
        queues: u16::from(first >> 2) % 4,
        limiter: unlimited(),
    };
    let block = Block::new(disk).expect("a size");
    play(block, script, &mut |mmio, number, bytes| {
        let block = mmio.device_mut();
        if number % 2 == 0 {
            block
                .limiter_mut()
                .update(limit(bytes), limit(bytes.get(4..).unwrap_or_default()));
        } else {
            block
                .replace(file.try_clone().expect("a descriptor"))
                .expect("a size");
        }
    });
    assert_eq!(file.metadata().expect("metadata").len(), DISK_BYTES);
    if is_read_only {
        let mut content = vec![0; DISK_BYTES as usize];
        file.read_exact_at(&mut content, 0).expect("read");
        assert!(content.iter().all(|&byte| byte == 7));
    }
}

pub(in super::super) fn block_seeds() -> Vec<Vec<u8>> {
    let header = |kind: u32, sector: u64| {
        let mut header = u64::from(kind).to_le_bytes().to_vec();
        header.extend(sector.to_le_bytes());
        header
    };
    let range = [
        &3_u64.to_le_bytes()[..],
        &5_u32.to_le_bytes(),
        &1_u32.to_le_bytes(),
    ]
    .concat();
    let data = [9; 512];
    let script = |features| {
        Script::default()
            .start(features)
            .request(0, &[&header(0, 1)], &[512, 512, 1])
            .request(0, &[&header(1, 2), &data], &[1])
            .request(0, &[&header(4, 0)], &[1])
            .request(0, &[&header(8, 0)], &[20, 1])
            .request(0, &[&header(13, 0), &range], &[1])
            .request(0, &[&header(11, 0), &range[..12], &[0; 4]], &[1])
            .act(0, &[1, 9, 0, 1, 2, 0, 0, 1])
            .request(0, &[&header(0, 127)], &[512, 1])
            .act(1, &[])
            .indirect(
                0,
                &[
                    (HIGH, 16, 0),
                    (HIGH + 0x8000, 1024, WRITE),
                    (HIGH + 0x9000, 1, WRITE),
                ],
            )
            .read(0x100, 8)
            .write(0x070, 0)
            .start(features)
            .request(0, &[&header(0, 0)], &[512, 1])
            .seed()
    };
    [(0, ALL), (1, ALL), (2, NONE), (8, ALL)]
        .map(|(first, features)| [vec![first], script(features)].concat())
        .into()
}

/// A small file system in memory, attached nowhere: whatever is asked for, no more than that is written.
fn small_tree() -> rustix::io::Result<OwnedFd> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (option, value) in [(c"size", c"256k"), (c"nr_inodes", c"64")] {
        rustix::mount::fsconfig_set_string(&fs, option, value)?;
    }
    rustix::mount::fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::fs::mkdirat(&root, "upper", rustix::fs::Mode::RWXU)?;
    rustix::fs::symlinkat("/", &root, "link")?;
    Ok(root)
}

pub(in super::super) fn fs(bytes: &[u8]) {
    // Mounts are made by root.
    let Ok(root) = small_tree() else {
        return;
    };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let descriptors = rustix::fs::open("/proc/self/fd", flags, rustix::fs::Mode::empty());
    let export = Export {
        tag: "tree".into(),
        root,
        descriptors: descriptors.expect("a directory"),
        private: c"upper".into(),
    };
    play(Fs::new(export).expect("served"), bytes, &mut |_, _, _| {});
}

pub(in super::super) fn fs_seeds() -> Vec<Vec<u8>> {
    let request = |opcode: u32, node: u64, arguments: &[u8]| {
        let length = 40 + arguments.len() as u32;
        let mut bytes = [length.to_le_bytes(), opcode.to_le_bytes()].concat();
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(node.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(arguments);
        bytes
    };
    let numbers = |numbers: &[u32]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    };
    let init = request(26, 0, &numbers(&[7, 38, 1 << 17, u32::MAX]));
    let create = [numbers(&[0o102, 0o644, 0, 0]), b"file\0".to_vec()].concat();
    let write = [numbers(&[1, 0, 0, 0, 4, 0, 0, 0, 0, 0]), b"data".to_vec()].concat();
    let script = Script::default()
        .start(ALL)
        .request(1, &[&init], &[16, 64])
        .request(1, &[&request(1, 1, b"upper\0")], &[16, 128])
        .request(1, &[&request(35, 2, &create)], &[16, 144])
        .request(1, &[&request(16, 3, &write)], &[16, 8])
        .request(
            1,
            &[&request(15, 3, &numbers(&[1, 0, 0, 0, 100, 0, 0, 0, 0, 0]))],
            &[16, 100],
        )
        .request(
            1,
            &[&request(
                22,
                3,
                &[&numbers(&[100, 0])[..], b"user.a\0"].concat(),
            )],
            &[116],
        )
        .request(1, &[&request(27, 2, &[0; 8])], &[32])
        .request(
            1,
            &[&request(28, 2, &numbers(&[2, 0, 0, 0, 400, 0, 0, 0, 0, 0]))],
            &[416],
        )
        .request(
            1,
            &[&request(12, 2, b"\x01\0\0\0\0\0\0\0file\0moved\0")],
            &[16],
        )
        .request(1, &[&request(1, 1, b"..\0")], &[144])
        .request(0, &[&request(2, 3, &[1, 0, 0, 0, 0, 0, 0, 0])], &[])
        .seed();
    vec![script]
}

pub(in super::super) fn entropy(bytes: &[u8]) {
    play(Entropy::new(unlimited()), bytes, &mut |mmio, _, bytes| {
        let operations = limit(bytes.get(4..).unwrap_or_default());
        mmio.device_mut()
            .limiter_mut()
            .update(limit(bytes), operations);
    });
}

/// Among them what goes wrong with chains and registers whatever the device.
pub(in super::super) fn entropy_seeds() -> Vec<Vec<u8>> {
    let good = Script::default()
        .start(ALL)
        .request(0, &[], &[64, 8])
        .act(0, &[1, 4, 3, 1, 0, 0, 0, 0])
        .request(0, &[], &[100])
        .indirect(0, &[(HIGH, 16, WRITE), (LOW + 0x3_0000, 4096, WRITE)])
        .seed();
    let odd = Script::default()
        .start(NONE)
        .describe(0, HIGH, 8, WRITE | 1)
        .describe(0, HIGH, 0, WRITE)
        .offer(0, 0)
        .describe(0, 0, 8, WRITE)
        .offer(0, 2)
        .describe(0, HIGH + super::SIZE - 4, 8, WRITE)
        .offer(0, 3)
        .offer(0, 16)
        .start(ALL)
        .indirect(0, &[(HIGH, 16, WRITE | 4)])
        .describe(0, LOW, u32::MAX, WRITE)
        .offer(0, 1)
        .seed();
    let registers = Script::default()
        .write(0x070, 1)
        .write(0x070, 3)
        .write(0x024, 1)
        .write(0x020, 1)
        .write(0x070, 11)
        .write(0x030, 0)
        .write(0x038, 8)
        .write(0x080, LOW as u32)
        .write(0x090, LOW as u32 + 0x1000)
        .write(0x0a0, HIGH as u32)
        .write(0x044, 1)
        .read(0x044, 4)
        .write(0x070, 15)
        .request(0, &[], &[8])
        .write(0x064, 1)
        .write(0x070, 0x80 | 15)
        .read(0x070, 4)
        .write(0x070, 0)
        .seed();
    vec![good, odd, registers]
}

pub(in super::super) fn console(bytes: &[u8]) {
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let (input, keyboard) = pipe_with(flags).expect("a pipe");
    let (screen, output) = pipe_with(flags).expect("a pipe");
    let streams = Streams {
        input: Some(input),
        output,
    };
    let console = Console::new(streams, Size::default());
    let (mut keyboard, mut screen) = (Some(keyboard), Some(screen));
    play(
        console,
        bytes,
        &mut |mmio, number, bytes| match number % 5 {
            0 => drop(
                keyboard
                    .as_ref()
                    .map(|keyboard| rustix::io::write(keyboard, bytes)),
            ),
            1 => drop(
                screen
                    .as_ref()
                    .map(|screen| rustix::io::read(screen, &mut [0; 4096])),
            ),
            2 => mmio.device_mut().resize(Size {
                columns: bytes.len() as u16,
                rows: 1,
            }),
            3 => keyboard = None,
            _ => screen = None,
        },
    );
}

pub(in super::super) fn console_seeds() -> Vec<Vec<u8>> {
    let script = |features| {
        Script::default()
            .start(features)
            .request(0, &[], &[4, 8])
            .act(0, b"hello, world")
            .request(0, &[], &[64])
            .request(1, &[b"hello", b"host"], &[])
            .act(1, &[])
            .act(2, &[0; 80])
            .read(0x100, 4)
            .indirect(1, &[(HIGH, 60_000, 0), (LOW, 60_000, 0)])
            .act(1, &[])
            .act(3, &[])
            .request(0, &[], &[64])
            .act(4, &[])
            .request(1, &[b"nobody"], &[])
            .seed()
    };
    vec![script(ALL), script(NONE)]
}

/// A balloon, whose first byte decides what one.
pub(in super::super) fn balloon(bytes: &[u8]) {
    let (&first, script) = bytes.split_first().unwrap_or((&0, &[]));
    let balloon = Balloon::new(Rubber {
        target_pages: 10,
        out_of_memory: if first & 1 != 0 {
            OutOfMemory::Keep
        } else {
            OutOfMemory::Deflate
        },
        reporting: if first & 2 != 0 {
            Reporting::Nothing
        } else {
            Reporting::Free
        },
        statistics: if first & 4 != 0 {
            Statistics::Unwanted
        } else {
            Statistics::Wanted
        },
    });
    play(
        balloon,
        script,
        &mut |mmio, number, bytes| match number % 2 {
            0 => mmio.device_mut().set_target(bytes.len() as u32),
            _ => mmio.device_mut().ask(),
        },
    );
}

pub(in super::super) fn balloon_seeds() -> Vec<Vec<u8>> {
    let pages = [HIGH + 0x2_0000, HIGH + 0x2_1000, LOW + 0x3_f000, 1 << 40];
    let pages = pages
        .map(|address| ((address >> 12) as u32).to_le_bytes())
        .concat();
    let statistic = [&4_u16.to_le_bytes()[..], &77_u64.to_le_bytes()]
        .concat()
        .repeat(3);
    let script = |report| {
        Script::default()
            .start(ALL)
            .request(0, &[&pages], &[])
            .write(0x104, 3)
            .request(1, &[&pages], &[])
            .request(2, &[&statistic], &[])
            .act(1, &[])
            .request(2, &[&statistic], &[])
            .request(2, &[&statistic], &[])
            .request(report, &[], &[8192, 100])
            .act(0, &[0; 20])
            .read(0x100, 16)
            .seed()
    };
    [(0, 3), (4, 2), (7, 3)]
        .map(|(first, report)| [vec![first], script(report)].concat())
        .into()
}

/// Sockets, to and from the host.
pub(in super::super) fn vsock(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v");
    let listener = UnixListener::bind(&path).expect("bound");
    let peer = UnixSockets::new(path.clone(), listener);
    let device = Vsock::new(GUEST_CID, Box::new(peer)).expect("a device");
    let there = UnixListener::bind(directory.path().join("v_80")).expect("bound");
    there.set_nonblocking(true).expect("set");
    let mut streams: Vec<UnixStream> = Vec::new();
    play(device, bytes, &mut |_, number, bytes| {
        let chosen = usize::from(number / 8) % streams.len().max(1);
        match number % 8 {
            0 | 1 => {
                // The listener's backlog may be full.
                if let Ok(mut stream) = dial(&path) {
                    let _ = stream.write_all(bytes);
                    streams.push(stream);
                }
            }
            2 => streams.extend(there.accept().map(|(stream, _)| {
                stream.set_nonblocking(true).expect("set");
                stream
            })),
            3 if !streams.is_empty() => drop(streams.swap_remove(chosen)),
            4 => {
                if let Some(stream) = streams.get(chosen) {
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                }
            }
            5 => drop(
                streams
                    .get(chosen)
                    .map(|mut stream| stream.read(&mut [0; 4096])),
            ),
            _ => drop(streams.get(chosen).map(|mut stream| stream.write(bytes))),
        }
    });
}

fn dial(path: &std::path::Path) -> rustix::io::Result<UnixStream> {
    let address = rustix::net::SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

pub(in super::super) fn vsock_seeds() -> Vec<Vec<u8>> {
    let packet = |operation: u16, ports: [u32; 2], length: u32, flags: u32| {
        let mut packet = GUEST_CID.to_le_bytes().to_vec();
        packet.extend(HOST_CID.to_le_bytes());
        packet.extend(ports.map(u32::to_le_bytes).concat());
        packet.extend(length.to_le_bytes());
        packet.extend([1, 0]);
        packet.extend(operation.to_le_bytes());
        packet.extend(flags.to_le_bytes());
        packet.extend(4096_u32.to_le_bytes());
        packet.extend([0; 4]);
        packet
    };
    let out = [1000, 80];
    let from_guest = Script::default()
        .start(ALL)
        .request(0, &[], &[4096])
        .request(0, &[], &[44, 4096])
        .request(1, &[&packet(1, out, 0, 0)], &[])
        .act(2, &[])
        .request(1, &[&packet(5, out, 5, 0), b"hello"], &[])
        .act(6, b"an answer")
        .act(5, &[])
        .request(1, &[&packet(7, out, 0, 0)], &[])
        .request(1, &[&packet(6, out, 0, 0)], &[])
        .request(0, &[], &[100])
        .request(1, &[&packet(4, out, 0, 2)], &[])
        .act(4, &[])
        .request(1, &[&packet(4, out, 0, 3)], &[])
        .request(0, &[], &[100])
        .seed();
    let back = [22, 1 << 30];
    let from_host = Script::default()
        .start(NONE)
        .request(0, &[], &[4096])
        .act(0, b"CONNECT 22\nearly")
        .request(0, &[], &[4096])
        .request(1, &[&packet(2, back, 0, 0)], &[])
        .act(5, &[])
        .request(1, &[&packet(5, back, 3, 0), b"hey"], &[])
        .act(3, &[])
        .request(0, &[], &[4096])
        .request(1, &[&packet(3, back, 0, 0)], &[])
        .request(1, &[&packet(9, out, 0, 0)], &[])
        .act(0, b"CONNECT x\n")
        .act(0, b"CONN")
        .seed();
    vec![from_guest, from_host]
}

pub(in super::super) fn pmem(bytes: &[u8]) {
    let pmem = Pmem::new(file(1), Stores::Kept, 1 << 32, DISK_BYTES);
    play(pmem, bytes, &mut |_, _, _| {});
}

pub(in super::super) fn pmem_seeds() -> Vec<Vec<u8>> {
    let script = Script::default()
        .start(ALL)
        .request(0, &[&[0; 4]], &[4])
        .request(0, &[&[1; 4]], &[4])
        .read(0x100, 16)
        .seed();
    vec![script]
}
