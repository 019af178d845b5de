//! The filler's log: `log` in its directory, a line for each thing that went wrong. It goes with the
//! filler if there was none.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<File>,
    is_used: AtomicBool,
}

/// The log's name.
pub(super) const NAME: &str = "log";
/// A log that is longer is begun anew.
const MAX_BYTES: u64 = 1 << 20;

impl Log {
    /// Goes on with the log in `directory`. One that cannot be written is none.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join(NAME);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() > MAX_BYTES) {
            let _ = std::fs::remove_file(&path);
        }
        let file = File::options().append(true).create(true).open(&path).ok();
        let length = file.as_ref().and_then(|file| file.metadata().ok());
        Self {
            is_used: AtomicBool::new(length.is_some_and(|found| found.len() > 0)),
            file,
        }
    }

    /// Adds a line.
    pub(super) fn say(&self, line: &str) {
        self.is_used.store(true, Ordering::Relaxed);
        let line = format!("{} {line}\n", jiff::Timestamp::now());
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(line.as_bytes());
        }
    }

    /// Whether there is anything in it.
    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }
}
