//! What can go wrong between here and a registry, and what to do about it.
//!
//! Texts that came from outside are cleaned by [`quoted`] before they become part of a message:
//! they end up on a terminal. No message has a credential, a token or a signed query in it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use gamut_spec::image::ImageError;
use gamut_spec::{Digest, Fault, Kind};

use crate::auth::AuthError;

/// Why something could not be had from a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("cannot reach `{host}`{}: {cause}", through(.proxy))]
    Unreachable {
        host: String,
        /// The proxy that was to lead there, without its credentials.
        proxy: Option<String>,
        cause: Cause,
    },
    #[error("`{name}` was not found in the registry{}", said(.message))]
    ManifestUnknown {
        name: String,
        message: Option<String>,
    },
    #[error("the registry `{host}` has no blob {digest}")]
    BlobUnknown { host: String, digest: Digest },
    #[error("`{host}` denied access to {what}{}", said(.message))]
    Denied {
        /// The registry as images name it, which is what `gamut login` takes.
        host: String,
        what: String,
        message: Option<String>,
        identity: Identity,
    },
    #[error("`{host}` refused the login{}", said(.message))]
    LoginRefused {
        host: String,
        message: Option<String>,
    },
    #[error("`{host}` limits the rate of requests (429){}", said(.message))]
    RateLimited {
        host: String,
        /// When it may be tried again, if the registry said so, seconds from then.
        retry_after_s: Option<u64>,
        message: Option<String>,
    },
    #[error("`{host}` failed with status {status}{}", said(.message))]
    Server {
        host: String,
        status: u16,
        message: Option<String>,
    },
    #[error("`{host}` answered with status {status}, which makes no sense here{}", said(.message))]
    Unexpected {
        host: String,
        status: u16,
        message: Option<String>,
    },
    #[error("`{host}` sent a malformed {what}: {reason}")]
    Malformed {
        host: String,
        what: &'static str,
        reason: String,
    },
    #[error("`{host}` redirected to `{to}`: {why}")]
    Redirect {
        host: String,
        to: String,
        why: &'static str,
    },
    #[error("the {what} from `{host}` is longer than the {limit_bytes} bytes that are allowed")]
    TooLarge {
        host: String,
        what: &'static str,
        limit_bytes: u64,
    },
    #[error("{what} has the digest {actual}, not {expected}")]
    WrongDigest {
        /// Such as "the manifest from `ghcr.io`".
        what: String,
        expected: Digest,
        actual: Digest,
    },
    #[error("`{host}` has {got} bytes for {digest}, whose length is {expected}")]
    WrongLength {
        host: String,
        digest: Digest,
        /// Bytes, as the descriptor says.
        expected: u64,
        /// Bytes that were announced or sent.
        got: Sent,
    },
    #[error("the registry `{host}` has no list of {of}")]
    NoList { host: String, of: String },
    /// What was to be sent could not be read: a fault of this side.
    #[error("cannot read what is to be sent: {0}")]
    Content(io::Error),
    #[error("`{host}` keeps {digest} under the digest {kept}")]
    Misfiled {
        host: String,
        digest: Digest,
        kept: String,
    },
    #[error("cannot start blob {digest} at byte {start}: it has {size}")]
    BadStart {
        digest: Digest,
        start: u64,
        size: u64,
    },
    #[error("`{host}` gives whole blobs only, no parts of them")]
    NoRanges { host: String },
    #[error("cannot read the certificates in `{path}`: {reason}")]
    Certificates { path: PathBuf, reason: String },
    #[error("`{0}` is not the name of a registry")]
    BadRegistry(String),
    #[error("`{name}`: {source}")]
    Image {
        name: String,
        source: Box<ImageError>,
    },
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// With what right something was asked for that was then denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    Anonymous,
    /// With stored or given credentials.
    Known,
}

/// How many bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Exactly(u64),
    MoreThan(u64),
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sent::Exactly(bytes) => write!(f, "{bytes}"),
            Sent::MoreThan(bytes) => write!(f, "more than {bytes}"),
        }
    }
}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("no such host is known")]
    UnknownHost,
    #[error("connection refused")]
    Refused,
    #[error("no answer in time")]
    Timeout,
    #[error("the connection was dropped")]
    Dropped,
    #[error("it speaks plain HTTP, not TLS")]
    PlainHttp,
    #[error("its certificate is not trusted: {0}")]
    Certificate(String),
    #[error("this machine has no certificate authorities to trust")]
    NoAuthorities,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the proxy refused: {0}")]
    Proxy(String),
    #[error("it does not speak HTTP properly: {0}")]
    Protocol(String),
    #[error("{0}")]
    Io(io::Error),
}

impl Cause {
    /// Whether the same attempt, a moment later, may well succeed.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Cause::Dropped | Cause::Timeout)
    }

    /// Whether a transfer that had begun should be taken up again.
    pub(crate) fn is_passing_midway(&self) -> bool {
        !matches!(
            self,
            Cause::Certificate(_) | Cause::NoAuthorities | Cause::PlainHttp
        )
    }
}

fn said(message: &Option<String>) -> String {
    message
        .as_ref()
        .map(|message| format!(": {message}"))
        .unwrap_or_default()
}

fn through(proxy: &Option<String>) -> String {
    proxy
        .as_ref()
        .map(|proxy| format!(" through the proxy `{proxy}`"))
        .unwrap_or_default()
}

/// A text from outside, fit to be shown: one line, no control characters, not long.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 300;
    let line: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .collect();
    let line = line.trim();
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Characters that reorder or hide text on a terminal.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

impl RegistryError {
    /// The registry error inside an [`io::Error`] that a [`crate::BlobReader`] returned.
    pub fn within(error: &io::Error) -> Option<&RegistryError> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<RegistryError> for io::Error {
    fn from(error: RegistryError) -> io::Error {
        let kind = match &error {
            RegistryError::Unreachable { .. } => io::ErrorKind::ConnectionAborted,
            RegistryError::Denied { .. } => io::ErrorKind::PermissionDenied,
            RegistryError::BlobUnknown { .. } => io::ErrorKind::NotFound,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

impl Fault for RegistryError {
    fn kind(&self) -> Kind {
        match self {
            RegistryError::Unreachable { cause, .. } => match cause {
                Cause::NoAuthorities => Kind::HostLacks,
                Cause::Certificate(_) => Kind::Denied,
                _ => Kind::Unavailable,
            },
            RegistryError::RateLimited { .. } | RegistryError::Server { .. } => Kind::Unavailable,
            RegistryError::ManifestUnknown { .. }
            | RegistryError::BlobUnknown { .. }
            | RegistryError::NoList { .. } => Kind::NotFound,
            RegistryError::Content(_) => Kind::Unavailable,
            RegistryError::Denied { .. }
            | RegistryError::LoginRefused { .. }
            | RegistryError::Redirect { .. } => Kind::Denied,
            RegistryError::Image { source, .. } => source.kind(),
            RegistryError::Auth(error) => error.kind(),
            RegistryError::Unexpected { .. }
            | RegistryError::Malformed { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::WrongDigest { .. }
            | RegistryError::WrongLength { .. }
            | RegistryError::Certificates { .. }
            | RegistryError::Misfiled { .. }
            | RegistryError::BadRegistry(_) => Kind::Invalid,
            RegistryError::NoRanges { .. } => Kind::NotFound,
            RegistryError::BadStart { .. } => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RegistryError::Unreachable { host, cause, .. } => cause.hint(host),
            RegistryError::ManifestUnknown { .. } => Some("check the name and the tag".into()),
            RegistryError::Denied {
                host,
                identity: Identity::Anonymous,
                ..
            } => Some(format!(
                "check the name; if the image is private, `gamut login {host}` first"
            )),
            RegistryError::Denied { host, .. } => Some(format!(
                "check the name and what this account may do, or `gamut login {host}` with another"
            )),
            RegistryError::LoginRefused { .. } => Some(
                "check the user's name and the password; some registries take only access tokens"
                    .into(),
            ),
            RegistryError::RateLimited {
                host,
                retry_after_s,
                ..
            } => Some(match retry_after_s {
                Some(seconds) => format!(
                    "try again in {seconds} seconds, or `gamut login {host}` for a higher limit"
                ),
                None => format!("try again later, or `gamut login {host}` for a higher limit"),
            }),
            RegistryError::Server { .. } => Some("try again later".into()),
            RegistryError::WrongDigest { .. } | RegistryError::WrongLength { .. } => Some(
                "the registry, or something on the way to it, does not hand out what was pushed"
                    .into(),
            ),
            RegistryError::BadRegistry(_) => {
                Some("name a host such as `ghcr.io` or `localhost:5000`".into())
            }
            RegistryError::Image { source, .. } => source.hint(),
            RegistryError::Auth(error) => error.hint(),
            _ => None,
        }
    }
}

impl Cause {
    fn hint(&self, host: &str) -> Option<String> {
        match self {
            Cause::UnknownHost => {
                Some("check the host's name, the network and /etc/resolv.conf".into())
            }
            Cause::Refused => Some(format!("check that a registry listens at `{host}`")),
            Cause::PlainHttp => Some(format!(
                "if that is meant, allow `{host}` as an insecure registry"
            )),
            Cause::Certificate(_) => Some(format!(
                "put its authority's certificate into /etc/docker/certs.d/{host}/ca.crt, or allow \
                 `{host}` as an insecure registry"
            )),
            Cause::NoAuthorities => Some("install the package `ca-certificates`".into()),
            Cause::Timeout | Cause::Dropped => Some("try again; what was fetched is kept".into()),
            _ => None,
        }
    }
}

/// An error of the image's documents, with the image's name.
pub(crate) fn of_image(name: String) -> impl FnOnce(ImageError) -> RegistryError {
    move |source| RegistryError::Image {
        name,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use gamut_spec::image::Platform;

    use super::*;

    #[test]
    fn quotes_one_clean_line() {
        assert_eq!(quoted(" a\r\nb\u{1b}[31m\u{202e}c\0 "), "a  b[31mc");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), 301);
    }

    #[test]
    fn survives_the_way_through_io() {
        let error: io::Error = RegistryError::BadRegistry("x".into()).into();
        assert!(matches!(
            RegistryError::within(&error),
            Some(RegistryError::BadRegistry(_))
        ));
        assert!(RegistryError::within(&io::Error::other("y")).is_none());
    }

    #[test]
    fn a_refused_platform_keeps_its_hint() {
        let wanted: Platform = "linux/s390x".parse().unwrap();
        let available = vec!["linux/amd64".parse().unwrap()];
        let error = of_image("nginx".into())(ImageError::NoPlatform { wanted, available });
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.hint().unwrap().contains("--platform linux/amd64"));
    }
}
