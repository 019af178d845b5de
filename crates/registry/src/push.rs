//! Pushing: blobs that a registry lacks, and the documents that name them (OCI distribution
//! specification 1.1, "Push").
//!
//! A blob goes up in one request if it is no longer than [`CHUNK_BYTES`] (as a rule), else in chunks, so that a
//! cut costs one of them. After a cut the registry is asked how much it has; one that has thrown
//! it away, as Docker's does with a chunk cut in the midst, gets the blob from its beginning.

use std::sync::Arc;

use gamut_spec::digest::Algorithm;
use gamut_spec::image::media_type::ACCEPT_MANIFESTS;
use gamut_spec::image::{Descriptor, MAX_MANIFEST_BYTES, MediaType};
use gamut_spec::{Digest, Reference};
use ureq::http::{HeaderName, HeaderValue, header};

use crate::client::Client;
use crate::error::{RegistryError, quoted};
use crate::hash::digest_of;
use crate::retry::{Attempts, Failure, patiently};
use crate::session::{Answer, At, Question, Right, Session, Wanted, location_of};
use crate::transport::{Content, Outgoing, Part};
use crate::url::Url;

/// The longest blob that is sent in one request, and the length of a chunk of a longer one, bytes.
/// Registries take pieces up to 100 MB at least; some ask for 5 MB or more.
pub const CHUNK_BYTES: u64 = 64 << 20;
/// A registry that wants chunks longer than this gets the blob in one piece.
const MAX_CHUNK_BYTES: u64 = 1 << 30;

/// Whether a registry took a blob out of another repository of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    Yes,
    /// It has none there, does not know how, or does not let us.
    No,
}

/// Whether a registry has noted what a document refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// It will list the document among the referrers of its subject.
    Noted,
    /// The client has to keep the list (the "referrers tag schema").
    Ignored,
}

/// A document that a registry has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub digest: Digest,
    pub subject: Subject,
}

/// An upload that a registry has opened.
#[derive(Debug)]
struct Upload {
    url: Url,
    /// Bytes that the registry has.
    offset: u64,
    chunk_bytes: u64,
}

impl Client {
    /// Whether the repository has a blob.
    pub fn has_blob(&self, to: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let session = self.session_of(to)?;
        let path = format!("/v2/{}/blobs/{digest}", to.repository());
        let question = Question {
            right: Right::Push,
            outgoing: Outgoing::Head,
            ..Question::get(path, to.repository(), blob(digest))
        };
        let there = patiently(self.patience(), || session.ask(&question));
        match there {
            Ok(_) => Ok(true),
            Err(RegistryError::BlobUnknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the registry take a blob from its own repository `from`.
    pub fn mount_blob(
        &self,
        to: &Reference,
        digest: &Digest,
        from: &str,
    ) -> Result<Mounted, RegistryError> {
        let session = self.session_of(to)?;
        // Neither digests nor repositories have characters that need encoding, but for a slash.
        let from_query = crate::url::percent_encode(from);
        let path = format!(
            "/v2/{}/blobs/uploads/?mount={digest}&from={from_query}",
            to.repository()
        );
        let question = Question {
            right: Right::Mount { from },
            outgoing: Outgoing::Post,
            ..Question::get(path, to.repository(), blob(digest))
        };
        let answer = match patiently(self.patience(), || session.ask(&question)) {
            Ok(answer) => answer,
            // Who may not read there, or asks a registry that does not know this, uploads.
            Err(
                RegistryError::Denied { .. }
                | RegistryError::Unexpected { .. }
                | RegistryError::BlobUnknown { .. },
            ) => return Ok(Mounted::No),
            Err(error) => return Err(error),
        };
        if answer.response.status() == 201 {
            return Ok(Mounted::Yes);
        }
        // It has opened an upload instead. What is not told to go will expire.
        if let Ok(url) = location_of(&answer) {
            let _ = session.ask(&upload_question(to, digest, &url, Outgoing::Delete));
        }
        Ok(Mounted::No)
    }

    /// Sends a blob that the repository lacks.
    pub fn push_blob(
        &self,
        to: &Reference,
        descriptor: &Descriptor,
        content: &dyn Content,
    ) -> Result<(), RegistryError> {
        let push = Push {
            session: self.session_of(to)?,
            to,
            digest: &descriptor.digest,
            size: descriptor.size,
            content,
            chunk_bytes: self.chunk_bytes(),
        };
        let mut attempts = Attempts::new(self.patience());
        let mut upload = None;
        loop {
            let before = upload.as_ref().map_or(0, |upload: &Upload| upload.offset);
            let failure = match push.go_on(&mut upload) {
                Ok(()) => return Ok(()),
                Err(failure) => failure.midway(),
            };
            if upload.as_ref().is_some_and(|upload| upload.offset > before) {
                attempts.progressed();
            }
            attempts.wait_after(failure)?;
            upload = upload.and_then(|upload| push.status(upload));
        }
    }

    /// Whether the repository has the document that `to` names.
    pub fn has_manifest(&self, to: &Reference) -> Result<bool, RegistryError> {
        let session = self.session_of(to)?;
        let path = format!("/v2/{}/manifests/{}", to.repository(), to.selector());
        let accept = HeaderValue::from_static(ACCEPT_MANIFESTS);
        let wanted = Wanted::Manifest {
            name: to.familiar(),
        };
        let question = Question {
            right: Right::Push,
            headers: vec![(header::ACCEPT, accept)],
            outgoing: Outgoing::Head,
            ..Question::get(path, to.repository(), wanted)
        };
        match patiently(self.patience(), || session.ask(&question)) {
            Ok(_) => Ok(true),
            Err(RegistryError::ManifestUnknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts a document into the repository of `to` under its digest.
    pub fn push_by_digest(
        &self,
        to: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Put, RegistryError> {
        let digest = digest_of(Algorithm::Sha256, bytes);
        self.push_manifest(&to.with_digest(digest), media_type, bytes)
    }

    /// Puts a document under a tag or under its digest, whichever `to` has. All that it names must
    /// be there.
    pub fn push_manifest(
        &self,
        to: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Put, RegistryError> {
        let host = to.registry().to_owned();
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(RegistryError::TooLarge {
                host,
                what: "manifest",
                limit_bytes: MAX_MANIFEST_BYTES,
            });
        }
        let session = self.session_of(to)?;
        let path = format!("/v2/{}/manifests/{}", to.repository(), to.selector());
        let wanted = Wanted::Manifest {
            name: to.familiar(),
        };
        let content_type =
            HeaderValue::from_str(media_type.as_str()).map_err(|_| RegistryError::Malformed {
                host: host.clone(),
                what: "media type",
                reason: "it has characters that no header can carry".into(),
            })?;
        let whole = Part {
            content: &bytes,
            offset: 0,
            length: bytes.len() as u64,
        };
        let question = Question {
            right: Right::Push,
            headers: vec![(header::CONTENT_TYPE, content_type)],
            outgoing: Outgoing::Put(whole),
            ..Question::get(path, to.repository(), wanted)
        };
        let answer = patiently(self.patience(), || session.ask(&question))?;
        let told = |name: &'static str| {
            let value = answer
                .response
                .headers()
                .get(HeaderName::from_static(name))?;
            value.to_str().ok()
        };
        let digest = digest_of(Algorithm::Sha256, bytes);
        match told("docker-content-digest") {
            // A registry may well hash with another algorithm.
            Some(kept) if kept.starts_with("sha256:") && kept != digest.to_string() => {
                let kept = quoted(kept);
                Err(RegistryError::Misfiled { host, digest, kept })
            }
            _ => Ok(Put {
                subject: match told("oci-subject") {
                    Some(_) => Subject::Noted,
                    None => Subject::Ignored,
                },
                digest,
            }),
        }
    }
}

/// One blob on its way.
struct Push<'a> {
    session: Arc<Session>,
    to: &'a Reference,
    digest: &'a Digest,
    size: u64,
    content: &'a dyn Content,
    chunk_bytes: u64,
}

impl Push<'_> {
    /// From where the upload is, or from the beginning, to the end. `upload` says how far it came.
    fn go_on(&self, upload: &mut Option<Upload>) -> Result<(), Failure> {
        let present = match upload {
            Some(present) => present,
            None => upload.insert(self.open()?),
        };
        let left = self.size - present.offset;
        if present.offset > 0 || left > present.chunk_bytes {
            while present.offset < self.size {
                if let Err(failure) = self.chunk(present) {
                    // A registry that knows no chunks gets all of it at once.
                    let refused = present.offset == 0 && refuses_chunks(&failure);
                    if !refused {
                        return Err(failure);
                    }
                    *present = self.open()?;
                    break;
                }
            }
        }
        let rest = Part {
            content: self.content,
            offset: present.offset,
            length: self.size - present.offset,
        };
        let url = present.url.clone();
        let url = url.with_query("digest", &self.digest.to_string());
        let mut question = upload_question(self.to, self.digest, &url, Outgoing::Put(rest));
        question.headers.push(octets());
        self.ask(&question).map(drop)
    }

    /// Asks something of an upload. One that the registry has forgotten, or has at another place
    /// than we think, is a cut like any other.
    fn ask(&self, question: &Question<'_>) -> Result<Answer, Failure> {
        let answer = self
            .session
            .ask(question)
            .map_err(|failure| match failure {
                Failure::Final(error) if matches!(*error, RegistryError::BlobUnknown { .. }) => {
                    Failure::Passing { error, asked: None }
                }
                other => other,
            })?;
        if answer.response.status() == 416 {
            let error = RegistryError::Unexpected {
                host: answer.url.authority(),
                status: 416,
                message: None,
            };
            return Err(Failure::passing(error, None));
        }
        Ok(answer)
    }

    fn open(&self) -> Result<Upload, Failure> {
        let path = format!("/v2/{}/blobs/uploads/", self.to.repository());
        let answer = self.session.ask(&Question {
            right: Right::Push,
            outgoing: Outgoing::Post,
            ..Question::get(path, self.to.repository(), blob(self.digest))
        })?;
        let least = answer.response.headers().get("oci-chunk-min-length");
        let least = least.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let least: u64 = least.unwrap_or(0);
        Ok(Upload {
            url: location_of(&answer)?,
            offset: 0,
            chunk_bytes: match least {
                0..=MAX_CHUNK_BYTES => least.max(self.chunk_bytes),
                _ => u64::MAX,
            },
        })
    }

    /// Sends the next chunk.
    fn chunk(&self, upload: &mut Upload) -> Result<(), Failure> {
        let length = upload.chunk_bytes.min(self.size - upload.offset);
        let chunk = Part {
            content: self.content,
            offset: upload.offset,
            length,
        };
        let mut question =
            upload_question(self.to, self.digest, &upload.url, Outgoing::Patch(chunk));
        let range = format!("{}-{}", upload.offset, upload.offset + length - 1);
        if let Ok(range) = HeaderValue::from_str(&range) {
            question
                .headers
                .extend([octets(), (header::CONTENT_RANGE, range)]);
        }
        let answer = self.ask(&question)?;
        upload.url = location_of(&answer)?;
        upload.offset += length;
        Ok(())
    }

    /// The upload as the registry has it after a cut; `None`: it is to be begun anew.
    fn status(&self, upload: Upload) -> Option<Upload> {
        let question = upload_question(self.to, self.digest, &upload.url, Outgoing::Get);
        let answer = self.session.ask(&question).ok()?;
        if answer.response.status() != 204 {
            return None;
        }
        let range = answer
            .response
            .headers()
            .get(header::RANGE)?
            .to_str()
            .ok()?;
        let (first, last) = range.trim_start_matches("bytes=").split_once('-')?;
        let last: u64 = last.parse().ok()?;
        // `0-0` is said of nothing as well as of one byte; Docker's registry says it of nothing.
        let offset = if last == 0 { 0 } else { last + 1 };
        (first == "0" && offset <= self.size).then_some(())?;
        Some(Upload {
            url: location_of(&answer).unwrap_or(upload.url),
            offset,
            chunk_bytes: upload.chunk_bytes,
        })
    }
}

/// Some registries know the closing request only.
fn refuses_chunks(failure: &Failure) -> bool {
    matches!(failure, Failure::Final(error) if matches!(**error,
        RegistryError::Unexpected { status: 400 | 405 | 411 | 413 | 415 | 501, .. }))
}

fn blob(digest: &Digest) -> Wanted {
    Wanted::Blob {
        digest: digest.clone(),
    }
}

fn octets() -> (HeaderName, HeaderValue) {
    let octets = HeaderValue::from_static("application/octet-stream");
    (header::CONTENT_TYPE, octets)
}

fn upload_question<'a>(
    to: &'a Reference,
    digest: &Digest,
    url: &Url,
    outgoing: Outgoing<'a>,
) -> Question<'a> {
    Question {
        at: At::Url(url.clone()),
        repository: to.repository(),
        right: Right::Push,
        headers: Vec::new(),
        outgoing,
        wanted: blob(digest),
    }
}
