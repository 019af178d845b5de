//! CRIU's log: what of it tells why something failed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a log's end is looked at; the line sought is among the last ones.
const END_BYTES: u64 = 64 << 10;

/// How many errors are told, the last ones: those after the cause follow from it, those long before did
/// not keep CRIU from going on.
const TOLD: usize = 4;

/// The errors at the end of the log: lines such as `(00.012345) 1: Error (criu/files.c:100): what`.
pub(super) fn failure(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let start = length.saturating_sub(END_BYTES);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(END_BYTES).read_to_end(&mut bytes).ok()?;
    errors(&String::from_utf8_lossy(&bytes))
}

fn errors(text: &str) -> Option<String> {
    let said = text.lines().filter_map(|line| {
        let (_, after) = line.split_once("Error (")?;
        let (_, what) = after.split_once("): ")?;
        Some(what.trim())
    });
    let said: Vec<&str> = said.filter(|what| !what.is_empty()).collect();
    let last = &said[said.len().saturating_sub(TOLD)..];
    (!last.is_empty()).then(|| last.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_without_their_place() {
        let early = "(00.00) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE\n";
        let log = "(00.01) Will dump\n\
                   (00.02)      1: Error (criu/mount.c:1088): mnt: 5:./x has no root\n\
                   (00.03) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        let told = errors(log).unwrap();
        assert_eq!(told, "mnt: 5:./x has no root; Dumping FAILED.");
        assert!(errors(&early.repeat(9)).unwrap().len() < 4 * early.len());
        assert_eq!(errors("(00.01) Dumping finished successfully\n"), None);
    }
}
