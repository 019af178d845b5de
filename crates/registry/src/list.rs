//! Lists: a repository's tags, a document's referrers, a registry's repositories, and what a search
//! finds. They come in pages; how many are read has limits.

use gamut_spec::image::{Descriptor, Document, Index, MAX_MANIFEST_BYTES, MediaType};
use gamut_spec::reference::DEFAULT_REGISTRY;
use gamut_spec::{Digest, Reference};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::header;

use crate::client::Client;
use crate::error::RegistryError;
use crate::retry::{Failure, patiently};
use crate::session::{Answer, At, Question, Right, Wanted};
use crate::url::{Url, percent_encode};

/// The largest page of a list, bytes.
pub const MAX_LIST_BYTES: u64 = MAX_MANIFEST_BYTES;
/// The most entries of a list that are read.
pub const MAX_LIST_ENTRIES: usize = 100_000;
/// The most pages of a list that are read.
const MAX_PAGES: usize = 2000;
/// Entries that are asked for at a time.
const PAGE_ENTRIES: usize = 1000;

/// Docker Hub searches elsewhere than it serves.
const HUB_SEARCH: &str = "index.docker.io";

/// One thing that a search has found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// A repository, as the registry names it.
    #[serde(default, alias = "repo_name")]
    pub name: String,
    #[serde(default, alias = "short_description")]
    pub description: String,
    #[serde(default)]
    pub star_count: u64,
    #[serde(default)]
    pub is_official: bool,
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Found>,
}

impl Client {
    /// The tags of a repository, as the registry orders them.
    pub fn tags(&self, repository: &Reference) -> Result<Vec<String>, RegistryError> {
        let name = repository.repository();
        let path = format!("/v2/{name}/tags/list?n={PAGE_ENTRIES}");
        let list = List {
            client: self,
            repository,
            right: Right::Pull,
            of: format!("tags of `{}`", repository.familiar_name()),
        };
        list.pages(At::Path(path), |page: Tags| page.tags.unwrap_or_default())
    }

    /// What refers to a document: signatures, SBOMs, attestations. `artifact_type` leaves out all of
    /// other types. Registries that do not know referrers have them in an index tagged with the
    /// digest ("referrers tag schema").
    pub fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let name = repository.repository();
        let mut path = format!("/v2/{name}/referrers/{subject}");
        if let Some(artifact_type) = artifact_type {
            path += &format!("?artifactType={}", percent_encode(artifact_type));
        }
        let list = List {
            client: self,
            repository,
            right: Right::Pull,
            of: format!("referrers of {subject}"),
        };
        let mut found = match list.pages(At::Path(path), |page: Index| page.manifests) {
            Ok(found) => found,
            Err(RegistryError::NoList { .. }) => self.tagged_referrers(repository, subject)?,
            Err(error) => return Err(error),
        };
        // The filter is the registry's to apply or not.
        if let Some(wanted) = artifact_type {
            found.retain(|entry| entry.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    /// The list that clients keep where the registry does not; none is an empty one.
    pub fn tagged_referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let tag = referrers_tag(repository, subject)?;
        match self.manifest(&tag) {
            Ok(fetched) => Ok(match fetched.document {
                Document::Index(index) => index.manifests,
                Document::Manifest(_) => Vec::new(),
            }),
            Err(RegistryError::ManifestUnknown { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds a document to the list that clients keep of its subject's referrers: to be called when
    /// the registry does not ([`crate::Subject::Ignored`]). Two who do so at once may lose one of the
    /// two: the specification has no lock.
    pub fn note_referrer(
        &self,
        repository: &Reference,
        subject: &Digest,
        referrer: &Descriptor,
    ) -> Result<(), RegistryError> {
        let mut manifests = self.tagged_referrers(repository, subject)?;
        if manifests
            .iter()
            .any(|known| known.digest == referrer.digest)
        {
            return Ok(());
        }
        manifests.push(referrer.clone());
        let index = Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: None,
        };
        // Cannot fail: there is nothing in it but text and numbers.
        let bytes = serde_json::to_vec(&index).unwrap_or_default();
        let tag = referrers_tag(repository, subject)?;
        self.push_manifest(&tag, &MediaType::OciIndex, &bytes)
            .map(drop)
    }

    /// The repositories of a registry that have `term` in their name, as far as it tells.
    pub fn search(
        &self,
        registry: &Reference,
        term: &str,
        limit: usize,
    ) -> Result<Vec<Found>, RegistryError> {
        let query = format!("q={}&n={limit}", percent_encode(term));
        let list = |right, of: &str| List {
            client: self,
            repository: registry,
            right,
            of: of.to_owned(),
        };
        let path = format!("/v1/search?{query}");
        let searched = list(Right::Search, "search results");
        let at = match registry.registry() {
            DEFAULT_REGISTRY => Url::parse(&format!("https://{HUB_SEARCH}{path}")).map(At::Url),
            _ => None,
        };
        let results = |page: Results| page.results;
        let mut found = match searched.pages(at.unwrap_or(At::Path(path)), results) {
            Ok(found) => found,
            Err(
                RegistryError::NoList { .. }
                | RegistryError::Malformed { .. }
                | RegistryError::Unexpected { .. },
            ) => {
                let path = format!("/v2/_catalog?n={PAGE_ENTRIES}");
                let names = list(Right::Catalog, "repositories")
                    .pages(At::Path(path), |page: Catalog| {
                        page.repositories.unwrap_or_default()
                    })?;
                let suits = names.into_iter().filter(|name| name.contains(term));
                suits.map(Found::named).collect()
            }
            Err(error) => return Err(error),
        };
        found.truncate(limit);
        Ok(found)
    }
}

impl Found {
    fn named(name: String) -> Found {
        Found {
            name,
            description: String::new(),
            star_count: 0,
            is_official: false,
            is_automated: false,
        }
    }
}

/// The tag that has the referrers of `subject`: `sha256-…`.
pub fn referrers_tag(repository: &Reference, subject: &Digest) -> Result<Reference, RegistryError> {
    let tag = subject.to_string().replace(':', "-");
    // `sha512-` and 128 digits are longer than a tag may be: the specification cuts them.
    let tag = tag
        .get(..gamut_spec::reference::MAX_TAG_BYTES)
        .unwrap_or(&tag);
    repository
        .with_tag(tag)
        .map_err(|_| RegistryError::BadRegistry(tag.to_owned()))
}

/// A list that is being asked for.
struct List<'a> {
    client: &'a Client,
    repository: &'a Reference,
    right: Right<'a>,
    of: String,
}

impl List<'_> {
    /// All entries of all pages.
    fn pages<P: DeserializeOwned, T>(
        &self,
        mut at: At,
        entries: impl Fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, RegistryError> {
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let (page, next) = self.page(at)?;
            all.extend(entries(page));
            if all.len() > MAX_LIST_ENTRIES {
                break;
            }
            match next {
                Some(next) => at = At::Url(next),
                None => return Ok(all),
            }
        }
        Err(RegistryError::TooLarge {
            host: self.repository.registry().to_owned(),
            what: "list",
            limit_bytes: MAX_LIST_ENTRIES as u64,
        })
    }

    fn page<P: DeserializeOwned>(&self, at: At) -> Result<(P, Option<Url>), RegistryError> {
        let session = self.client.session_of(self.repository)?;
        let host = || self.repository.registry().to_owned();
        let repository = match self.right {
            Right::Pull => self.repository.repository(),
            _ => "",
        };
        let question = Question {
            at,
            right: self.right,
            ..Question::get(
                String::new(),
                repository,
                Wanted::List {
                    of: self.of.clone(),
                },
            )
        };
        let (bytes, next) = patiently(self.client.patience(), || {
            let answer = session.ask(&question)?;
            let next = next_page(&answer);
            let (parts, body) = answer.response.into_parts();
            // An API that is not there may be answered with a page for people.
            if parts.headers.get(header::CONTENT_TYPE).is_some_and(is_html) {
                let of = self.of.clone();
                return Err(RegistryError::NoList { host: host(), of }.into());
            }
            let bytes = session
                .transport()
                .read_bounded(body, MAX_LIST_BYTES)
                .map_err(|error| session.transport().broken(&answer.url, error))?;
            let bytes = bytes.ok_or_else(|| RegistryError::TooLarge {
                host: host(),
                what: "list",
                limit_bytes: MAX_LIST_BYTES,
            })?;
            Ok::<_, Failure>((bytes, next))
        })?;
        let page = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Malformed {
            host: host(),
            what: "list",
            reason: error.to_string(),
        })?;
        Ok((page, next))
    }
}

fn is_html(value: &ureq::http::HeaderValue) -> bool {
    value.as_bytes().starts_with(b"text/html")
}

/// `Link: <…>; rel="next"` (RFC 8288), if it stays with the registry.
fn next_page(answer: &Answer) -> Option<Url> {
    let link = answer.response.headers().get(header::LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = rest.replace(' ', "");
    if !next.contains("rel=\"next\"") && !next.contains("rel=next") {
        return None;
    }
    let url = answer.url.join(target)?;
    url.same_origin(&answer.url).then_some(url)
}
