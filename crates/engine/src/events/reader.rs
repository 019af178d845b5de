//! Reading the log as it grows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{CreateFlags, WatchFlags};

use super::{Actor, BEFORE, Event, Kind, LOG};

/// A log, as far as it has been read.
#[derive(Debug)]
struct Log {
    file: File,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

/// Reads all events there are, then those that come.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    watch: OwnedFd,
    /// The log before is kept: who had it open when it was replaced may still write to it.
    before: Option<Log>,
    log: Option<Log>,
    /// The labels of containers, which their keepers do not know.
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Reader {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        // Watched first: what comes between then and the reading wakes a wait once too often.
        let watch = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        rustix::fs::inotify::add_watch(&watch, directory, changes)?;
        // The newer first: if the log is replaced in between, the older one is the same file.
        let log = open(&directory.join(LOG))?;
        let mut before = open(&directory.join(BEFORE))?;
        if let (Some(log), Some(older)) = (&log, &before)
            && inode(&log.file)? == inode(&older.file)?
        {
            before = None;
        }
        Ok(Self {
            directory: directory.to_owned(),
            watch,
            before,
            log,
            labels: BTreeMap::new(),
        })
    }

    /// What has been written since the last time, in the order of the writing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            for log in [&mut self.before, &mut self.log].into_iter().flatten() {
                log.read(&mut events)?;
            }
            let newer = open(&self.directory.join(LOG))?;
            let known = self.log.as_ref().map(|log| inode(&log.file)).transpose()?;
            match newer {
                Some(newer) if Some(inode(&newer.file)?) != known => {
                    self.before = self.log.take().or_else(|| self.before.take());
                    self.log = Some(newer);
                }
                _ => break,
            }
        }
        events.iter_mut().for_each(|event| self.label(event));
        Ok(events)
    }

    /// Gives what happened to a container the labels that it was made with.
    fn label(&mut self, event: &mut Event) {
        let Actor { id, attributes } = &mut event.actor;
        match event.action.as_str() {
            _ if event.kind != Kind::Container => {}
            "create" => drop(self.labels.insert(id.clone(), attributes.clone())),
            action => {
                for (name, value) in self.labels.get(id).into_iter().flatten() {
                    let known = attributes.entry(name.clone());
                    known.or_insert_with(|| value.clone());
                }
                if action == "destroy" {
                    self.labels.remove(id);
                }
            }
        }
    }

    /// Waits until something is written; whether it was before `limit` was over.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut polled = [PollFd::new(&self.watch, PollFlags::IN)];
        let ready = rustix::event::poll(&mut polled, limit.as_ref())?;
        let mut told = [0; 4096];
        while rustix::io::read(&self.watch, &mut told).is_ok_and(|bytes| bytes > 0) {}
        Ok(ready > 0)
    }
}

impl Log {
    fn read(&mut self, into: &mut Vec<Event>) -> io::Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        // A line that a full disk has cut is nobody's.
        let lines = whole.split(|byte| *byte == b'\n');
        into.extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Option<Log>> {
    match File::open(path) {
        Ok(file) => Ok(Some(Log {
            file,
            rest: Vec::new(),
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}
