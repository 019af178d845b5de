//! What a registry can be asked.

use gamut_spec::Digest;
use ureq::http::{HeaderName, HeaderValue};

use crate::transport::Outgoing;
use crate::url::Url;

/// What is asked for: it decides what a refusal means.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// A document, or to put one there.
    Manifest {
        name: String,
    },
    /// A blob, or a place for one.
    Blob {
        digest: Digest,
    },
    /// A list of what a repository has, by what it is a list of.
    List {
        of: String,
    },
    Login,
}

/// What must be allowed for a question to be answered
/// (<https://distribution.github.io/distribution/spec/auth/scope/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right<'a> {
    Pull,
    Push,
    /// To push, and to take a blob out of another repository.
    Mount {
        from: &'a str,
    },
    /// To list all repositories.
    Catalog,
    /// To search, which takes none.
    Search,
}

/// Where it is asked.
#[derive(Debug, Clone)]
pub(crate) enum At {
    /// A path of the registry's own API; begins with `/v2/`.
    Path(String),
    /// Where the registry said.
    Url(Url),
}

/// One request to a registry.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) at: At,
    /// Empty: none in particular.
    pub(crate) repository: &'a str,
    pub(crate) right: Right<'a>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) outgoing: Outgoing<'a>,
    pub(crate) wanted: Wanted,
}

impl<'a> Question<'a> {
    /// A plain question: GET, with the right to pull.
    pub(crate) fn get(path: String, repository: &'a str, wanted: Wanted) -> Question<'a> {
        Question {
            at: At::Path(path),
            repository,
            right: Right::Pull,
            headers: Vec::new(),
            outgoing: Outgoing::Get,
            wanted,
        }
    }

    /// The scope that a token must have for this.
    pub(crate) fn scope(&self) -> String {
        let repository = self.repository;
        match self.right {
            Right::Catalog => "registry:catalog:*".into(),
            Right::Search => String::new(),
            _ if repository.is_empty() => String::new(),
            Right::Pull => format!("repository:{repository}:pull"),
            Right::Push => format!("repository:{repository}:pull,push"),
            Right::Mount { from } => {
                format!("repository:{repository}:pull,push repository:{from}:pull")
            }
        }
    }
}
