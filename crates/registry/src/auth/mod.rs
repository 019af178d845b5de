//! Who one is to a registry.
//!
//! - [`Credentials`] and [`Secret`], which never show what they hold;
//! - [`AuthFiles`]: Docker's and Podman's files, and the credential helpers they name;
//! - [`AuthSource`]: where a client takes its credentials from.

mod files;
mod helper;

use std::fmt;
use std::io;
use std::path::PathBuf;

use gamut_spec::{Fault, Kind};

pub use files::{AuthFiles, Stored};

/// A password or a token. Neither `Debug` nor any message shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What to show a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password (or an access token that stands for one).
    Password { user: String, secret: Secret },
    /// A refresh token, which the token server exchanges (`identitytoken`).
    Identity(Secret),
    /// A bearer token that is sent as it is (`registrytoken`).
    Bearer(Secret),
}

/// Where credentials come from.
#[derive(Debug, Clone, Default)]
pub enum AuthSource {
    /// From nowhere: every request is anonymous.
    #[default]
    Anonymous,
    /// From the user's files and credential helpers, looked up when a registry asks.
    Files(AuthFiles),
    /// These, and for this registry only.
    Given {
        registry: String,
        credentials: Credentials,
    },
}

impl AuthSource {
    /// The credentials for an image of `registry`; `None` is anonymous.
    pub(crate) fn credentials(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, AuthError> {
        match self {
            AuthSource::Anonymous => Ok(None),
            AuthSource::Files(files) => files.lookup(registry, repository),
            AuthSource::Given {
                registry: of,
                credentials,
            } => Ok((of == registry).then(|| credentials.clone())),
        }
    }
}

/// What can go wrong with stored credentials.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("cannot {verb} `{path}`: {source}")]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("`{path}` is malformed: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("`{path}` names a credential helper `{name}`, which cannot be a program's name")]
    HelperName { path: PathBuf, name: String },
    #[error("the credential helper `{program}` is not installed")]
    HelperMissing { program: String },
    #[error("the credential helper `{program}` failed to {verb} for `{server}`: {reason}")]
    Helper {
        program: String,
        verb: &'static str,
        server: String,
        reason: String,
    },
    #[error("there is no home directory to keep credentials in")]
    NoHome,
    #[error("not logged in to `{0}`")]
    NotLoggedIn(String),
    #[error("credentials of this sort cannot be stored")]
    NotStorable,
}

impl Fault for AuthError {
    fn kind(&self) -> Kind {
        match self {
            AuthError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Unavailable,
            },
            AuthError::Malformed { .. } | AuthError::HelperName { .. } | AuthError::NotStorable => {
                Kind::Invalid
            }
            AuthError::HelperMissing { .. } | AuthError::NoHome => Kind::HostLacks,
            AuthError::Helper { .. } => Kind::Unavailable,
            AuthError::NotLoggedIn(_) => Kind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            AuthError::HelperMissing { program } => Some(format!(
                "install `{program}`, or take `credsStore` and `credHelpers` out of Docker's \
                 config.json"
            )),
            AuthError::Malformed { path, .. } => {
                Some(format!("repair `{}`, or move it away", path.display()))
            }
            AuthError::NoHome => Some("set `HOME` or `DOCKER_CONFIG`".into()),
            _ => None,
        }
    }
}
