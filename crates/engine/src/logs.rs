//! Reading what a keeper logged: the rotated files in order, then the current one, and, if asked,
//! what is added to it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gamut_spec::{Fault, Kind};
use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Line {
    #[serde(rename = "log")]
    pub text: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    pub time: Timestamp,
}

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The last so many; `None`: all.
    pub tail: Option<usize>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

#[derive(Debug, Error)]
pub enum LogError {
    #[error("the container keeps no log (`--log-driver none`)")]
    NotKept,
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl Fault for LogError {
    fn kind(&self) -> Kind {
        match self {
            LogError::NotKept => Kind::Conflict,
            LogError::Read { .. } => Kind::Unavailable,
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            LogError::NotKept => Some("run it without `--log-driver none`".into()),
            LogError::Read { .. } => None,
        }
    }
}

impl Selection {
    fn takes(&self, line: &Line) -> bool {
        self.since.is_none_or(|since| line.time >= since)
            && self.until.is_none_or(|until| line.time <= until)
    }
}

/// The files of a log that exist, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut list = Vec::new();
    for n in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        let rotated = PathBuf::from(name);
        if !rotated.exists() {
            break;
        }
        list.push(rotated);
    }
    list.reverse();
    list.push(path.to_owned());
    list
}

/// Calls `each` for every selected line that is there now. A damaged line (a full disk, a power
/// cut) is passed over. `each` ends it by returning `false`.
///
/// # Errors
/// [`LogError::Read`].
pub fn read(
    path: &Path,
    selection: &Selection,
    mut each: impl FnMut(&Line) -> bool,
) -> Result<(), LogError> {
    let mut last = VecDeque::new();
    for file in files(path) {
        let Some(open) = open(&file)? else { continue };
        for text in BufReader::new(open).split(b'\n') {
            let text = text.map_err(|source| LogError::Read {
                path: file.clone(),
                source,
            })?;
            let Ok(line) = serde_json::from_slice::<Line>(&text) else {
                continue;
            };
            if !selection.takes(&line) {
                continue;
            }
            match selection.tail {
                None if !each(&line) => return Ok(()),
                None => {}
                Some(0) => {}
                Some(count) => {
                    if last.len() == count {
                        last.pop_front();
                    }
                    last.push_back(line);
                }
            }
        }
    }
    for line in &last {
        if !each(line) {
            break;
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Option<File>, LogError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Follows a log from where it ends now.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    partial: Vec<u8>,
}

impl Follower {
    /// Starts behind what is there.
    ///
    /// # Errors
    /// [`LogError::Read`].
    pub fn at_end(path: &Path) -> Result<Self, LogError> {
        let mut reader = open(path)?;
        if let Some(file) = &mut reader {
            file.seek(std::io::SeekFrom::End(0))
                .map_err(|source| LogError::Read {
                    path: path.to_owned(),
                    source,
                })?;
        }
        Ok(Follower {
            path: path.to_owned(),
            reader: reader.map(BufReader::new),
            partial: Vec::new(),
        })
    }

    /// The complete lines that were added since; follows a rotation.
    ///
    /// # Errors
    /// [`LogError::Read`].
    pub fn lines(&mut self) -> Result<Vec<Line>, LogError> {
        let mut lines = Vec::new();
        loop {
            self.drain(&mut lines)?;
            if !self.rotated() {
                return Ok(lines);
            }
            self.reader = open(&self.path)?.map(BufReader::new);
        }
    }

    fn drain(&mut self, lines: &mut Vec<Line>) -> Result<(), LogError> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        loop {
            let read = reader.read_until(b'\n', &mut self.partial);
            let length = read.map_err(|source| LogError::Read {
                path: self.path.clone(),
                source,
            })?;
            if length == 0 || !self.partial.ends_with(b"\n") {
                return Ok(());
            }
            if let Ok(line) = serde_json::from_slice(&self.partial) {
                lines.push(line);
            }
            self.partial.clear();
        }
    }

    /// Whether the path is another file by now.
    fn rotated(&self) -> bool {
        let Ok(now) = std::fs::metadata(&self.path) else {
            return false;
        };
        let ours = self
            .reader
            .as_ref()
            .and_then(|r| r.get_ref().metadata().ok());
        ours.is_none_or(|ours| ours.ino() != now.ino())
    }

    /// How long to sleep between two looks.
    pub const PAUSE: Duration = Duration::from_millis(50);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(n: u32) -> String {
        format!(
            "{{\"log\":\"line {n}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:{n:02}.5Z\"}}\n"
        )
    }

    #[test]
    fn rotated_files_are_read_in_order_and_cut_to_the_tail() {
        let directory = std::env::temp_dir().join(format!("gamut-logs-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("log");
        std::fs::write(directory.join("log.1"), line(1) + &line(2)).unwrap();
        std::fs::write(&path, line(3) + "damaged\n" + &line(4)).unwrap();
        let get = |selection: &Selection| {
            let mut texts = Vec::new();
            read(&path, selection, |l| {
                texts.push(l.text.clone());
                true
            })
            .unwrap();
            texts
        };
        assert_eq!(
            get(&Selection::default()),
            ["line 1\n", "line 2\n", "line 3\n", "line 4\n"]
        );
        assert_eq!(
            get(&Selection {
                tail: Some(2),
                ..Selection::default()
            }),
            ["line 3\n", "line 4\n"]
        );
        let since = Some("2026-01-01T00:00:03Z".parse().unwrap());
        assert_eq!(
            get(&Selection {
                since,
                ..Selection::default()
            })
            .len(),
            2
        );
        let mut follower = Follower::at_end(&path).unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(line(5).as_bytes())
            .unwrap();
        assert_eq!(follower.lines().unwrap().len(), 1);
        std::fs::rename(&path, directory.join("log.0")).unwrap();
        std::fs::write(&path, line(6)).unwrap();
        assert_eq!(follower.lines().unwrap()[0].text, "line 6\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
