//! Bearer tokens: fetched from the token server a registry names, kept per scope, shared between
//! threads (<https://distribution.github.io/distribution/spec/auth/token/> and its OAuth 2 form).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::auth::Secret;
use crate::url::percent_encode;

/// The life of a token whose server tells none, by the specification.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token that has less than this left is fetched anew rather than sent.
const MARGIN: Duration = Duration::from_secs(5);
/// No server is believed that a token lives longer.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A token and when it ends.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    expires: Instant,
}

/// What a token server answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    /// Seconds.
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Token {
    /// One that never needs another: the user gave it.
    pub(crate) fn given(secret: Secret) -> Token {
        Token {
            secret,
            expires: Instant::now() + LONGEST_LIFE,
        }
    }

    /// Reads an answer that was asked for at `asked`. The reason of a failure quotes nothing of it.
    pub(crate) fn parse(answer: &[u8], asked: Instant) -> Result<Token, &'static str> {
        let answer: Answer =
            serde_json::from_slice(answer).map_err(|_| "it is not the JSON expected")?;
        let secret = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or("there is no token in it")?;
        if !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the token has characters that no header can carry");
        }
        let life = answer
            .expires_in
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|life| !life.is_zero())
            .unwrap_or(DEFAULT_LIFE)
            .min(LONGEST_LIFE);
        Ok(Token {
            secret: Secret::new(secret),
            expires: asked + life,
        })
    }

    fn is_live(&self) -> bool {
        self.expires
            .checked_duration_since(Instant::now())
            .is_some_and(|left| left > MARGIN)
    }
}

/// The tokens of one registry, by scope.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    by_scope: Mutex<HashMap<String, Arc<Mutex<Option<Token>>>>>,
}

impl Tokens {
    /// The live token for `scope`, if there is one.
    pub(crate) fn known(&self, scope: &str) -> Option<Secret> {
        let slot = self.slot(scope);
        let token = locked(&slot);
        token
            .as_ref()
            .filter(|token| token.is_live())
            .map(|token| token.secret.clone())
    }

    /// A token for `scope` that is not the `rejected` one. Of several threads that need it one
    /// fetches; the others wait and take what it got.
    pub(crate) fn obtain<E>(
        &self,
        scope: &str,
        rejected: Option<&Secret>,
        fetch: impl FnOnce() -> Result<Token, E>,
    ) -> Result<Secret, E> {
        let slot = self.slot(scope);
        let mut token = locked(&slot);
        if let Some(token) = token.as_ref()
            && token.is_live()
            && Some(&token.secret) != rejected
        {
            return Ok(token.secret.clone());
        }
        *token = None;
        let fetched = fetch()?;
        Ok(token.insert(fetched).secret.clone())
    }

    fn slot(&self, scope: &str) -> Arc<Mutex<Option<Token>>> {
        locked(&self.by_scope)
            .entry(scope.to_owned())
            .or_default()
            .clone()
    }
}

/// A token is a value: a thread that died while it held the lock left none half made.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The form that exchanges a refresh token (OAuth 2, RFC 6749, section 6).
pub(crate) fn refresh_form(refresh: &Secret, service: Option<&str>, scope: &str) -> String {
    let mut form = String::from("grant_type=refresh_token&client_id=gamut");
    let fields = [
        ("refresh_token", Some(refresh.expose())),
        ("service", service),
        ("scope", Some(scope).filter(|scope| !scope.is_empty())),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            form.push_str(&format!("&{name}={}", percent_encode(value)));
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Token, &'static str> {
        Token::parse(text.as_bytes(), Instant::now())
    }

    #[test]
    fn reads_answers() {
        let token = parse(r#"{"token":"t","expires_in":300,"issued_at":"x"}"#).unwrap();
        assert_eq!(token.secret.expose(), "t");
        assert!(token.is_live());
        assert_eq!(
            parse(r#"{"access_token":"a"}"#).unwrap().secret.expose(),
            "a"
        );
        assert!(!parse(r#"{"token":"t","expires_in":1}"#).unwrap().is_live());
        assert!(parse(r#"{"token":"t","expires_in":-1}"#).unwrap().is_live());
        assert!(
            parse(r#"{"token":"t","expires_in":1e300}"#)
                .unwrap()
                .is_live()
        );
        for text in [
            "",
            "{}",
            "[]",
            r#"{"token":""}"#,
            r#"{"token":"a\r\nX: y"}"#,
            r#"{"token":1}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_fetched_once_and_again_when_rejected() {
        let tokens = Tokens::default();
        let fetch = |text: &'static str| move || parse(&format!(r#"{{"token":"{text}"}}"#));
        assert!(tokens.known("s").is_none());
        let first = tokens.obtain("s", None, fetch("1")).unwrap();
        assert_eq!(tokens.obtain("s", None, fetch("2")).unwrap(), first);
        assert_eq!(tokens.known("s"), Some(first.clone()));
        let second = tokens.obtain("s", Some(&first), fetch("3")).unwrap();
        assert_eq!(second.expose(), "3");
        // Another thread that was rejected with the first one takes the second.
        assert_eq!(
            tokens.obtain("s", Some(&first), fetch("4")).unwrap(),
            second
        );
        assert_eq!(
            tokens.obtain("other", None, fetch("5")).unwrap().expose(),
            "5"
        );
        tokens.obtain("s", Some(&second), || Err("no")).unwrap_err();
        assert!(tokens.known("s").is_none(), "a rejected token is not kept");
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(
            refresh_form(&Secret::new("a&b=c"), Some("r.io"), "repository:a/b:pull"),
            "grant_type=refresh_token&client_id=gamut&refresh_token=a%26b%3Dc&service=r.io\
             &scope=repository%3Aa%2Fb%3Apull"
        );
    }
}
