//! The client: images by name, documents checked against their digests.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use gamut_spec::digest::Algorithm;
use gamut_spec::image::{
    Descriptor, Document, ImageConfig, ImageError, MAX_CONFIG_BYTES, MAX_INDEX_DEPTH,
    MAX_MANIFEST_BYTES, Manifest, Platform, media_type::ACCEPT_MANIFESTS,
};
use gamut_spec::reference::is_loopback_host;
use gamut_spec::{Digest, Reference};
use ureq::http::{HeaderName, HeaderValue, Response, header};

use crate::auth::{AuthFiles, AuthSource, Credentials, Stored};
use crate::blob::BlobReader;
use crate::error::{RegistryError, of_image, quoted};
use crate::hash::digest_of;
use crate::proxy::ProxySettings;
use crate::push::CHUNK_BYTES;
use crate::retry::{Failure, Patience, patiently};
use crate::session::{PlainHttp, Question, Session, Wanted};
use crate::tls::{Trust, credentials_for};
use crate::transport::{Timeouts, Transport};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    pub auth: AuthSource,
    /// Registries (`host`, `host:port` or `*.domain`) whose certificate is not checked and that may speak plain
    /// HTTP. This machine's own are such without being listed.
    pub insecure: Vec<String>,
    /// Directories with `HOST[:PORT]/*.crt`.
    pub certificates: Vec<PathBuf>,
    /// A directory with such files for every registry.
    pub own_certificates: Option<PathBuf>,
    pub timeouts: Timeouts,
    pub patience: Patience,
    /// The longest piece of a blob that is sent in one request.
    pub chunk_bytes: u64,
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            auth: AuthSource::Anonymous,
            insecure: Vec::new(),
            certificates: vec![
                "/etc/docker/certs.d".into(),
                "/etc/containers/certs.d".into(),
            ],
            own_certificates: None,
            timeouts: Timeouts::default(),
            patience: Patience::default(),
            chunk_bytes: CHUNK_BYTES,
            user_agent: format!("gamut/{}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// A manifest or index, read and checked, and its bytes as they came.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its media type, digest and length.
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
    pub document: Document,
}

/// What a name leads to on one platform.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The documents on the way, from what the name stands for to the image's manifest; one or
    /// more.
    pub documents: Vec<Fetched>,
    /// The last one's content.
    pub manifest: Manifest,
}

/// Talks to registries. Cloning is cheap; clones share connections, tokens and what was learnt.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    transport: Arc<Transport>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

impl Client {
    /// A client with proxies as the environment says.
    pub fn new(options: Options) -> Client {
        let proxies = ProxySettings::from_env(|name| std::env::var(name).ok());
        let transport = Transport::new(proxies, options.timeouts, options.user_agent.clone());
        Client {
            shared: Arc::new(Shared {
                options,
                transport: Arc::new(transport),
                sessions: Mutex::default(),
            }),
        }
    }

    /// The same client for what may as well fail: it tries everything once. Connections and tokens are
    /// shared as they are now.
    pub fn once(&self) -> Client {
        let shared = &self.shared;
        let sessions = shared.sessions.lock();
        let sessions = sessions.unwrap_or_else(PoisonError::into_inner).clone();
        Client {
            shared: Arc::new(Shared {
                options: Options {
                    patience: Patience {
                        retries: 0,
                        ..shared.options.patience
                    },
                    ..shared.options.clone()
                },
                transport: shared.transport.clone(),
                sessions: Mutex::new(sessions),
            }),
        }
    }

    /// The document that `reference` names, which may be an index.
    pub fn manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        self.fetch(reference, &reference.selector(), reference.digest())
    }

    /// The document of an index's entry.
    pub fn manifest_at(
        &self,
        reference: &Reference,
        entry: &Descriptor,
    ) -> Result<Fetched, RegistryError> {
        self.fetch(reference, &entry.digest.to_string(), Some(&entry.digest))
    }

    /// The image that `reference` names for `platform`. A name that leads to one image rather than
    /// to an index is taken as it is; its configuration tells its platform.
    pub fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Resolved, RegistryError> {
        let mut documents = vec![self.manifest(reference)?];
        let mut last = documents[0].document.clone();
        loop {
            let index = match last {
                Document::Manifest(manifest) => {
                    return Ok(Resolved {
                        documents,
                        manifest: *manifest,
                    });
                }
                Document::Index(index) => index,
            };
            let named = || of_image(reference.familiar());
            if documents.len() > MAX_INDEX_DEPTH {
                return Err(named()(ImageError::TooDeep));
            }
            let entry = index.select(platform).map_err(named())?;
            let fetched = self.manifest_at(reference, entry)?;
            last = fetched.document.clone();
            documents.push(fetched);
        }
    }

    /// An image's configuration, and its bytes as they came.
    pub fn config(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<(ImageConfig, Vec<u8>), RegistryError> {
        let bytes = self.document(
            reference,
            descriptor,
            "image configuration",
            MAX_CONFIG_BYTES,
        )?;
        let config = ImageConfig::parse(&bytes).map_err(of_image(reference.familiar()))?;
        Ok((config, bytes))
    }

    /// A whole blob, checked; `what` it is, is for messages.
    pub fn document(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        what: &'static str,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let host = reference.registry().to_owned();
        if descriptor.size > limit_bytes {
            return Err(RegistryError::TooLarge {
                host,
                what,
                limit_bytes,
            });
        }
        let mut bytes = Vec::new();
        self.blob(reference, descriptor, 0)?
            .read_to_end(&mut bytes)
            .map_err(|error| match error.downcast::<RegistryError>() {
                Ok(error) => error,
                Err(error) => RegistryError::Malformed {
                    host: host.clone(),
                    what,
                    reason: error.to_string(),
                },
            })?;
        check_digest(&host, what, &bytes, &descriptor.digest)?;
        Ok(bytes)
    }

    /// A blob from byte `start` on. The reader takes up dropped connections by itself and gives
    /// exactly as many bytes as the descriptor says, or an error; whether they hash to the digest
    /// is for who stores them to check.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        start: u64,
    ) -> Result<BlobReader, RegistryError> {
        self.blob_part(reference, descriptor, start..descriptor.size)
    }

    /// The same for a part of a blob.
    ///
    /// # Errors
    /// [`RegistryError::NoRanges`]: the registry gives whole blobs only.
    pub fn blob_part(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        part: Range<u64>,
    ) -> Result<BlobReader, RegistryError> {
        let session = self.session(reference.registry(), reference.api_host())?;
        let patience = self.shared.options.patience;
        BlobReader::open(session, reference, descriptor, part, patience)
    }

    /// Shows `credentials` to `registry`, and if they are taken, keeps them in `files`.
    /// `registry` is as [`registry_name`] gives it.
    pub fn login(
        &self,
        registry: &str,
        credentials: &Credentials,
        files: &AuthFiles,
    ) -> Result<Stored, RegistryError> {
        let registry = registry_name(registry)?;
        // A client of its own: what this one knows, it knows by other credentials.
        let asker = Client::new(Options {
            auth: AuthSource::Given {
                registry: registry.clone(),
                credentials: credentials.clone(),
            },
            ..self.shared.options.clone()
        });
        asker.check_access(&registry)?;
        Ok(files.store(&registry, credentials)?)
    }

    /// Asks `/v2/`, the door of every registry.
    fn check_access(&self, registry: &str) -> Result<(), RegistryError> {
        let session = self.session(registry, api_host(registry))?;
        patiently(self.shared.options.patience, || {
            session.ask(&Question::get("/v2/".into(), "", Wanted::Login))?;
            Ok(())
        })
    }

    pub(crate) fn patience(&self) -> Patience {
        self.shared.options.patience
    }

    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.shared.options.chunk_bytes
    }

    /// The session with the registry of `reference`.
    pub(crate) fn session_of(&self, reference: &Reference) -> Result<Arc<Session>, RegistryError> {
        self.session(reference.registry(), reference.api_host())
    }

    fn session(&self, registry: &str, api_host: &str) -> Result<Arc<Session>, RegistryError> {
        let mut sessions = self
            .shared
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(registry) {
            return Ok(session.clone());
        }
        let options = &self.shared.options;
        let listed = options
            .insecure
            .iter()
            .any(|name| match name.strip_prefix("*.") {
                Some(domain) => registry
                    .strip_suffix(domain)
                    .is_some_and(|below| below.ends_with('.')),
                None => name == registry,
            });
        let (trust, plain) = if listed || is_loopback_host(registry) {
            (Trust::Anyone, PlainHttp::Allowed)
        } else {
            let mut names = vec![registry, api_host];
            names.dedup();
            let own = options.own_certificates.as_deref();
            let found = credentials_for(&options.certificates, &names, own)?;
            let trust = if found.is_empty() {
                Trust::System
            } else {
                Trust::Also {
                    registry: registry.to_owned(),
                    found: Arc::new(found),
                }
            };
            (trust, PlainHttp::Refused)
        };
        let session = Arc::new(Session::new(
            self.shared.transport.clone(),
            options.auth.clone(),
            registry.to_owned(),
            api_host.to_owned(),
            trust,
            plain,
        ));
        sessions.insert(registry.to_owned(), session.clone());
        Ok(session)
    }

    fn fetch(
        &self,
        reference: &Reference,
        selector: &str,
        expected: Option<&Digest>,
    ) -> Result<Fetched, RegistryError> {
        let session = self.session(reference.registry(), reference.api_host())?;
        let accept = HeaderValue::from_static(ACCEPT_MANIFESTS);
        let path = format!("/v2/{}/manifests/{selector}", reference.repository());
        let wanted = Wanted::Manifest {
            name: reference.familiar(),
        };
        let question = Question {
            headers: vec![(header::ACCEPT, accept), identity()],
            ..Question::get(path, reference.repository(), wanted)
        };
        let (parts, bytes) = patiently(self.shared.options.patience, || {
            let answer = session.ask(&question)?;
            let (parts, body) = answer.response.into_parts();
            let bytes = session
                .transport()
                .read_bounded(body, MAX_MANIFEST_BYTES)
                .map_err(|error| session.transport().broken(&answer.url, error))?;
            let bytes = bytes.ok_or_else(|| RegistryError::TooLarge {
                host: reference.registry().to_owned(),
                what: "manifest",
                limit_bytes: MAX_MANIFEST_BYTES,
            })?;
            Ok::<_, Failure>((Response::from_parts(parts, ()), bytes))
        })?;
        let told = |name: HeaderName| parts.headers().get(name).and_then(|v| v.to_str().ok());
        let expected = match expected {
            Some(expected) => Some(expected.clone()),
            None => told(HeaderName::from_static("docker-content-digest"))
                .map(|text| self.told_digest(reference, text))
                .transpose()?,
        };
        let digest = match expected {
            Some(digest) => {
                check_digest(reference.registry(), "manifest", &bytes, &digest)?;
                digest
            }
            None => digest_of(Algorithm::Sha256, &bytes),
        };
        let document = Document::parse(&bytes, told(header::CONTENT_TYPE))
            .map_err(of_image(reference.familiar()))?;
        Ok(Fetched {
            descriptor: Descriptor::new(document.media_type(), digest, bytes.len() as u64),
            bytes,
            document,
        })
    }

    fn told_digest(&self, reference: &Reference, text: &str) -> Result<Digest, RegistryError> {
        text.parse().map_err(|_| RegistryError::Malformed {
            host: reference.registry().to_owned(),
            what: "Docker-Content-Digest",
            reason: format!("`{}` is not a digest", quoted(text)),
        })
    }
}

/// The registry that `gamut login` was given, as images name it: `https://ghcr.io/` is `ghcr.io`,
/// nothing and `https://index.docker.io/v1/` are `docker.io`.
pub fn registry_name(text: &str) -> Result<String, RegistryError> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let host = rest.split('/').next().unwrap_or_default();
    if matches!(host, "" | "index.docker.io" | "registry-1.docker.io") {
        return Ok(gamut_spec::reference::DEFAULT_REGISTRY.to_owned());
    }
    // A host is whatever an image's name may begin with.
    match format!("{host}/x").parse::<Reference>() {
        Ok(reference) if reference.registry() == host => Ok(host.to_owned()),
        _ => Err(RegistryError::BadRegistry(quoted(text))),
    }
}

fn api_host(registry: &str) -> &str {
    match registry {
        gamut_spec::reference::DEFAULT_REGISTRY => "registry-1.docker.io",
        other => other,
    }
}

/// Asks for the bytes themselves: a compressed transfer would have other offsets.
pub(crate) fn identity() -> (HeaderName, HeaderValue) {
    (
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    )
}

fn check_digest(
    host: &str,
    what: &'static str,
    bytes: &[u8],
    expected: &Digest,
) -> Result<(), RegistryError> {
    let actual = digest_of(expected.algorithm(), bytes);
    if actual == *expected {
        return Ok(());
    }
    Err(RegistryError::WrongDigest {
        what: format!("the {what} from `{host}`"),
        expected: expected.clone(),
        actual,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_as_images_name_them() {
        for (text, name) in [
            ("", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("https://ghcr.io/", "ghcr.io"),
            ("localhost:5000", "localhost:5000"),
            ("http://localhost:5000/v2/", "localhost:5000"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(registry_name(text).unwrap(), name, "{text}");
        }
        for text in ["nginx", "a b", "x@y.io", "http://", "-x.io"] {
            let named = registry_name(text);
            assert!(named.is_err() || text == "http://", "{text}: {named:?}");
        }
    }

    #[test]
    fn hashes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(Algorithm::Sha256, b"").to_string(), empty);
        check_digest("h", "manifest", b"", &empty.parse().unwrap()).unwrap();
        check_digest("h", "manifest", b"x", &empty.parse().unwrap()).unwrap_err();
        let long = digest_of(Algorithm::Sha512, b"x");
        check_digest("h", "manifest", b"x", &long).unwrap();
    }
}
