//! What an answer means that is not the one hoped for.

use std::time::SystemTime;

use serde::Deserialize;
use ureq::http::header;

use super::{Answer, MAX_ERROR_BYTES, Question, Session, Wanted};
use crate::auth::AuthError;
use crate::error::{Identity, RegistryError, quoted};
use crate::retry::{Failure, retry_after};

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The registry, or where it redirected to.
    Registry,
    TokenServer,
}

impl Session {
    /// Turns a status that is not what was hoped for into an error. 416 is let through: only who
    /// asked for a range can tell what it means.
    pub(super) fn judge(
        &self,
        question: &Question,
        side: Side,
        answer: Answer,
    ) -> Result<Answer, Failure> {
        let status = answer.response.status().as_u16();
        if matches!(status, 200 | 201 | 202 | 204 | 206 | 416) {
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
        let message = self
            .transport
            .read_bounded(answer.response.into_body(), MAX_ERROR_BYTES)
            .ok()
            .flatten()
            .and_then(|body| message_of(&body));
        match status {
            401 | 403 => Err(self.denied(question, message)?.into()),
            404 if side == Side::Registry => Err(match &question.wanted {
                Wanted::Manifest { name } => RegistryError::ManifestUnknown {
                    name: name.clone(),
                    message,
                },
                Wanted::Blob { digest } => RegistryError::BlobUnknown {
                    host,
                    digest: digest.clone(),
                },
                Wanted::List { of } => RegistryError::NoList {
                    host,
                    of: of.clone(),
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
            Wanted::Manifest { .. } | Wanted::Blob { .. } | Wanted::List { .. } => {
                RegistryError::Denied {
                    what: match question.repository {
                        "" => "that".into(),
                        repository => format!("`{repository}`"),
                    },
                    identity: match self.credentials(question.repository)? {
                        Some(_) => Identity::Known,
                        None => Identity::Anonymous,
                    },
                    host,
                    message,
                }
            }
        })
    }
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
