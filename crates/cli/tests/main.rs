//! The binary as its users meet it, as far as no engine is needed.

mod help;
mod scripts;
mod statuses;

use std::process::{Command, Output, Stdio};

/// Runs `gamut` with `words`, standard input empty.
fn gamut(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gamut"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}
