//! Secrets that a workload is given: `--secret`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One secret, by its name or id, and how the workload finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    pub secret: String,
    pub form: SecretForm,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretForm {
    /// A file, read-only.
    Mount {
        /// Below /run/secrets if it is relative; `None`: the secret's name.
        target: Option<PathBuf>,
        /// The container's ids.
        uid: u32,
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// A variable of the environment; `None`: the secret's name.
    Env { variable: Option<String> },
}
