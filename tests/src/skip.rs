//! A test that finds its ground missing says so: on standard error, and in the file named by
//! `GAMUT_SKIP_LOG`, whose lines `./test` counts and prints at its end.

use std::fs::OpenOptions;
use std::io::Write;

/// Records that the running test is skipped, and why.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    eprint!("{line}");
    if let Some(path) = std::env::var_os("GAMUT_SKIP_LOG") {
        let log = OpenOptions::new().append(true).create(true).open(path);
        if let Ok(mut log) = log {
            // One write, so that lines of parallel tests don't mix. A lost line is still on stderr.
            let _ = log.write_all(line.as_bytes());
        }
    }
}
