//! What can go wrong with CRIU.

use std::path::PathBuf;

use gamut_spec::{Fault, Kind};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum CriuError {
    #[error("criu is not in PATH; checkpoints need CRIU {OLDEST} or later")]
    Missing,
    #[error("cannot run {}: {source}", .path.display())]
    Start {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("criu is version {}; {purpose} needs {} or later", spelt(*.found), spelt(*.needed))]
    Old {
        /// As [`super::Criu::version`].
        found: u32,
        needed: u32,
        purpose: &'static str,
    },
    #[error("criu cannot do {purpose} with this kernel: it lacks {feature}")]
    Lacks {
        purpose: &'static str,
        /// As `criu check --feature` has it.
        feature: &'static str,
    },
    #[error("cannot speak to criu: {0}")]
    Talk(std::io::Error),
    #[error("criu says what cannot be read: {0}")]
    Words(String),
    #[error("cannot {act} with criu: {reason}{}", in_log(.log.as_ref()))]
    Failed {
        act: &'static str,
        reason: String,
        /// What CRIU did.
        log: Option<PathBuf>,
    },
}

/// The oldest CRIU whose version can be asked for over its socket.
const OLDEST: &str = "3.0";

fn in_log(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| format!("; see {}", path.display()))
}

/// 40201 is 4.2.1.
fn spelt(version: u32) -> String {
    let (major, minor, sublevel) = (version / 10_000, version / 100 % 100, version % 100);
    format!("{major}.{minor}.{sublevel}")
}

impl Fault for CriuError {
    fn kind(&self) -> Kind {
        match self {
            CriuError::Missing
            | CriuError::Start { .. }
            | CriuError::Old { .. }
            | CriuError::Lacks { .. } => Kind::HostLacks,
            CriuError::Talk(_) | CriuError::Words(_) | CriuError::Failed { .. } => {
                Kind::Unavailable
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CriuError::Missing | CriuError::Old { .. } => {
                Some("install the package `criu`, or see https://criu.org".into())
            }
            CriuError::Lacks { feature, .. } => {
                Some(format!("`criu check --feature {feature}` says why"))
            }
            CriuError::Failed { log, .. } => {
                log.as_ref().map(|log| format!("see {}", log.display()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_spelt_as_criu_spells_them() {
        assert_eq!(spelt(30_000), "3.0.0");
        assert_eq!(spelt(31_701), "3.17.1");
        assert_eq!(spelt(40_201), "4.2.1");
    }
}
