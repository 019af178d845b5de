//! How a registry is met, where that is not as this user and this host have it: podman's flags.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use gamut_engine::registry::{Access, Options};

use crate::convert::{ArgumentError, parse_duration_ns};
use crate::error::Failure;

/// Flags of whatever speaks with a registry.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct RegistryArgs {
    /// File with the logins, instead of the user's own
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,

    /// Directory with certificates for the registry: *.crt of authorities, *.cert and *.key of this client
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,

    /// Name and password for the registry, as NAME[:PASSWORD]
    #[arg(long, value_name = "CREDENTIALS", value_parser = parse_credentials)]
    creds: Option<Creds>,

    /// Whether the registry must speak HTTPS with a certificate that is checked
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,

    /// How often an attempt that failed is repeated
    #[arg(long, value_name = "COUNT")]
    retry: Option<u32>,

    /// The wait before the first repetition; it doubles with each further one
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    retry_delay: Option<i64>,
}

impl RegistryArgs {
    /// The same, without checks if `insecure`.
    #[must_use]
    pub fn or_insecure(self, insecure: bool) -> Self {
        Self {
            tls_verify: match insecure {
                true => Some(false),
                false => self.tls_verify,
            },
            ..self
        }
    }

    /// For images of `registry`.
    ///
    /// # Errors
    /// A file about registries that cannot be understood.
    pub fn options(&self, registry: &str) -> Result<Options, Failure> {
        self.access().options(registry).map_err(Failure::engine)
    }

    fn access(&self) -> Access {
        Access {
            auth_file: self.authfile.clone(),
            certificates: self.cert_dir.clone(),
            login: self
                .creds
                .as_ref()
                .map(|creds| (creds.user.clone(), creds.password.clone())),
            verify: self.tls_verify,
            retries: self.retry,
            first_wait: self
                .retry_delay
                .map(|ns| Duration::from_nanos(ns.max(0).unsigned_abs())),
        }
    }
}

/// A name and a password.
#[derive(Clone)]
struct Creds {
    user: String,
    password: String,
}

impl fmt::Debug for Creds {
    /// Without the password.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Creds").field(&self.user).finish()
    }
}

fn parse_credentials(text: &str) -> Result<Creds, ArgumentError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    match user.is_empty() {
        true => Err(ArgumentError::Credentials),
        false => Ok(Creds {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let creds = parse_credentials("me:a:secret").unwrap();
        assert_eq!(
            (creds.user.as_str(), creds.password.as_str()),
            ("me", "a:secret")
        );
        assert!(!format!("{creds:?}").contains("secret"));
        assert!(parse_credentials(":x").is_err());
    }
}
