//! Which test uses which command line: a log for `cargo xtask parity`.

use std::fs::OpenOptions;
use std::io::Write;

/// Appends the calling test's name and these words to the file that `GAMUT_WORDS_LOG` names, if it does:
/// U+001F between them, U+001E behind.
pub(crate) fn log(words: &[&str]) {
    let Some(file) = std::env::var_os("GAMUT_WORDS_LOG") else {
        return;
    };
    // A runner that gives each test a process names it there.
    let test = std::env::args().skip_while(|word| word != "--exact").nth(1);
    let Some(test) = test.or_else(|| std::thread::current().name().map(str::to_owned)) else {
        return;
    };
    let record = format!("{test}\u{1f}{}\u{1e}", words.join("\u{1f}"));
    let file = OpenOptions::new().append(true).create(true).open(file);
    file.and_then(|mut file| file.write_all(record.as_bytes()))
        .expect("GAMUT_WORDS_LOG is written");
}
