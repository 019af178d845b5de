//! What happens to containers, images, volumes, networks and pods: one log below the root, a line of JSON each,
//! in Docker's form (docs.docker.com/reference/api/engine, "Monitor events"). Whoever makes a change appends
//! its line, in one write, when the change is done; so a reader of the file misses nothing, whichever process
//! it was. A log that has grown too long becomes the one before, and a new one begins.

mod reader;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::create::Created;
use crate::dirs::{Container, Dirs};
use crate::engine::Engine;
use crate::record;

pub use reader::Reader;

/// The directory below the root, and the files in it.
pub(crate) const DIRECTORY: &str = "events";
const LOG: &str = "log";
const BEFORE: &str = "log.1";
/// From here on a new log begins.
const MAX_BYTES: u64 = 8 << 20;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "Type")]
    pub kind: Kind,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    pub scope: String,
    /// Seconds since the epoch.
    pub time: u64,
    /// Nanoseconds since the epoch.
    #[serde(rename = "timeNano")]
    pub time_ns: u64,
}

/// To whom it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// What it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Container,
    Image,
    Volume,
    Network,
    Pod,
}

impl Kind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Pod => "pod",
        }
    }
}

impl Event {
    /// It happens now.
    #[must_use]
    pub fn now(kind: Kind, action: &str, id: &str, attributes: BTreeMap<String, String>) -> Self {
        let time_ns = record::now_ns();
        Self {
            kind,
            action: action.to_owned(),
            actor: Actor {
                id: id.to_owned(),
                attributes,
            },
            scope: "local".to_owned(),
            time: time_ns / 1_000_000_000,
            time_ns,
        }
    }
}

/// Attributes of these names and values.
pub(crate) fn attributes<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Appends an event to the log below `root`. What cannot be told is not worth failing for: the change is
/// made.
pub(crate) fn append(root: &Path, event: &Event) {
    let _ = try_append(&root.join(DIRECTORY), event);
}

/// The same of a container.
pub(crate) fn append_of(dirs: &Container, event: &Event) {
    if let Some((root, _)) = dirs.roots() {
        append(root, event);
    }
}

fn try_append(directory: &Path, event: &Event) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let path = directory.join(LOG);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut log = match options.open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory)?;
            options.open(&path)?
        }
        other => other?,
    };
    log.write_all(&line)?;
    let metadata = log.metadata()?;
    match metadata.len() > MAX_BYTES {
        true => begin_anew(directory, &log, metadata.ino()),
        false => Ok(()),
    }
}

/// Once, however many notice: who holds the lock of the file that has the name.
fn begin_anew(directory: &Path, log: &File, inode: u64) -> std::io::Result<()> {
    if rustix::fs::flock(log, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let path = directory.join(LOG);
    if std::fs::metadata(&path)?.ino() == inode {
        std::fs::rename(&path, directory.join(BEFORE))?;
    }
    Ok(())
}

impl Engine {
    /// Says that something happened.
    pub(crate) fn tell(&self, event: &Event) {
        append(&self.dirs.root, event);
    }

    /// Says what happened to a container, with its name, image and labels.
    pub fn tell_of_container<const N: usize>(
        &self,
        row: &gamut_store::db::Container,
        action: &str,
        more: [(&str, &str); N],
    ) {
        let mut all = row.labels.clone();
        all.extend(attributes([("name", &row.name), ("image", &row.image_ref)]));
        all.extend(attributes(more));
        self.tell(&Event::now(Kind::Container, action, &row.id, all));
    }

    /// Says what happened to a pod, with its name and labels.
    pub fn tell_of_pod(&self, row: &gamut_store::db::Pod, action: &str) {
        let mut all = row.labels.clone();
        all.extend(attributes([("name", &*row.name)]));
        self.tell(&Event::now(Kind::Pod, action, &row.id, all));
    }

    /// Says that a container was made.
    pub(crate) fn tell_of_made(
        &self,
        created: &Created,
        image: &str,
        labels: BTreeMap<String, String>,
    ) {
        let mut all = labels;
        all.extend(attributes([("name", &*created.name), ("image", image)]));
        self.tell(&Event::now(Kind::Container, "create", &created.id, all));
    }

    /// A reader of all that has happened and will.
    ///
    /// # Errors
    /// What the disk says.
    pub fn events(&self) -> std::io::Result<Reader> {
        Reader::open(&directory(&self.dirs))
    }
}

fn directory(dirs: &Dirs) -> PathBuf {
    dirs.root.join(DIRECTORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Event {
        let number = number.to_string();
        Event::now(
            Kind::Image,
            "tag",
            &number,
            attributes([("name", &"x".repeat(1000))]),
        )
    }

    #[test]
    fn a_reader_misses_nothing_while_logs_change() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(DIRECTORY);
        let mut reader = Reader::open(&directory).unwrap();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let root = root.path().to_owned();
                std::thread::spawn(move || {
                    for number in 0..5_000 {
                        append(&root, &numbered(writer * 5_000 + number));
                    }
                })
            })
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        loop {
            for event in reader.read().unwrap() {
                assert!(seen.insert(event.actor.id), "twice");
            }
            if seen.len() == 20_000 {
                break;
            }
            reader
                .wait(Some(std::time::Duration::from_secs(20)))
                .unwrap();
        }
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        assert!(directory.join(BEFORE).exists());
    }

    #[test]
    fn the_form_is_dockers() {
        let event = Event::now(
            Kind::Container,
            "die",
            "id",
            attributes([("exitCode", "3")]),
        );
        let value: serde_json::Value = serde_json::to_value(&event).unwrap();
        assert_eq!(value["Type"], "container");
        assert_eq!(value["Actor"]["Attributes"]["exitCode"], "3");
        assert_eq!(value["timeNano"], event.time_ns);
    }
}
