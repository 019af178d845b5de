//! A directory tree of the host for the guest: virtio-fs (VIRTIO 1.2, 5.11), which is FUSE in a queue.
//!
//! The process that serves it sees nothing but the tree (it has been jailed into it), and here nothing is
//! ever reached by more than one name below a descriptor: no path, no `..`, no link is followed. What the
//! guest may do to a file is the guest's kernel's to decide, as on a disk; what the host forbids it forbids
//! by its mounts (read-only, no devices).
//!
//! **The tree.** One directory of the root is *private*: nobody else changes what is in it while the machine
//! runs, so the guest keeps what it knows; an overlay's upper and work directory ([`Overlays`][attributes]).
//! Everything else is *shared* with the host: the guest asks again each time, and drops what it has cached of
//! a file whose size or time of change is another, so that a change on the host is seen at once. Each mount
//! is announced, and is a mount of its own in the guest.
//!
//! **Why not virtiofsd.** Its library (1.14) wants libcap-ng, a C library, at link time, one version of
//! vm-memory beside ours, and some eighty crates, among them an argument parser, a regex engine and a
//! thread pool; it ends the process at a request it cannot parse; and it has one cache policy for the whole
//! tree.
//!
//! **What is not there.** DAX; locks that reach the host (the guest's processes see each other's);
//! notifications of changes. A node costs the server a descriptor for as long as the guest remembers it: at
//! the limit, lookups fail with `ENFILE`.
//!
//! [`protocol`] is the wire, [`node`] what the guest knows of, [`tree`] the requests, with [`names`],
//! [`files`] and [`attributes`].

mod attributes;
mod files;
mod names;
mod node;
mod protocol;
mod tree;

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::chain::{Buffers, Chain};
use crate::device::{ActivateError, Activation, Counter, Device, Event, Kind, Source, read_bytes};
use crate::memory::{Memory, TransferError};
use crate::queue::{Queue, Served};
use protocol::{
    ARGUMENTS_BYTES_MAX, Answer, Fields, Header, IN_HEADER_BYTES, MAJOR, MINOR, MINOR_MIN,
    OUT_HEADER_BYTES, Opcode, WRITE_IN_BYTES, WRITE_KILL_SUIDGID, init, out_header,
};
use tree::Tree;

/// The longest mount tag, in bytes; 5.11.4.
pub const TAG_BYTES_MAX: usize = 36;
/// The most that one request reads or writes.
const TRANSFER_BYTES_MAX: u32 = 1 << 20;
const PAGE_BYTES: u32 = 4096;
/// Of the high-priority queue, in which the guest forgets, and the one request queue; QEMU knows one size for
/// both.
const QUEUE_SIZES: [u16; 2] = [1024, 1024];

/// What is served.
#[derive(Debug)]
pub struct Export {
    /// By which the guest mounts it, at most [`TAG_BYTES_MAX`] bytes, none of them 0.
    pub tag: String,
    /// The root of the tree.
    pub root: OwnedFd,
    /// `/proc/self/fd` of the serving process.
    pub descriptors: OwnedFd,
    /// The name in the root of what nobody else changes.
    pub private: CString,
}

/// The device.
#[derive(Debug)]
pub struct Fs {
    config: [u8; TAG_BYTES_MAX + 4],
    tree: Tree,
    queues: [Option<Queue>; 2],
    requests: u64,
    errors: u64,
    read_bytes: u64,
    written_bytes: u64,
    broken_chains: u64,
}

impl Fs {
    /// # Errors
    /// `EINVAL`: no such tag can be; of statx(2) of the root.
    pub fn new(export: Export) -> Result<Self, Errno> {
        let tag = export.tag.as_bytes();
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.contains(&0) {
            return Err(Errno::INVAL);
        }
        let mut config = [0; TAG_BYTES_MAX + 4];
        config[..tag.len()].copy_from_slice(tag);
        // One request queue.
        config[TAG_BYTES_MAX] = 1;
        Ok(Self {
            config,
            tree: Tree::new(export.root, export.descriptors, export.private)?,
            queues: [None, None],
            requests: 0,
            errors: 0,
            read_bytes: 0,
            written_bytes: 0,
            broken_chains: 0,
        })
    }

    fn drain(&mut self, index: usize) {
        let Some(mut queue) = self.queues.get_mut(index).and_then(Option::take) else {
            return;
        };
        queue.drain(|memory, chain| Served::Used(self.serve(memory, chain)));
        self.broken_chains += queue.take_broken_chains();
        self.queues[index] = Some(queue);
    }

    /// Answers one request; how many bytes of an answer there are.
    fn serve(&mut self, memory: &Memory, mut chain: Chain) -> u32 {
        self.requests += 1;
        let header = chain.readable.read_array::<IN_HEADER_BYTES>(memory);
        let Some(header) = header.ok().and_then(|bytes| Header::parse(&bytes).ok()) else {
            self.errors += 1;
            return 0;
        };
        let room = chain.writable.clone();
        let done = self.carry_out(&header, memory, chain);
        let answered = match done {
            Ok(Done::Silently) => return 0,
            Ok(Done::Filled(bytes)) => Ok((bytes, Answer::default())),
            Ok(Done::Answered(answer)) => Ok((answer.0.len() as u64, answer)),
            Err(error) => Err(error),
        };
        self.put(&header, memory, room, answered)
    }

    /// Writes an answer; a guest that left no room for it gets none.
    fn put(
        &mut self,
        header: &Header,
        memory: &Memory,
        mut room: Buffers,
        answered: Result<(u64, Answer), Errno>,
    ) -> u32 {
        let fits = |bytes: u64| room.len() >= OUT_HEADER_BYTES + bytes;
        let (bytes, answer, error) = match answered {
            Ok((bytes, answer)) if fits(bytes) => (bytes, answer, None),
            Ok(_) => (0, Answer::default(), Some(Errno::RANGE)),
            Err(error) => (0, Answer::default(), Some(error)),
        };
        if error.is_some() {
            self.errors += 1;
        }
        let head = out_header(header.unique, bytes, error);
        let written = room
            .write(memory, &head)
            .and_then(|()| room.write(memory, &answer.0));
        match written {
            // At most a transfer's worth.
            Ok(()) => (OUT_HEADER_BYTES + bytes) as u32,
            Err(_) => {
                self.errors += 1;
                0
            }
        }
    }

    fn carry_out(
        &mut self,
        header: &Header,
        memory: &Memory,
        mut chain: Chain,
    ) -> Result<Done, Errno> {
        let Some(opcode) = Opcode::from_number(header.opcode) else {
            return Err(Errno::NOSYS);
        };
        if opcode == Opcode::Write {
            return self.write(memory, chain);
        }
        if chain.readable.len() > ARGUMENTS_BYTES_MAX {
            return Err(Errno::TOOBIG);
        }
        let mut bytes = vec![0; chain.readable.len() as usize];
        let read = chain.readable.read(memory, &mut bytes);
        read.map_err(|_| Errno::INVAL)?;
        let arguments = Fields(&bytes);
        match opcode {
            Opcode::Init => self.init(arguments).map(Done::Answered),
            Opcode::Read => self.read(memory, chain.writable, arguments),
            Opcode::Forget | Opcode::BatchForget => {
                // Nobody waits to hear what was wrong with it.
                let _ = self.tree.forget(opcode, header, arguments);
                Ok(Done::Silently)
            }
            // Requests do not take long enough.
            Opcode::Interrupt => Ok(Done::Silently),
            Opcode::Destroy => {
                self.tree.forget_all();
                Ok(Done::Answered(Answer::default()))
            }
            _ => {
                let room_bytes = chain.writable.len().saturating_sub(OUT_HEADER_BYTES);
                let room_bytes = usize::try_from(room_bytes).unwrap_or(usize::MAX);
                let answer = self.tree.answer(opcode, header, arguments, room_bytes);
                answer.map(Done::Answered)
            }
        }
    }

    /// `struct fuse_init_in` to `fuse_init_out`.
    fn init(&mut self, mut arguments: Fields<'_>) -> Result<Answer, Errno> {
        const WANTED: u32 = init::ASYNC_READ
            | init::BIG_WRITES
            | init::DONT_MASK
            | init::AUTO_INVAL_DATA
            | init::ASYNC_DIO
            | init::PARALLEL_DIROPS
            | init::POSIX_ACL
            | init::MAX_PAGES
            | init::CACHE_SYMLINKS
            | init::SUBMOUNTS
            | init::HANDLE_KILLPRIV_V2;
        const BACKGROUND_MAX: u16 = 64;
        const CONGESTED: u16 = 48;
        const TIME_GRANULARITY_NS: u32 = 1;
        let (major, minor) = (arguments.u32()?, arguments.u32()?);
        if major < MAJOR || major == MAJOR && minor < MINOR_MIN {
            return Err(Errno::PROTO);
        }
        self.tree.forget_all();
        // A guest that is newer asks again.
        let (readahead, flags) = match major {
            MAJOR => (arguments.u32()?, arguments.u32()?),
            _ => (0, 0),
        };
        let answer = Answer::default()
            .u32(MAJOR)
            .u32(MINOR)
            .u32(readahead)
            .u32(flags & WANTED)
            .u16(BACKGROUND_MAX)
            .u16(CONGESTED)
            .u32(TRANSFER_BYTES_MAX)
            .u32(TIME_GRANULARITY_NS)
            .u16((TRANSFER_BYTES_MAX / PAGE_BYTES) as u16);
        let mut answer = answer;
        answer.0.resize(64, 0);
        Ok(answer)
    }

    /// `struct fuse_read_in`; the data go from the file into the guest's memory.
    fn read(
        &mut self,
        memory: &Memory,
        mut room: Buffers,
        mut arguments: Fields<'_>,
    ) -> Result<Done, Errno> {
        let (handle, offset, size) = (arguments.u64()?, arguments.u64()?, arguments.u32()?);
        let file = self.tree.handle(handle)?;
        room.skip(OUT_HEADER_BYTES);
        let room = room.split_front(size.min(TRANSFER_BYTES_MAX).into());
        let (bytes, ended) = memory.read_file_at_most(file, offset, room);
        some(bytes, ended)?;
        self.read_bytes += bytes;
        Ok(Done::Filled(bytes))
    }

    /// `struct fuse_write_in`; the data go from the guest's memory into the file.
    fn write(&mut self, memory: &Memory, mut chain: Chain) -> Result<Done, Errno> {
        let arguments = chain.readable.read_array::<WRITE_IN_BYTES>(memory);
        let arguments = arguments.map_err(|_| Errno::INVAL)?;
        let mut arguments = Fields(&arguments);
        let (handle, offset) = (arguments.u64()?, arguments.u64()?);
        let (size, flags) = (arguments.u32()?, arguments.u32()?);
        let size = u64::from(size);
        if size > TRANSFER_BYTES_MAX.into() || size > chain.readable.len() {
            return Err(Errno::INVAL);
        }
        let data = chain.readable.split_front(size);
        let file = self.tree.handle(handle)?;
        let (bytes, ended) = memory.write_file_at_most(file, offset, data);
        some(bytes, ended)?;
        if flags & WRITE_KILL_SUIDGID != 0 {
            files::kill_set_ids(file)?;
        }
        self.written_bytes += bytes;
        // At most `size`.
        Ok(Done::Answered(Answer::default().u32(bytes as u32).u32(0)))
    }
}

/// How a request was answered.
enum Done {
    Answered(Answer),
    /// So many bytes are behind the header already.
    Filled(u64),
    /// It has no answer.
    Silently,
}

/// A transfer that was cut is one of fewer bytes, as of read(2) and write(2).
fn some(bytes: u64, ended: Result<(), TransferError>) -> Result<(), Errno> {
    match ended {
        Err(error) if bytes == 0 => Err(match error {
            TransferError::Host(errno) => errno,
            TransferError::Buffers | TransferError::End => Errno::IO,
        }),
        _ => Ok(()),
    }
}

impl Device for Fs {
    fn kind(&self) -> Kind {
        Kind::Fs
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u32, data: &mut [u8]) {
        read_bytes(&self.config, offset, data);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.queues = [Some(activation.queue(0)?), Some(activation.queue(1)?)];
        self.drain(0);
        self.drain(1);
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        Vec::new()
    }

    fn handle(&mut self, event: Event) {
        if let Event::Queue(index) = event {
            self.drain(index.into());
        }
    }

    fn reset(&mut self) {
        self.queues = [None, None];
        self.tree.forget_all();
    }

    fn counters(&self) -> Vec<Counter> {
        vec![
            ("requests", self.requests),
            ("errors", self.errors),
            ("read_bytes", self.read_bytes),
            ("written_bytes", self.written_bytes),
            ("nodes", self.tree.nodes.count()),
            ("open_files", self.tree.open_count()),
            ("broken_chains", self.broken_chains),
        ]
    }
}

#[cfg(test)]
mod tests;
