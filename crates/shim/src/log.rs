//! The shim's own words. containerd reads the FIFO `log` of the bundle and copies it to its log; the parent
//! has made it our standard error. The form is containerd's (logfmt).

use std::io::Write;

/// Says what went wrong where nobody can be told by an answer.
pub fn warn(text: impl std::fmt::Display) {
    let text = text.to_string().replace('"', "'");
    let line = format!("level=warning msg=\"{text}\" runtime=gamut\n");
    // The FIFO is non-blocking: a containerd that reads no longer loses words, and stops nothing.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
