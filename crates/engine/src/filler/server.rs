//! The filler's main thread: it hears who is about to read and who wants to know something, and keeps the
//! list of layers.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gamut_registry::Client;
use gamut_store::layer::Form;
use gamut_store::lazy::Opened;
use gamut_sys::fanotify::{Answer, Group};
use gamut_sys::socket;
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::journal::{self, Journal, Waiting};
use super::log::{self, Log};
use super::serving::{Demand, Outlook, Serving};
use super::wire::{MAX_PACKET_BYTES, Progress, Reply, Request, SOCKET_NAME};
use super::{background, faults, group};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::error::EngineError;

/// The lock of the only filler of a store.
pub(super) const LOCK: &str = "lock";
/// Numbers of descriptors from here on are those of what is open before the journal is.
const EARLY_NUMBERS: i32 = 512;

/// What all threads of the filler have.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dirs: Dirs,
    pub(super) client: Client,
    pub(super) group: Group,
    pub(super) journal: Journal,
    pub(super) demand: Demand,
    pub(super) log: Log,
    layers: Mutex<Vec<Arc<Serving>>>,
    wake: OwnedFd,
    /// Told when layers have gone or may be tried again.
    changed: (Mutex<()>, Condvar),
}

impl Shared {
    /// The layer whose image has this inode.
    pub(super) fn by_inode(&self, inode: u64) -> Option<Arc<Serving>> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.iter().find(|layer| layer.inode == inode).cloned()
    }

    /// Has the main thread look around.
    pub(super) fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Waits, unless the layer goes meanwhile; true: it has.
    pub(super) fn pause(&self, time: Duration, serving: &Serving) -> bool {
        let guard = self
            .changed
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.1.wait_timeout(guard, time));
        serving.is_gone()
    }
}

/// Serves all layers of a store that are not whole, until there are none.
pub(super) fn serve(dirs: Dirs, first: OwnedFd) -> Result<(), EngineError> {
    let directory = dirs.filler();
    let failed = |source| EngineError::HostPath {
        path: directory.display().to_string(),
        source,
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory);
    made.map_err(failed)?;
    let Some(_lock) = lock(&dirs).map_err(failed)? else {
        // Whoever started this one will ask the other.
        return Ok(());
    };
    let (journal, left) = Journal::open(&directory).map_err(failed)?;
    let engine = Engine::open(dirs.clone())?;
    let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let log = Log::open(&directory);
    let opened = open_layers(&engine, &[], &log)?;
    let (group, left) = group_for(&engine, &journal, &opened, left)?;
    let handle = rustix::fs::open(&directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let handle = handle.map_err(|errno| failed(errno.into()))?;
    let listener = socket::listen(handle.as_fd(), SOCKET_NAME);
    let shared = Arc::new(Shared {
        client: Client::new(crate::registry::options()?),
        group,
        journal,
        demand: Demand::default(),
        log,
        layers: Mutex::new(Vec::new()),
        wake: wake.map_err(|errno| failed(errno.into()))?,
        changed: (Mutex::new(()), Condvar::new()),
        dirs,
    });
    let (queue, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..faults::WORKERS {
        let (shared, receiver) = (shared.clone(), receiver.clone());
        std::thread::spawn(move || faults::work(&shared, &receiver));
    }
    let mut filler = Filler {
        engine,
        shared,
        queue,
        listener: listener.map_err(|errno| failed(errno.into()))?,
        clients: vec![first],
        ending: false,
    };
    filler.add(opened)?;
    for waiting in left {
        let _ = filler.queue.send(waiting);
    }
    filler.run()?;
    filler.clear_away(handle.as_fd());
    Ok(())
}

/// `None`: another filler has it.
fn lock(dirs: &Dirs) -> std::io::Result<Option<OwnedFd>> {
    let path = dirs.filler().join(LOCK);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let file = rustix::io::fcntl_dupfd_cloexec(&file, EARLY_NUMBERS)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The layers that are not whole and not among `known`.
fn open_layers(
    engine: &Engine,
    known: &[Arc<Serving>],
    log: &Log,
) -> Result<Vec<Serving>, EngineError> {
    let mut opened = Vec::new();
    let records = engine.store.db().layers()?;
    for record in records.iter().filter(|record| record.form == Form::Lazy) {
        let is_known = |serving: &Arc<Serving>| {
            serving.layer.record().diff_id == record.diff_id && serving.layer.is_there()
        };
        if known.iter().any(is_known) {
            continue;
        }
        match engine.store.layers().open_pending(record)? {
            Opened::Pending(layer) => match Serving::new(*layer) {
                Ok(serving) => opened.push(serving),
                Err(reason) => log.say(&format!("layer {}: {reason}", record.diff_id.short())),
            },
            Opened::Whole(record) => {
                background::record_whole(&mut Engine::open(engine.dirs.clone())?, &record)?;
            }
            Opened::Gone => {}
        }
    }
    Ok(opened)
}

/// The group of the filler before, if anybody holds it, and who waits; else a new one.
fn group_for(
    engine: &Engine,
    journal: &Journal,
    opened: &[Serving],
    left: Vec<Waiting>,
) -> Result<(Group, Vec<Waiting>), EngineError> {
    let inodes: Vec<u64> = opened.iter().map(|serving| serving.inode).collect();
    if let Some(group) = group::find(&inodes) {
        for number in journal::unknown(&left) {
            // It had been asked, and had not come to write it down.
            let _ = group.answer(number, Answer::Fail);
        }
        return Ok((group, left));
    }
    // Nobody held one, so whatever was read through mounts from before may be zeros.
    engine.release_unfilled()?;
    for waiting in left {
        journal.strike(waiting);
    }
    let group = Group::new().map_err(EngineError::NoWatch)?;
    Ok((group, Vec::new()))
}

/// See the module.
struct Filler {
    engine: Engine,
    shared: Arc<Shared>,
    queue: Sender<Waiting>,
    listener: OwnedFd,
    clients: Vec<OwnedFd>,
    /// Nothing is to be begun any more.
    ending: bool,
}

impl Filler {
    /// Watches layers, and begins to fill them.
    fn add(&mut self, opened: Vec<Serving>) -> Result<(), EngineError> {
        for serving in opened {
            let watched = self.shared.group.watch(serving.layer.as_fd());
            watched.map_err(EngineError::NoWatch)?;
            let mut layers = self.layers();
            layers.push(Arc::new(serving));
        }
        self.fill();
        Ok(())
    }

    fn layers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Serving>>> {
        let layers = self.shared.layers.lock();
        layers.unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the next layers filled.
    fn fill(&self) {
        let layers = self.layers();
        let is_filling = |serving: &&Arc<Serving>| serving.is_filling.load(Ordering::Acquire);
        let free = background::LAYERS.saturating_sub(layers.iter().filter(is_filling).count());
        let has_failed = |serving: &Arc<Serving>| {
            let failure = serving.failure();
            failure.is_some_and(|failure| failure.outlook == Outlook::Final)
        };
        let waiting = layers
            .iter()
            .filter(|serving| !is_filling(serving) && !has_failed(serving));
        for serving in waiting.take(free) {
            serving.is_filling.store(true, Ordering::Release);
            let (shared, serving) = (self.shared.clone(), serving.clone());
            std::thread::spawn(move || background::fill(&shared, &serving));
        }
    }

    /// Until all layers are whole or gone.
    fn run(&mut self) -> Result<(), EngineError> {
        loop {
            self.tidy();
            if self.ending {
                return Ok(());
            }
            if self.layers().is_empty() && self.clients.is_empty() {
                // One may have come, and somebody may be about to ask for it.
                self.look()?;
                if self.layers().is_empty() {
                    return Ok(());
                }
            }
            let ready = self.wait()?;
            for index in (0..self.clients.len()).rev() {
                if ready.clients.contains(&index) && !self.hear(index) {
                    self.clients.swap_remove(index);
                }
            }
            if ready.listener
                && let Ok(client) = rustix::net::accept(&self.listener)
            {
                self.clients.push(client);
            }
            if ready.group {
                self.take_accesses();
            }
        }
    }

    /// Forgets layers that are whole or gone, and goes on with others.
    fn tidy(&mut self) {
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        let mut layers = self.layers();
        layers.retain(|serving| {
            if serving.layer.is_there() && !serving.is_gone() {
                return true;
            }
            serving.give_up();
            let _ = self.shared.group.forget(serving.layer.as_fd());
            false
        });
        drop(layers);
        self.shared.changed.1.notify_all();
        self.fill();
    }

    /// Looks for layers that are not known yet.
    fn look(&mut self) -> Result<(), EngineError> {
        let known = self.layers().clone();
        let opened = open_layers(&self.engine, &known, &self.shared.log)?;
        self.add(opened)
    }

    fn wait(&self) -> Result<Ready, EngineError> {
        let mut polled = vec![
            PollFd::new(&self.shared.wake, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        // Readers that cannot be noted wait in the kernel.
        let takes_readers = self.shared.journal.has_room();
        if takes_readers {
            polled.push(PollFd::new(&self.shared.group, PollFlags::IN));
        }
        let before = polled.len();
        let clients = self.clients.iter();
        polled.extend(clients.map(|client| PollFd::new(client, PollFlags::IN)));
        // A layer may be removed without a word.
        let patience = rustix::time::Timespec {
            tv_sec: 2,
            tv_nsec: 0,
        };
        match rustix::event::poll(&mut polled, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(EngineError::NoWatch(errno)),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let clients = polled[before..].iter().enumerate();
        Ok(Ready {
            listener: is_ready(&polled[1]),
            group: takes_readers && is_ready(&polled[2]),
            clients: clients
                .filter(|(_, fd)| is_ready(fd))
                .map(|(index, _)| index)
                .collect(),
        })
    }

    fn take_accesses(&self) {
        let accesses = match self.shared.group.accesses() {
            Ok(accesses) => accesses,
            Err(errno) => {
                return self
                    .shared
                    .log
                    .say(&format!("readers cannot be heard: {errno}"));
            }
        };
        let own = rustix::process::getpid().as_raw_nonzero().get();
        for access in accesses {
            let inode = rustix::fs::fstat(&access.file).map(|stat| stat.st_ino);
            let (Ok(inode), Some(range), false) = (inode, access.range, access.pid == own) else {
                // What this process writes has been verified.
                let _ = self
                    .shared
                    .group
                    .answer(access.file.as_raw_fd(), Answer::Allow);
                continue;
            };
            let waiting = self.shared.journal.note(access.file, inode, range);
            // The workers are there as long as this thread is.
            let _ = self.queue.send(waiting);
        }
    }

    /// Hears a client; false: it has gone.
    fn hear(&mut self, index: usize) -> bool {
        let mut packet = vec![0; MAX_PACKET_BYTES];
        let Some(client) = self.clients.get(index) else {
            return false;
        };
        let length = match socket::receive(client.as_fd(), &mut packet) {
            Ok((0, _)) | Err(_) => return false,
            Ok((length, _)) => length,
        };
        let request = serde_json::from_slice(packet.get(..length).unwrap_or_default());
        let reply = match request {
            Ok(Request::Serve) => {
                for serving in self.layers().iter() {
                    serving.set_failure(None);
                }
                self.shared.changed.1.notify_all();
                self.look().map(|()| Reply::Serving)
            }
            Ok(Request::Look) => {
                self.tidy();
                Ok(Reply::NotServed)
            }
            Ok(Request::End) => {
                self.ending = true;
                self.layers().iter().for_each(|serving| serving.give_up());
                self.tidy();
                Ok(Reply::NotServed)
            }
            Ok(Request::Progress(diff_id)) => Ok(self.progress(&diff_id)),
            Err(error) => Ok(Reply::Refused(error.to_string())),
        };
        self.fill();
        let reply = reply.unwrap_or_else(|error| Reply::Refused(error.to_string()));
        let group = [self.shared.group.as_fd()];
        let descriptors: &[BorrowedFd<'_>] = match reply {
            Reply::Serving => &group,
            _ => &[],
        };
        let text = serde_json::to_vec(&reply).unwrap_or_default();
        let client = self.clients.get(index);
        client.is_some_and(|client| socket::send(client.as_fd(), &[&text], descriptors).is_ok())
    }

    fn progress(&self, diff_id: &gamut_spec::digest::Digest) -> Reply {
        let layers = self.layers();
        let found = layers
            .iter()
            .find(|serving| serving.layer.record().diff_id == *diff_id);
        match found {
            Some(serving) => Reply::Progress(Progress {
                present_bytes: serving.layer.present_bytes(),
                failure: serving.failure().map(|failure| failure.reason),
            }),
            None => Reply::NotServed,
        }
    }

    /// Nothing is left of a filler that had nothing to say.
    fn clear_away(&self, directory: BorrowedFd<'_>) {
        let mut names = vec![SOCKET_NAME, journal::NAME];
        if !self.shared.log.is_used() {
            names.push(log::NAME);
        }
        for name in names {
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}

/// What there is to do.
struct Ready {
    listener: bool,
    group: bool,
    clients: Vec<usize>,
}
