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

/// Whether the kernel is too old to show a tmpfs with other owners (Linux 6.3); the running test is
/// skipped then.
#[must_use]
pub fn without_mapped_tmpfs() -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let is_old = (major, minor) < (6, 3);
    if is_old {
        skipped(&format!(
            "Linux {release} cannot map the owners of a tmpfs; 6.3 can"
        ));
    }
    is_old
}
