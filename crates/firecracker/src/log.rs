//! The log: a line each, in Firecracker's form, to standard output or to a file or FIFO that is never waited
//! for. `PUT /logger` and the command line say where to and how much.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::Location;
use std::path::Path;

use rustix::fs::OFlags;

use crate::model::{Level, Logger};

/// Where a line comes from, for the filter by module; names of Firecracker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// The process.
    Firecracker,
    /// Requests and their answers.
    ApiServer,
    /// The machine.
    Vmm,
}

impl Module {
    fn path(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::ApiServer => "firecracker::api_server",
            Self::Vmm => "vmm",
        }
    }
}

/// The log of one process.
#[derive(Debug)]
pub struct Log {
    instance: String,
    target: Option<File>,
    level: Level,
    levels: Shown,
    origins: Shown,
    module: Option<String>,
    missed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

impl Shown {
    fn update(&mut self, shown: Option<bool>) {
        match shown {
            Some(true) => *self = Self::Yes,
            Some(false) => *self = Self::No,
            None => {}
        }
    }
}

impl Log {
    /// To standard output, with what is `Info` and worse.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            target: None,
            level: Level::Info,
            levels: Shown::No,
            origins: Shown::No,
            module: None,
            missed: 0,
        }
    }

    /// Does as it is told.
    ///
    /// # Errors
    /// Those of open(2); nothing has changed then.
    pub fn configure(&mut self, logger: Logger) -> io::Result<()> {
        if let Some(path) = &logger.log_path {
            self.target = Some(open_sink(path)?);
        }
        self.level = logger.level.unwrap_or(Level::Info);
        self.levels.update(logger.show_level);
        self.origins.update(logger.show_log_origin);
        if logger.module.is_some() {
            self.module = logger.module;
        }
        Ok(())
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Writes a line, if it is wanted. What it is about may come from anywhere: a line stays one.
    #[track_caller]
    pub fn line(&mut self, level: Level, module: Module, text: &str) {
        let is_filtered = self
            .module
            .as_deref()
            .is_some_and(|wanted| !module.path().starts_with(wanted));
        if level > self.level || is_filtered {
            return;
        }
        let line = self.render(level, text, Location::caller());
        // One write for each line: others may write to the same file.
        let written = match &mut self.target {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stdout().lock().write_all(line.as_bytes()),
        };
        if written.is_err() {
            self.missed += 1;
        }
    }

    fn render(&self, level: Level, text: &str, origin: &Location<'_>) -> String {
        let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.9f");
        let level = match self.levels {
            Shown::Yes => format!(":{}", word(level)),
            Shown::No => String::new(),
        };
        let origin = match self.origins {
            Shown::Yes => format!(":{}:{}", origin.file(), origin.line()),
            Shown::No => String::new(),
        };
        let text: String = text.chars().map(printable).collect();
        let instance = &self.instance;
        format!("{now} [{instance}:main{level}{origin}] {text}\n")
    }
}

fn printable(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Off => "OFF",
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// Opens a file or a FIFO for lines at its end; a FIFO that nobody reads is no hindrance, now and later.
///
/// # Errors
/// Those of open(2).
pub(crate) fn open_sink(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        // A FIFO can be opened for writing alone only while somebody reads; fifo(7).
        .read(true)
        .append(true)
        .create(true)
        .mode(0o644)
        // Nothing of a flag is lost in the conversion.
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_wanted_and_stays_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = Log::new("vm1");
        let logger = Logger {
            log_path: Some(path.clone()),
            level: Some(Level::Warn),
            show_level: Some(true),
            show_log_origin: Some(true),
            module: Some("firecracker".to_owned()),
        };
        log.configure(logger).expect("the file can be made");
        log.line(Level::Info, Module::Firecracker, "not worth it");
        log.line(Level::Error, Module::Vmm, "another module");
        log.line(Level::Error, Module::ApiServer, "a\nb");
        let text = std::fs::read_to_string(path).expect("the log");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(" [vm1:main:ERROR:"), "{text}");
        assert!(text.contains("log.rs:"), "{text}");
        assert!(text.ends_with("] a b\n"), "{text}");
    }
}
