//! Image references: `nginx`, `ghcr.io/org/app:1.2`, `[::1]:5000/x@sha256:…`.
//!
//! The grammar and the normalisation are those of github.com/distribution/reference
//! (`ParseNormalizedNamed` followed by `TagNameOnly`), so that a name means here what it means to
//! Docker. A [`Reference`] that exists is valid: its parts may stand in a URL path as they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::{Digest, DigestError};
use crate::fault::{Fault, Kind};

/// The registry that a name without a host means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag that a name without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";
/// The longest repository path, in bytes (`RepositoryNameTotalLengthMax`).
pub const MAX_REPOSITORY_BYTES: usize = 255;
/// The longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 128;

const LEGACY_REGISTRY: &str = "index.docker.io";
const OFFICIAL: &str = "library/";

/// A normalised name of an image: where it is, what it is called, which one of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("the image name is empty")]
    Empty,
    #[error("`{0}` is not an image name: 64 hexadecimal digits are an image id")]
    Identifier(String),
    #[error("`{0}` is not an image name: the repository must be lower-case")]
    Uppercase(String),
    #[error("`{text}` is not an image name: {what}")]
    Format { text: String, what: &'static str },
    #[error("`{text}` is not an image name: {source}")]
    Digest { text: String, source: DigestError },
}

impl Fault for ReferenceError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            ReferenceError::Uppercase(text) => Some(format!("try `{}`", text.to_lowercase())),
            ReferenceError::Digest { source, .. } => source.hint(),
            _ => Some(
                "write it as [HOST[:PORT]/]NAME[:TAG][@DIGEST], for example `nginx:1.27`".into(),
            ),
        }
    }
}

impl Reference {
    /// The registry's host, with its port if one was given: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. With a digest beside it, the digest decides and the tag is only told.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index that is meant.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `docker.io/library/nginx`: without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as people write it: `nginx`, `org/app`, `ghcr.io/org/app`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = match self.repository.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.repository,
        };
        // `docker.io/quay.io/app` cannot be shortened: that would be another registry's.
        match split_registry(short) == (DEFAULT_REGISTRY, short) {
            true => short.to_owned(),
            false => self.name(),
        }
    }

    /// The whole reference as people write it: `nginx:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The host that answers the distribution API for this registry.
    pub fn api_host(&self) -> &str {
        match self.registry.as_str() {
            DEFAULT_REGISTRY => "registry-1.docker.io",
            other => other,
        }
    }

    /// Whether the registry is this machine, as far as its name tells: `localhost`, 127.0.0.0/8
    /// or `[::1]`. Docker lets such registries speak plain HTTP.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.registry)
    }

    /// The same image by another tag; the digest goes.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        check_tag(tag, tag)?;
        Ok(Reference {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository, addressed by digest only.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// What stands behind `/manifests/` in the distribution API: the digest, else the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}"));
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}"));
        tag.unwrap_or_default() + &digest.unwrap_or_default()
    }
}

/// Whether `host` (with or without a port) names this machine: `localhost`, 127.0.0.0/8, `[::1]`.
pub fn is_loopback_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.split(']').next().unwrap_or_default();
        return address
            .parse::<std::net::Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost"
        || name
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Reference {
    /// The canonical form: `docker.io/library/nginx:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if is_identifier(text) {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (registry, remainder) = split_registry(text);
        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder, None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        check_registry(registry, text)?;
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if official {
            format!("{OFFICIAL}{path}")
        } else {
            path.to_owned()
        };
        check_repository(&repository, text)?;
        if let Some(tag) = tag {
            check_tag(tag, text)?;
        }
        let digest = digest
            .map(str::parse::<Digest>)
            .transpose()
            .map_err(|source| ReferenceError::Digest {
                text: text.to_owned(),
                source,
            })?;
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Reference {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `splitDockerDomain`: the first component is a host if it looks like one.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn wrong(text: &str, what: &'static str) -> ReferenceError {
    ReferenceError::Format {
        text: text.to_owned(),
        what,
    }
}

/// `domainAndPort`: domain components or a bracketed IPv6 address, then perhaps a port.
fn check_registry(registry: &str, text: &str) -> Result<(), ReferenceError> {
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        let (address, after) = rest
            .split_once(']')
            .ok_or_else(|| wrong(text, "the registry's address has no closing bracket"))?;
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return Err(wrong(text, "the registry's IPv6 address is malformed"));
        }
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return Err(wrong(text, "there is something after the closing bracket")),
        }
    } else {
        match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        }
    };
    let port_fits = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !port.is_none_or(port_fits) {
        return Err(wrong(text, "the registry's port is malformed"));
    }
    let component = |part: &str| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if host.is_some_and(|host| !host.split('.').all(component)) {
        return Err(wrong(text, "the registry's host name is malformed"));
    }
    Ok(())
}

/// `remoteName`: path components of lower-case letters and digits, joined within by `.`, `_`,
/// `__` or any number of `-`.
fn check_repository(repository: &str, text: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase(text.to_owned()));
    }
    if repository.len() > MAX_REPOSITORY_BYTES {
        return Err(wrong(text, "the repository is longer than 255 characters"));
    }
    if !repository.split('/').all(is_path_component) {
        return Err(wrong(
            text,
            "a repository has letters a-z, digits and single separators `.`, `_`, `__`, `-`",
        ));
    }
    Ok(())
}

fn is_path_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !part.starts_with(alphanumeric) || !part.ends_with(alphanumeric) {
        return false;
    }
    part.split(alphanumeric).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
    })
}

/// `[\w][\w.-]{0,127}`
fn check_tag(tag: &str, text: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fits = tag.bytes().next().is_some_and(word)
        && tag.len() <= MAX_TAG_BYTES
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    if fits {
        return Ok(());
    }
    Err(wrong(
        text,
        "a tag has up to 128 letters, digits, `_`, `.` and `-`, and begins with neither `.` nor `-`",
    ))
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
