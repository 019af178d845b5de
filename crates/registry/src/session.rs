//! One registry, as a client sees it while it runs: which scheme it speaks, how it wants to be
//! convinced, the tokens it has been shown, where it redirects to.
//!
//! A request here is one attempt: what may pass comes back as [`Failure::Passing`], and whoever
//! asked decides whether to try again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gamut_spec::Digest;
use serde::Deserialize;
use ureq::Body;
use ureq::http::{HeaderName, HeaderValue, Response, header};

use crate::auth::{AuthError, AuthSource, Credentials, Secret};
use crate::challenge::Challenge;
use crate::error::{Identity, RegistryError, quoted};
use crate::retry::{Failure, retry_after};
use crate::tls::Trust;
use crate::token::{Token, Tokens, refresh_form};
use crate::transport::{Transport, read_bounded};
use crate::url::{Scheme, Url};

const MAX_REDIRECTS: usize = 5;
/// The longest error message that is read, bytes.
const MAX_ERROR_BYTES: u64 = 64 * 1024;
/// The longest answer of a token server, bytes.
const MAX_TOKEN_BYTES: u64 = 1024 * 1024;

/// What is asked for: it decides what a refusal means.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Manifest { name: String },
    Blob { digest: Digest },
    Login,
}

/// One request to a registry.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// Begins with `/v2/`.
    pub(crate) path: String,
    /// Empty: none in particular.
    pub(crate) repository: &'a str,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) wanted: Wanted,
}

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
        if answer.response.status() == 401 {
            let values = answer.response.headers().get_all(header::WWW_AUTHENTICATE);
            let challenge = Challenge::choose(values.iter().filter_map(|v| v.to_str().ok()));
            if let Some(challenge) = challenge {
                let fresh =
                    self.authorization(&challenge, question, &answer.url, shown.as_ref())?;
                *self
                    .challenge
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(challenge);
                if fresh.is_some() && fresh != shown {
                    shown = fresh;
                    answer = self.ask_registry(question, shown.as_ref())?;
                }
            }
        }
        let answer = self.follow(answer, &question.headers, shown.as_ref())?;
        self.judge(question, answer)
    }

    /// One exchange with the registry itself. A registry that may speak plain HTTP is tried with
    /// TLS first, as Docker does; what answered once is kept to.
    fn ask_registry(
        &self,
        question: &Question,
        authorization: Option<&Secret>,
    ) -> Result<Answer, Failure> {
        let schemes = match (self.scheme.get(), self.plain) {
            (Some(Scheme::Http), _) => &[Scheme::Http][..],
            (None, PlainHttp::Allowed) => &[Scheme::Https, Scheme::Http],
            _ => &[Scheme::Https],
        };
        let mut failed = None;
        for scheme in schemes {
            let url = Url::of(*scheme, &self.api_host, &question.path)
                .ok_or_else(|| RegistryError::BadRegistry(self.registry.clone()))?;
            match self.exchange(&url, &question.headers, authorization) {
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

    fn exchange(
        &self,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        authorization: Option<&Secret>,
    ) -> Result<Answer, RegistryError> {
        let mut headers = headers.to_vec();
        if let Some(value) = authorization {
            headers.push((header::AUTHORIZATION, self.sensitive(value)?));
        }
        let response = self
            .transport
            .exchange(url, &self.trust_in(url), &headers, None)?;
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
                RegistryError::Redirect {
                    host: answer.url.authority(),
                    to,
                    why,
                }
            })?;
            let authorization = authorization.filter(|_| target.same_origin(&origin));
            answer = self.exchange(&target, headers, authorization)?;
        }
        Err(RegistryError::Redirect {
            host: origin.authority(),
            to: answer.url.to_string(),
            why: "there are too many redirects",
        }
        .into())
    }

    /// What can be shown before being asked.
    fn known_authorization(&self, question: &Question) -> Result<Option<Secret>, Failure> {
        let challenge = self
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self.basic(question.repository)?),
            Some(Challenge::Bearer { .. }) => Ok(self
                .tokens
                .known(&scope_of(question.repository))
                .map(bearer_value)),
        }
    }

    /// What meets the challenge; `None`: nothing that could. `rejected` was shown and not taken.
    fn authorization(
        &self,
        challenge: &Challenge,
        question: &Question,
        asked: &Url,
        rejected: Option<&Secret>,
    ) -> Result<Option<Secret>, Failure> {
        let Challenge::Bearer {
            realm,
            service,
            scope,
        } = challenge
        else {
            return Ok(self.basic(question.repository)?);
        };
        let own_scope = scope_of(question.repository);
        let rejected = rejected
            .and_then(|value| value.expose().strip_prefix("Bearer "))
            .map(Secret::new);
        let token = self.tokens.obtain(&own_scope, rejected.as_ref(), || {
            let scope = scope.as_deref().unwrap_or(&own_scope);
            self.fetch_token(realm, service.as_deref(), scope, question, asked)
        })?;
        Ok(Some(bearer_value(token)))
    }

    fn basic(&self, repository: &str) -> Result<Option<Secret>, AuthError> {
        Ok(match self.credentials(repository)? {
            Some(Credentials::Password { user, secret }) => Some(basic_value(&user, &secret)),
            _ => None,
        })
    }

    /// The stored credentials, looked up once: a helper takes its time, and may ask its user.
    fn credentials(&self, repository: &str) -> Result<Option<Credentials>, AuthError> {
        let mut known = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(credentials) = known.get(repository) {
            return Ok(credentials.clone());
        }
        let found = self.auth.credentials(&self.registry, repository)?;
        known.insert(repository.to_owned(), found.clone());
        Ok(found)
    }

    fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        question: &Question,
        asked: &Url,
    ) -> Result<Token, Failure> {
        let realm = realm_url(realm, asked).map_err(|reason| RegistryError::Malformed {
            host: self.registry.clone(),
            what: "challenge",
            reason: reason.into(),
        })?;
        let credentials = self.credentials(question.repository)?;
        let begun = Instant::now();
        let answer = match &credentials {
            Some(Credentials::Bearer(secret)) => return Ok(Token::given(secret.clone())),
            Some(Credentials::Identity(refresh)) => {
                let form = refresh_form(refresh, service, scope);
                let response =
                    self.transport
                        .exchange(&realm, &self.trust_in(&realm), &[], Some(&form))?;
                let url = realm.clone();
                Answer { url, response }
            }
            password => self.get_token(&realm, service, scope, password.as_ref())?,
        };
        let answer = self.judge(question, answer)?;
        let url = answer.url;
        let body = read_bounded(answer.response.into_body(), MAX_TOKEN_BYTES)
            .map_err(|error| self.transport.broken(&url, error))?
            .ok_or_else(|| RegistryError::TooLarge {
                host: url.authority(),
                what: "token",
                limit_bytes: MAX_TOKEN_BYTES,
            })?;
        Token::parse(&body, begun).map_err(|reason| {
            let (host, what, reason) = (url.authority(), "token", reason.to_owned());
            RegistryError::Malformed { host, what, reason }.into()
        })
    }

    /// `GET realm?service=…&scope=…`, with a password if there is one.
    fn get_token(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Answer, Failure> {
        let mut url = realm.clone();
        if let Some(service) = service {
            url = url.with_query("service", service);
        }
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            url = url.with_query("scope", scope);
        }
        let mut authorization = None;
        if let Some(Credentials::Password { user, secret }) = credentials {
            url = url.with_query("account", user);
            authorization = Some(basic_value(user, secret));
        }
        let answer = self.exchange(&url, &[], authorization.as_ref())?;
        self.follow(answer, &[], authorization.as_ref())
    }

    /// Turns a status that is not what was hoped for into an error. 416 is let through: only who
    /// asked for a range can tell what it means.
    fn judge(&self, question: &Question, answer: Answer) -> Result<Answer, Failure> {
        let status = answer.response.status().as_u16();
        if matches!(status, 200 | 206 | 416) {
            return Ok(answer);
        }
        let host = answer.url.authority();
        let asked = answer
            .response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        // The message is a courtesy: if it breaks off, the status has said enough.
        let message = read_bounded(answer.response.into_body(), MAX_ERROR_BYTES)
            .ok()
            .flatten()
            .and_then(|body| message_of(&body));
        match status {
            401 | 403 => Err(self.denied(question, message)?.into()),
            404 => Err(match &question.wanted {
                Wanted::Manifest { name } => RegistryError::ManifestUnknown {
                    name: name.clone(),
                    message,
                },
                Wanted::Blob { digest } => RegistryError::BlobUnknown {
                    host,
                    digest: digest.clone(),
                },
                Wanted::Login => RegistryError::Unexpected {
                    host,
                    status,
                    message,
                },
            }
            .into()),
            429 => Err(Failure::passing(
                RegistryError::RateLimited {
                    host: self.registry.clone(),
                    retry_after_s: asked.map(|wait| wait.as_secs()),
                    message,
                },
                asked,
            )),
            408 | 500 | 502 | 503 | 504 => Err(Failure::passing(
                RegistryError::Server {
                    host,
                    status,
                    message,
                },
                asked,
            )),
            _ => Err(RegistryError::Unexpected {
                host,
                status,
                message,
            }
            .into()),
        }
    }

    fn denied(
        &self,
        question: &Question,
        message: Option<String>,
    ) -> Result<RegistryError, AuthError> {
        let host = self.registry.clone();
        Ok(match &question.wanted {
            Wanted::Login => RegistryError::LoginRefused { host, message },
            Wanted::Manifest { .. } | Wanted::Blob { .. } => RegistryError::Denied {
                what: format!("`{}`", question.repository),
                identity: match self.credentials(question.repository)? {
                    Some(_) => Identity::Known,
                    None => Identity::Anonymous,
                },
                host,
                message,
            },
        })
    }
}

/// The scope that reading a repository takes; none for the registry as such.
fn scope_of(repository: &str) -> String {
    match repository {
        "" => String::new(),
        repository => format!("repository:{repository}:pull"),
    }
}

fn bearer_value(token: Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

fn basic_value(user: &str, secret: &Secret) -> Secret {
    let pair = format!("{user}:{}", secret.expose());
    Secret::new(format!("Basic {}", STANDARD.encode(pair)))
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

/// The token server of a challenge. Credentials are sent there, so a registry that speaks TLS can't
/// have them sent in plain text; a registry that speaks plain HTTP has them already.
fn realm_url(realm: &str, asked: &Url) -> Result<Url, &'static str> {
    let url = Url::parse(realm).ok_or("its realm is not a URL that can be asked")?;
    if asked.scheme == Scheme::Https && url.scheme == Scheme::Http {
        return Err("its realm would have credentials sent without TLS");
    }
    Ok(url)
}

/// What a registry or token server says about a failure, if it says so in JSON.
fn message_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Failures {
        #[serde(default)]
        errors: Vec<OneError>,
        #[serde(default)]
        details: Option<String>,
        #[serde(default)]
        error_description: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    #[derive(Deserialize)]
    struct OneError {
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let failures: Failures = serde_json::from_slice(body).ok()?;
    let of_errors = failures
        .errors
        .into_iter()
        .flat_map(|e| [e.message, e.code]);
    of_errors
        .chain([
            failures.details,
            failures.error_description,
            failures.message,
        ])
        .flatten()
        .map(|text| quoted(&text))
        .find(|text| !text.is_empty())
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

    #[test]
    fn realms_do_not_leave_tls() {
        let secure = Url::parse("https://r.io/v2/").unwrap();
        let plain = Url::parse("http://localhost:5000/v2/").unwrap();
        assert!(realm_url("https://auth.io/token", &secure).is_ok());
        assert!(realm_url("http://auth.io/token", &secure).is_err());
        assert!(realm_url("http://auth.io/token", &plain).is_ok());
        assert!(realm_url("/token", &secure).is_err());
    }

    #[test]
    fn messages_are_found_and_cleaned() {
        let text = r#"{"errors":[{"code":"DENIED","message":"no\u001b[2J way"}]}"#;
        assert_eq!(message_of(text.as_bytes()).unwrap(), "no[2J way");
        let text = r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
        assert_eq!(message_of(text.as_bytes()).unwrap(), "NAME_UNKNOWN");
        assert_eq!(
            message_of(br#"{"details":"bad password"}"#).unwrap(),
            "bad password"
        );
        for text in ["<html>", "{}", "", r#"{"errors":[]}"#] {
            assert_eq!(message_of(text.as_bytes()), None, "{text}");
        }
    }
}
