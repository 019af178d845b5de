//! Reading what a keeper logged: the rotated files in order, then the current one, and, if asked,
//! what is added to it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
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
    /// What was asked to be told with each line.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
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
    /// Whether the line was written at the right time.
    #[must_use]
    pub fn takes(&self, line: &Line) -> bool {
        self.since.is_none_or(|since| line.time >= since)
            && self.until.is_none_or(|until| line.time <= until)
    }
}

/// The files of a log, oldest first; the current one, which may be missing, last.
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
    each: impl FnMut(&Line) -> bool,
) -> Result<(), LogError> {
    Follower::after(path, selection, each).map(drop)
}

/// The last lines of the current file, with their newlines; fewer if they are long.
pub(crate) fn last_lines(path: &Path, count: usize) -> Vec<String> {
    const MOST_BYTES: u64 = 64 << 10;
    let Ok(Some(mut file)) = open(path) else {
        return Vec::new();
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let from = length.saturating_sub(MOST_BYTES);
    let mut text = Vec::new();
    let read = file
        .seek(SeekFrom::Start(from))
        .and_then(|_| file.read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    // The first may be the end of one, which is no line.
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    let mut texts: Vec<String> = lines.map(|line| line.text).collect();
    texts.split_off(texts.len().saturating_sub(count))
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
    /// Reads as [`read`] does and stands behind what was there: no line is passed over and none
    /// comes twice, whatever is written or rotated meanwhile.
    ///
    /// # Errors
    /// [`LogError::Read`].
    pub fn after(
        path: &Path,
        selection: &Selection,
        mut each: impl FnMut(&Line) -> bool,
    ) -> Result<Self, LogError> {
        // Before the older ones: it is known by its inode when it is rotated now.
        let mut follower = Follower {
            path: path.to_owned(),
            reader: open(path)?.map(BufReader::new),
            partial: Vec::new(),
        };
        let current = follower.inode();
        let mut last = VecDeque::new();
        let mut take = |line: Line| match selection.tail {
            _ if !selection.takes(&line) => true,
            None => each(&line),
            Some(count) => {
                last.push_back(line);
                if last.len() > count {
                    last.pop_front();
                }
                true
            }
        };
        let mut wanted = true;
        for path in files(path) {
            let Some(file) = open(&path)? else { continue };
            if !wanted || inode(&file) == current {
                break;
            }
            let mut reader = BufReader::new(file);
            wanted = drain(&mut reader, &mut Vec::new(), &path, &mut take)?;
        }
        if wanted {
            follower.drain(&mut take)?;
        }
        for line in &last {
            if !each(line) {
                break;
            }
        }
        Ok(follower)
    }

    /// The complete lines that were added since; follows rotations.
    ///
    /// # Errors
    /// [`LogError::Read`].
    pub fn lines(&mut self) -> Result<Vec<Line>, LogError> {
        let mut lines = Vec::new();
        let mut take = |line| {
            lines.push(line);
            true
        };
        loop {
            self.drain(&mut take)?;
            let Some(next) = self.successor()? else {
                return Ok(lines);
            };
            // What was written between the last look and the rotation.
            self.drain(&mut take)?;
            self.reader = Some(BufReader::new(next));
            self.partial.clear();
        }
    }

    fn drain(&mut self, take: &mut dyn FnMut(Line) -> bool) -> Result<bool, LogError> {
        match &mut self.reader {
            Some(reader) => drain(reader, &mut self.partial, &self.path, take),
            None => Ok(true),
        }
    }

    fn inode(&self) -> Option<u64> {
        self.reader.as_ref().and_then(|r| inode(r.get_ref()))
    }

    /// The file that comes after ours, if ours has been rotated.
    fn successor(&self) -> Result<Option<File>, LogError> {
        let own = self.inode();
        let current = std::fs::metadata(&self.path).ok().map(|m| m.ino());
        if current == own {
            return Ok(None);
        }
        let files = files(&self.path);
        let inodes: Vec<Option<u64>> = files
            .iter()
            .map(|path| std::fs::metadata(path).ok().map(|m| m.ino()))
            .collect();
        // One that is gone was rotated away: the oldest that is left is the nearest.
        let next = match inodes.iter().position(|inode| *inode == own) {
            Some(index) => index + 1,
            None => 0,
        };
        match files.get(next) {
            Some(path) => open(path),
            None => Ok(None),
        }
    }

    /// How long to sleep between two looks.
    pub const PAUSE: Duration = Duration::from_millis(50);
}

fn inode(file: &File) -> Option<u64> {
    file.metadata().ok().map(|m| m.ino())
}

/// Calls `take` for each whole line up to the end of the file; what is left of one stays in
/// `partial`. Gives whether `take` wants more.
fn drain(
    reader: &mut BufReader<File>,
    partial: &mut Vec<u8>,
    path: &Path,
    take: &mut dyn FnMut(Line) -> bool,
) -> Result<bool, LogError> {
    loop {
        let read = reader.read_until(b'\n', partial);
        let length = read.map_err(|source| LogError::Read {
            path: path.to_owned(),
            source,
        })?;
        if length == 0 || !partial.ends_with(b"\n") {
            return Ok(true);
        }
        let line = serde_json::from_slice(partial);
        partial.clear();
        if let Ok(line) = line
            && !take(line)
        {
            return Ok(false);
        }
    }
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
        let mut seen = 0;
        let mut follower = Follower::after(&path, &Selection::default(), |_| {
            seen += 1;
            true
        })
        .unwrap();
        assert_eq!(seen, 4);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(line(5).as_bytes())
            .unwrap();
        assert_eq!(follower.lines().unwrap().len(), 1);
        // Two rotations between two looks; ours is log.2 now.
        std::fs::rename(&path, directory.join("log.2")).unwrap();
        std::fs::write(directory.join("log.1"), line(6)).unwrap();
        std::fs::write(&path, line(7)).unwrap();
        let texts: Vec<String> = follower
            .lines()
            .unwrap()
            .into_iter()
            .map(|l| l.text)
            .collect();
        assert_eq!(texts, ["line 6\n", "line 7\n"]);
        assert!(follower.lines().unwrap().is_empty());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
