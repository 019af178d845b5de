//! What was said when a volume was made: `volumes/<name>/volume.json`. A directory without it is of a version
//! that wrote none.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::VolumeError;
use crate::record::now_ns;

/// How the name of a volume begins that is going.
pub(super) const TEMPORARY: &str = "tmp-";
const FILE: &str = "volume.json";
/// How often one is made whose directory others take away.
const TRIES: u32 = 10;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) created_ns: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) options: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn new(labels: BTreeMap<String, String>, options: BTreeMap<String, String>) -> Self {
        Record {
            created_ns: now_ns(),
            labels,
            options,
        }
    }
}

/// Records a volume unless it is there; returns what is recorded.
pub(super) fn ensure(directory: &Path, wanted: &Record) -> Result<Record, VolumeError> {
    let path = directory.join(FILE);
    let mut tries = 0;
    loop {
        if let Some(found) = read(directory)?
            && path.exists()
        {
            return Ok(found);
        }
        tries += 1;
        let made = std::fs::create_dir_all(directory).and_then(|()| write_new(directory, wanted));
        match made {
            Ok(()) => return Ok(wanted.clone()),
            // Another was quicker, or somebody removes it as fast as it is made.
            Err(error)
                if tries < TRIES
                    && matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
            Err(error) => return Err(VolumeError::at("write", &path)(error)),
        }
    }
}

fn scratch(directory: &Path) -> std::path::PathBuf {
    directory.join(format!("{FILE}.{}", std::process::id()))
}

/// A link, not a renaming: who comes second is told.
fn write_new(directory: &Path, record: &Record) -> std::io::Result<()> {
    let scratch = scratch(directory);
    std::fs::write(&scratch, serde_json::to_vec(record)?)?;
    let linked = std::fs::hard_link(&scratch, directory.join(FILE));
    let _ = std::fs::remove_file(&scratch);
    linked
}

/// `None`: there is no such volume.
pub(super) fn read(directory: &Path) -> Result<Option<Record>, VolumeError> {
    let path = directory.join(FILE);
    match std::fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|source| VolumeError::Damaged { path, source }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(of_old(directory)),
        Err(error) => Err(VolumeError::at("read", &path)(error)),
    }
}

fn of_old(directory: &Path) -> Option<Record> {
    let made = std::fs::metadata(directory.join("_data")).ok()?.modified();
    let since = made.ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Record {
        created_ns: u64::try_from(since.as_nanos()).unwrap_or(0),
        ..Record::default()
    })
}

/// The volumes' names, in order.
pub(super) fn names(volumes: &Path) -> Result<Vec<String>, VolumeError> {
    let entries = match std::fs::read_dir(volumes) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(VolumeError::at("read", volumes)(error)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !super::is_own(name))
        .collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("one");
        assert_eq!(read(&directory).expect("no record"), None);
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let first = Record::new(labels, BTreeMap::new());
        assert_eq!(ensure(&directory, &first).expect("made"), first);
        assert_eq!(
            ensure(&directory, &Record::default()).expect("there"),
            first
        );
        assert_eq!(names(root.path()).expect("names"), ["one"]);
        assert_eq!(std::fs::read_dir(&directory).expect("entries").count(), 1);
    }
}
