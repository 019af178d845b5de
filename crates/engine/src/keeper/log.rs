//! The log: Docker's `json-file` form, one JSON object a line, rotated by size.
//!
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}`; a line longer
//! than 16 KiB is split, and the pieces but the last lack their newline, as Docker does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use gamut_plan::launch::LogPlan;
use serde::Serialize;

use super::herald::Herald;

const MAX_LINE_BYTES: usize = 16 * 1024;

/// A log. What cannot be written (a full disk) is lost, never the workload's problem.
#[derive(Debug)]
pub(super) struct Log {
    plan: LogPlan,
    /// Who is told each line besides.
    pub(super) herald: Option<Herald>,
    file: Option<Open>,
    /// The unfinished line of each stream.
    partial: [Vec<u8>; 2],
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    size_bytes: u64,
    max_bytes: Option<u64>,
    max_files: u32,
}

#[derive(Serialize)]
struct Line<'a> {
    log: &'a str,
    stream: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attrs: &'a BTreeMap<String, String>,
    time: String,
}

impl Log {
    /// The file is opened, and made, at the first output: many a workload says nothing.
    pub(super) fn new(plan: &LogPlan, herald: Option<Herald>) -> Log {
        Log {
            plan: plan.clone(),
            herald,
            file: None,
            partial: [Vec::new(), Vec::new()],
        }
    }

    fn opened(&mut self) -> Option<&mut Open> {
        if let (
            LogPlan::JsonFile {
                path,
                max_bytes,
                max_files,
                ..
            },
            None,
        ) = (&self.plan, &self.file)
        {
            let file = append(path).ok()?;
            let size_bytes = file.metadata().ok()?.len();
            self.file = Some(Open {
                file,
                path: path.clone(),
                size_bytes,
                max_bytes: *max_bytes,
                max_files: *max_files,
            });
        }
        self.file.as_mut()
    }

    /// Takes a piece of a stream: 0 is standard output, 1 standard error.
    pub(super) fn write(&mut self, which: u8, bytes: &[u8]) {
        if self.plan == LogPlan::None {
            return;
        }
        let index = usize::from(which.min(1));
        let mut text = Vec::new();
        let mut partial = std::mem::take(&mut self.partial[index]);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            partial.extend_from_slice(piece);
            while partial.len() > MAX_LINE_BYTES {
                let rest = partial.split_off(MAX_LINE_BYTES);
                self.take(&mut text, index, &partial);
                partial = rest;
            }
            if piece.ends_with(b"\n") {
                self.take(&mut text, index, &partial);
                partial.clear();
            }
        }
        // A line in the making keeps its memory only as long as it needs it.
        if partial.is_empty() {
            partial = Vec::new();
        }
        self.partial[index] = partial;
        self.append(&text);
    }

    /// Writes unfinished lines.
    pub(super) fn finish(&mut self) {
        let mut text = Vec::new();
        for index in 0..2 {
            let partial = std::mem::take(&mut self.partial[index]);
            if !partial.is_empty() {
                self.take(&mut text, index, &partial);
            }
        }
        self.append(&text);
        if let Some(herald) = &mut self.herald {
            herald.flush();
        }
    }

    /// Takes a line, or the piece of one that is too long.
    fn take(&mut self, text: &mut Vec<u8>, index: usize, line: &[u8]) {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let attributes = match &self.plan {
            LogPlan::JsonFile { attributes, .. } => attributes,
            LogPlan::None => &NONE,
        };
        encode(text, index, line, attributes);
        if let Some(herald) = &mut self.herald {
            let whole = line.strip_suffix(b"\n");
            herald.tell(index == 1, whole.unwrap_or(line), whole.is_some());
        }
    }

    fn append(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let Some(open) = self.opened() else { return };
        let mut rest = text;
        while !rest.is_empty() {
            let mut length = open.fitting(rest);
            if length == 0 {
                open.rotate();
                // A line that is longer than a file may be has one of its own.
                length = open.fitting(rest).max(first_line(rest));
            }
            let (piece, later) = rest.split_at(length);
            if open.file.write_all(piece).is_ok() {
                open.size_bytes += piece.len() as u64;
            }
            rest = later;
        }
    }
}

impl Open {
    /// How many bytes of `text`, in whole lines, the file still takes.
    fn fitting(&self, text: &[u8]) -> usize {
        let Some(max_bytes) = self.max_bytes else {
            return text.len();
        };
        let room = max_bytes.saturating_sub(self.size_bytes);
        match usize::try_from(room) {
            Ok(room) if room < text.len() => text[..room]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1),
            _ => text.len(),
        }
    }

    /// `log` → `log.1` → `log.2` …; with one file only, it starts anew.
    fn rotate(&mut self) {
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..self.max_files.saturating_sub(1)).rev() {
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        let moved = if self.max_files > 1 {
            std::fs::rename(&self.path, numbered(1))
        } else {
            std::fs::remove_file(&self.path)
        };
        if moved.is_ok()
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
            self.size_bytes = 0;
        }
    }
}

fn first_line(text: &[u8]) -> usize {
    let end = text.iter().position(|byte| *byte == b'\n');
    end.map_or(text.len(), |end| end + 1)
}

fn append(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

fn encode(text: &mut Vec<u8>, index: usize, line: &[u8], attrs: &BTreeMap<String, String>) {
    let line = Line {
        log: &String::from_utf8_lossy(line),
        stream: if index == 0 { "stdout" } else { "stderr" },
        attrs,
        time: timestamp(),
    };
    // A Vec takes everything, and a Line has no map with odd keys.
    if serde_json::to_writer(&mut *text, &line).is_ok() {
        text.push(b'\n');
    }
}

fn timestamp() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    fn log_in(name: &str, max_bytes: Option<u64>, max_files: u32) -> (Log, PathBuf) {
        let directory =
            std::env::temp_dir().join(format!("gamut-log-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("log");
        (
            Log::new(
                &LogPlan::JsonFile {
                    path: path.clone(),
                    max_bytes,
                    max_files,
                    attributes: BTreeMap::new(),
                },
                None,
            ),
            path,
        )
    }

    #[test]
    fn lines_are_put_together_and_long_ones_split() {
        let (mut log, path) = log_in("lines", None, 1);
        log.write(0, b"hel");
        log.write(1, b"err\n");
        log.write(0, b"lo\nworld");
        log.write(0, &[b'x'; MAX_LINE_BYTES]);
        log.write(0, b"\xff\n");
        log.finish();
        let lines = lines(&path);
        let texts: Vec<_> = lines.iter().map(|l| l["log"].as_str().unwrap()).collect();
        assert_eq!(texts[..2], ["err\n", "hello\n"]);
        assert_eq!(texts[2].len(), MAX_LINE_BYTES);
        assert!(texts[3].ends_with("\u{fffd}\n"));
        assert_eq!(lines[0]["stream"], "stderr");
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn one_burst_fills_files_to_their_size_and_no_further() {
        let (mut log, path) = log_in("burst", Some(1000), 2);
        let burst: String = (0..100).map(|n| format!("line {n}\n")).collect();
        log.write(0, burst.as_bytes());
        log.write(0, &[b'x'; 5000]);
        log.write(0, b"\nshort\n");
        let rotated = path.with_extension("1");
        assert!(std::fs::metadata(&path).unwrap().len() <= 1000);
        // The long line alone.
        assert_eq!(lines(&rotated).len(), 1);
        assert_eq!(lines(&path)[0]["log"], "short\n");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let (mut log, path) = log_in("rotate", Some(300), 3);
        for n in 0..20 {
            log.write(0, format!("line {n}\n").as_bytes());
        }
        let mut names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert!(
            lines(&path).last().unwrap()["log"]
                .as_str()
                .unwrap()
                .contains("line 19")
        );
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
