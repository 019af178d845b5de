//! How a registry is convinced: by a password, or by a token from the server that it names.

use std::sync::PoisonError;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::verdict::Side;
use super::{Answer, Question, Right, Session};
use crate::auth::{AuthError, Credentials, Secret};
use crate::challenge::Challenge;
use crate::error::RegistryError;
use crate::retry::Failure;
use crate::token::{Token, refresh_form};
use crate::transport::Outgoing;
use crate::url::{Scheme, Url};

/// The longest answer of a token server, bytes.
const MAX_TOKEN_BYTES: u64 = 1024 * 1024;

impl Session {
    /// What can be shown before being asked.
    pub(super) fn known_authorization(
        &self,
        question: &Question,
    ) -> Result<Option<Secret>, Failure> {
        let challenge = self
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self.basic(question.repository)?),
            Some(Challenge::Bearer { .. }) => {
                Ok(self.tokens.known(&question.scope()).map(bearer_value))
            }
        }
    }

    /// Keeps the challenge in mind: next time it is met before it is put.
    pub(super) fn learn(&self, challenge: Challenge) {
        *self
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(challenge);
    }

    /// What meets the challenge; `None`: nothing that could. `rejected` was shown and not taken.
    pub(super) fn authorization(
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
        let own_scope = question.scope();
        let rejected = rejected
            .and_then(|value| value.expose().strip_prefix("Bearer "))
            .map(Secret::new);
        let token = self.tokens.obtain(&own_scope, rejected.as_ref(), || {
            let scope = match (scope, question.right) {
                // Registries name one repository in their challenge; this takes two.
                (_, Right::Mount { .. }) => &own_scope,
                (Some(scope), _) => scope,
                (None, _) => &own_scope,
            };
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
    pub(super) fn credentials(&self, repository: &str) -> Result<Option<Credentials>, AuthError> {
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
                self.send(&realm, &[], &Outgoing::Form(&form), None)?
            }
            password => self.get_token(&realm, service, scope, password.as_ref())?,
        };
        let answer = self.judge(question, Side::TokenServer, answer)?;
        let url = answer.url;
        let body = self
            .transport
            .read_bounded(answer.response.into_body(), MAX_TOKEN_BYTES)
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
        let answer = self.send(&url, &[], &Outgoing::Get, authorization.as_ref())?;
        self.follow(answer, &[], authorization.as_ref())
    }
}

fn bearer_value(token: Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

fn basic_value(user: &str, secret: &Secret) -> Secret {
    let pair = format!("{user}:{}", secret.expose());
    Secret::new(format!("Basic {}", STANDARD.encode(pair)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_do_not_leave_tls() {
        let secure = Url::parse("https://r.io/v2/").unwrap();
        let plain = Url::parse("http://localhost:5000/v2/").unwrap();
        assert!(realm_url("https://auth.io/token", &secure).is_ok());
        assert!(realm_url("http://auth.io/token", &secure).is_err());
        assert!(realm_url("http://auth.io/token", &plain).is_ok());
        assert!(realm_url("/token", &secure).is_err());
    }
}
