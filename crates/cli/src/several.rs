//! Commands over several objects: one that fails does not keep the others from being done, and
//! the exit status tells of it.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::error::Failure;

/// Does `act` for each of `names`, and prints what it gives on a line of its own. A failure is
/// said when it happens; the status is 1 if there was one.
pub fn each<T: AsRef<str>>(
    names: &[T],
    mut act: impl FnMut(&str) -> Result<Option<String>, Failure>,
) -> Result<ExitCode, Failure> {
    let mut status = ExitCode::SUCCESS;
    let mut output = io::stdout().lock();
    for name in names {
        match act(name.as_ref()) {
            Ok(None) => {}
            Ok(Some(text)) => writeln!(output, "{text}").map_err(Failure::Output)?,
            Err(failure) => {
                failure.say();
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}
