//! One registry, as a client sees it while it runs: which scheme it speaks, how it wants to be
//! convinced ([`access`]), what its refusals mean ([`verdict`]), where it redirects to.
//!
//! A request here is one attempt: what may pass comes back as [`Failure::Passing`], and whoever
//! asked decides whether to try again. [`question`] has what can be asked.

mod access;
mod question;
mod verdict;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use ureq::Body;
use ureq::http::{HeaderName, HeaderValue, Response, header};

pub(crate) use self::question::{At, Question, Right, Wanted};
use self::verdict::Side;
use crate::auth::{AuthSource, Credentials, Secret};
use crate::challenge::Challenge;
use crate::error::RegistryError;
use crate::retry::Failure;
use crate::tls::Trust;
use crate::token::Tokens;
use crate::transport::{Outgoing, Transport};
use crate::url::{Scheme, Url};

const MAX_REDIRECTS: usize = 5;
/// The longest error message that is read, bytes.
const MAX_ERROR_BYTES: u64 = 64 * 1024;

/// What came back, and from where in the end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) url: Url,
    pub(crate) response: Response<Body>,
}

/// What is known of one registry.
#[derive(Debug)]
pub(crate) struct Session {
    transport: Arc<Transport>,
    auth: AuthSource,
    /// As images name it.
    registry: String,
    /// Where its API is: `host` or `host:port`.
    api_host: String,
    trust: Trust,
    plain: PlainHttp,
    scheme: OnceLock<Scheme>,
    challenge: Mutex<Option<Challenge>>,
    tokens: Tokens,
    credentials: Mutex<HashMap<String, Option<Credentials>>>,
}

/// Whether a registry may be spoken to without TLS where TLS fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    Allowed,
    Refused,
}

impl Session {
    pub(crate) fn new(
        transport: Arc<Transport>,
        auth: AuthSource,
        registry: String,
        api_host: String,
        trust: Trust,
        plain: PlainHttp,
    ) -> Session {
        Session {
            transport,
            auth,
            registry,
            api_host,
            trust,
            plain,
            scheme: OnceLock::new(),
            challenge: Mutex::default(),
            tokens: Tokens::default(),
            credentials: Mutex::default(),
        }
    }

    /// The registry as images name it.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Asks once: with what the registry is known to want, again with what it then wants, and on
    /// through redirects.
    pub(crate) fn ask(&self, question: &Question) -> Result<Answer, Failure> {
        let mut shown = self.known_authorization(question)?;
        let mut answer = self.ask_registry(question, shown.as_ref())?;
        if let Some(challenge) = challenge_of(&answer.response) {
            let fresh = self.authorization(&challenge, question, &answer.url, shown.as_ref())?;
            self.learn(challenge);
            if fresh.is_some() && fresh != shown {
                self.drain(answer.response);
                shown = fresh;
                answer = self.ask_registry(question, shown.as_ref())?;
            }
        }
        // What has been sent is not sent to somebody else.
        if question.outgoing.only_asks() {
            answer = self.follow(answer, &question.headers, shown.as_ref())?;
        }
        self.judge(question, Side::Registry, answer)
    }

    /// One exchange with the registry itself. A registry that may speak plain HTTP is tried with
    /// TLS first, as Docker does; what answered once is kept to.
    fn ask_registry(
        &self,
        question: &Question,
        authorization: Option<&Secret>,
    ) -> Result<Answer, Failure> {
        let path = match &question.at {
            At::Path(path) => path,
            At::Url(url) => return Ok(self.ask_elsewhere(url, question, authorization)?),
        };
        let schemes = match (self.scheme.get(), self.plain) {
            (Some(Scheme::Http), _) => &[Scheme::Http][..],
            (None, PlainHttp::Allowed) => &[Scheme::Https, Scheme::Http],
            _ => &[Scheme::Https],
        };
        let mut failed = None;
        for scheme in schemes {
            let url = Url::of(*scheme, &self.api_host, path)
                .ok_or_else(|| RegistryError::BadRegistry(self.registry.clone()))?;
            match self.exchange(&url, question, authorization) {
                Ok(answer) => {
                    // Threads that ask at once may both get here; they found the same.
                    let _ = self.scheme.set(*scheme);
                    return Ok(answer);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Err(RegistryError::BadRegistry(self.registry.clone()).into()),
        }
    }

    /// An exchange where the registry said, as it does with uploads. What is another host's, or in
    /// plain text where the registry was not, gets no credentials.
    fn ask_elsewhere(
        &self,
        url: &Url,
        question: &Question,
        authorization: Option<&Secret>,
    ) -> Result<Answer, RegistryError> {
        let scheme = self.scheme.get().copied().unwrap_or(Scheme::Https);
        let own = Url::of(scheme, &self.api_host, "/").is_some_and(|own| own.same_origin(url));
        self.exchange(url, question, authorization.filter(|_| own))
    }

    fn exchange(
        &self,
        url: &Url,
        question: &Question,
        authorization: Option<&Secret>,
    ) -> Result<Answer, RegistryError> {
        self.send(url, &question.headers, &question.outgoing, authorization)
    }

    fn send(
        &self,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        outgoing: &Outgoing<'_>,
        authorization: Option<&Secret>,
    ) -> Result<Answer, RegistryError> {
        let mut headers = headers.to_vec();
        if let Some(value) = authorization {
            headers.push((header::AUTHORIZATION, self.sensitive(value)?));
        }
        let response = self
            .transport
            .exchange(url, &self.trust_in(url), &headers, outgoing)?;
        Ok(Answer {
            url: url.clone(),
            response,
        })
    }

    /// A header that is marked so that nothing below shows it.
    fn sensitive(&self, value: &Secret) -> Result<HeaderValue, RegistryError> {
        let mut header =
            HeaderValue::from_str(value.expose()).map_err(|_| RegistryError::Malformed {
                host: self.registry.clone(),
                what: "credential",
                reason: "it has characters that no header can carry".into(),
            })?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Where a registry need not prove itself, neither need its neighbours on the same host (a token
    /// server on another port); hosts elsewhere must.
    fn trust_in(&self, url: &Url) -> Trust {
        let own = Url::of(url.scheme, &self.api_host, "/").is_some_and(|own| own.host == url.host);
        match &self.trust {
            Trust::Anyone if !own => Trust::System,
            trust => trust.clone(),
        }
    }

    /// Reads what nobody wants to know, so that the connection serves again. A body that is long or
    /// breaks off costs the connection and nothing else.
    fn drain(&self, response: Response<Body>) {
        let _ = self
            .transport
            .read_bounded(response.into_body(), MAX_ERROR_BYTES);
    }

    /// Follows redirects. The authorization goes only where it was shown already.
    fn follow(
        &self,
        mut answer: Answer,
        headers: &[(HeaderName, HeaderValue)],
        authorization: Option<&Secret>,
    ) -> Result<Answer, Failure> {
        let origin = answer.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            if !matches!(
                answer.response.status().as_u16(),
                301 | 302 | 303 | 307 | 308
            ) {
                return Ok(answer);
            }
            let location = answer
                .response
                .headers()
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            let target = redirect_target(&answer.url, location).map_err(|why| {
                let to = answer
                    .url
                    .join(location)
                    .map_or_else(|| "?".to_owned(), |url| url.to_string());
                let host = answer.url.authority();
                RegistryError::Redirect { host, to, why }
            })?;
            self.drain(answer.response);
            let authorization = authorization.filter(|_| target.same_origin(&origin));
            answer = self.send(&target, headers, &Outgoing::Get, authorization)?;
        }
        Err(RegistryError::Redirect {
            host: origin.authority(),
            to: answer.url.to_string(),
            why: "there are too many redirects",
        }
        .into())
    }
}

/// Where a redirect leads, unless it leads out of TLS.
fn redirect_target(from: &Url, location: &str) -> Result<Url, &'static str> {
    let target = from
        .join(location)
        .ok_or("that is not a URL that can be followed")?;
    if from.scheme == Scheme::Https && target.scheme == Scheme::Http {
        return Err("that would leave TLS for plain HTTP");
    }
    Ok(target)
}

/// Where an answer says to go on, unless that is out of TLS.
pub(crate) fn location_of(answer: &Answer) -> Result<Url, RegistryError> {
    let location = answer.response.headers().get(header::LOCATION);
    let location = location.and_then(|value| value.to_str().ok()).unwrap_or("");
    if location.is_empty() {
        return Err(RegistryError::Malformed {
            host: answer.url.authority(),
            what: "answer",
            reason: "it does not say where to upload".into(),
        });
    }
    redirect_target(&answer.url, location).map_err(|why| RegistryError::Redirect {
        host: answer.url.authority(),
        to: crate::error::quoted(location.split('?').next().unwrap_or_default()),
        why,
    })
}

/// The strongest challenge of an answer that is one.
fn challenge_of(response: &Response<Body>) -> Option<Challenge> {
    if response.status() != 401 {
        return None;
    }
    let values = response.headers().get_all(header::WWW_AUTHENTICATE);
    Challenge::choose(values.iter().filter_map(|value| value.to_str().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_do_not_leave_tls() {
        let secure = Url::parse("https://r.io/v2/x").unwrap();
        let plain = Url::parse("http://r.io/v2/x").unwrap();
        assert!(redirect_target(&secure, "http://cdn.io/b").is_err());
        assert!(redirect_target(&secure, "HTTP://cdn.io/b").is_err());
        assert!(redirect_target(&secure, "https://u:p@cdn.io/b").is_err());
        assert!(redirect_target(&secure, "file:///etc/passwd").is_err());
        assert!(
            redirect_target(&secure, "").is_ok(),
            "itself: the count ends it"
        );
        for location in ["https://cdn.io/b", "//cdn.io/b", "/b"] {
            assert_eq!(
                redirect_target(&secure, location).unwrap().scheme,
                Scheme::Https
            );
        }
        assert!(redirect_target(&plain, "http://cdn.io/b").is_ok());
        assert!(redirect_target(&plain, "https://cdn.io/b").is_ok());
    }
}
