//! A file by its URL: what `import` and stores of signatures are given. No credentials go along.

use std::io::{self, Read};

use ureq::http::header;

use crate::client::Options;
use crate::error::{RegistryError, quoted};
use crate::proxy::ProxySettings;
use crate::tls::Trust;
use crate::transport::{Outgoing, Transport};
use crate::url::{Scheme, Url};

/// How often one download may be sent elsewhere.
const REDIRECTS_LIMIT: usize = 5;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("`{0}` is no URL of the schemes http and https")]
    Url(String),
    #[error("there is no `{0}`")]
    NotFound(String),
    #[error("`{url}` failed with status {status}")]
    Status { url: String, status: u16 },
    #[error("`{url}` leads to `{to}`: {why}")]
    Redirect {
        url: String,
        to: String,
        why: &'static str,
    },
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl gamut_spec::Fault for DownloadError {
    fn kind(&self) -> gamut_spec::Kind {
        match self {
            Self::Url(_) | Self::Redirect { .. } => gamut_spec::Kind::Invalid,
            Self::NotFound(_) => gamut_spec::Kind::NotFound,
            Self::Status { .. } => gamut_spec::Kind::Unavailable,
            Self::Registry(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            _ => None,
        }
    }
}

/// Whether a text is the URL of something that can be downloaded.
pub fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|s| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https"))
}

/// The content at a URL. Redirects are followed, but never from TLS to plain text. How long the
/// content is, is for the caller to bound.
pub fn download(url: &str, options: &Options) -> Result<impl Read + Send + use<>, DownloadError> {
    let proxies = ProxySettings::from_env(|name| std::env::var(name).ok());
    let transport = Transport::new(proxies, options.timeouts, options.user_agent.clone());
    let mut at = Url::parse(url).ok_or_else(|| DownloadError::Url(quoted(url)))?;
    for _ in 0..=REDIRECTS_LIMIT {
        let answer = transport.exchange(&at, &Trust::System, &[], &Outgoing::Get)?;
        let status = answer.status().as_u16();
        match status {
            200 => return Ok(answer.into_body().into_reader()),
            301 | 302 | 303 | 307 | 308 => {}
            404 | 410 => return Err(DownloadError::NotFound(at.to_string())),
            _ => {
                let url = at.to_string();
                return Err(DownloadError::Status { url, status });
            }
        }
        let location = answer.headers().get(header::LOCATION);
        let to = location.and_then(|to| to.to_str().ok()).unwrap_or_default();
        let refused = |why| DownloadError::Redirect {
            url: at.to_string(),
            to: quoted(to.split('?').next().unwrap_or_default()),
            why,
        };
        let next = at.join(to).ok_or_else(|| refused("that is no URL"))?;
        if at.scheme == Scheme::Https && next.scheme == Scheme::Http {
            return Err(refused("from TLS to plain text"));
        }
        at = next;
    }
    let error = io::Error::other("too many redirects");
    Err(transport.broken(&at, error).into())
}
