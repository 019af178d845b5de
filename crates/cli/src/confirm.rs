//! Asking before something is removed for good.

use std::io::{self, Write};

use gamut_spec::{Fault, Kind};

use crate::error::Failure;

/// Shows `warning` and reads the answer from standard input, be it a terminal or not: Docker's way.
/// No answer at all is an error.
pub fn confirmed(warning: &str) -> Result<bool, Failure> {
    // To standard error: what is removed goes to standard output.
    write!(io::stderr(), "{warning} [y/N] ").map_err(Failure::Output)?;
    let mut answer = String::new();
    let length = io::stdin()
        .read_line(&mut answer)
        .map_err(Failure::Terminal)?;
    if length == 0 {
        let _ = writeln!(io::stderr());
        return Err(Failure::engine(Unconfirmed));
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// There is nobody to ask.
#[derive(Debug, thiserror::Error)]
#[error("this removes things for good, and nobody has said whether to go on")]
struct Unconfirmed;

impl Fault for Unconfirmed {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("give `--force`".to_owned())
    }
}
