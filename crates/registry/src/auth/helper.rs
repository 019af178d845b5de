//! Credential helpers: programs `docker-credential-NAME` that keep secrets outside of files.
//!
//! The protocol is that of github.com/docker/docker-credential-helpers: the verb is the argument,
//! standard input takes the server's name or a JSON object, standard output brings JSON or, on
//! failure, the reason.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{AuthError, Credentials, Secret};
use crate::error::quoted;

/// More than any helper has to say.
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;
/// What a helper says when it has nothing (`errCredentialsNotFound`).
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user's name under which a helper hands out an identity token.
const TOKEN_USER: &str = "<token>";

/// One installed helper.
#[derive(Debug)]
pub(super) struct Helper {
    program: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    /// `name` is `pass` for `docker-credential-pass`. `None`: it could leave the search path.
    pub(super) fn named(name: &str) -> Option<Helper> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (!name.is_empty() && name.bytes().all(fits)).then(|| Helper {
            program: format!("docker-credential-{name}"),
        })
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// What the helper keeps for `server`.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credentials>, AuthError> {
        let output = match self.run("get", server, server.as_bytes())? {
            Ok(output) => output,
            Err(reason) if reason.contains(NOT_FOUND) => return Ok(None),
            Err(reason) => return Err(self.failed("get", server, quoted(&reason))),
        };
        // serde's message would quote the secret if it were of the wrong type.
        let entry: Entry = serde_json::from_slice(&output).map_err(|_| {
            self.failed("get", server, "its answer is not the JSON expected".into())
        })?;
        let secret = Secret::new(entry.secret);
        Ok(match entry.username.as_str() {
            "" if secret.expose().is_empty() => None,
            TOKEN_USER => Some(Credentials::Identity(secret)),
            _ => Some(Credentials::Password {
                user: entry.username,
                secret,
            }),
        })
    }

    /// Lets the helper keep `credentials` for `server`.
    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<(), AuthError> {
        let (username, secret) = match credentials {
            Credentials::Password { user, secret } => (user.clone(), secret),
            Credentials::Identity(secret) => (TOKEN_USER.to_owned(), secret),
            Credentials::Bearer(_) => return Err(AuthError::NotStorable),
        };
        let entry = Entry {
            server: server.to_owned(),
            username,
            secret: secret.expose().to_owned(),
        };
        let input = serde_json::to_vec(&entry)
            .map_err(|error| self.failed("store", server, error.to_string()))?;
        self.run("store", server, &input)?
            .map(|_| ())
            .map_err(|reason| {
                let reason = reason.replace(secret.expose(), "…");
                self.failed("store", server, quoted(&reason))
            })
    }

    /// Lets the helper forget `server`.
    pub(super) fn erase(&self, server: &str) -> Result<(), AuthError> {
        match self.run("erase", server, server.as_bytes())? {
            Ok(_) => Ok(()),
            Err(reason) if reason.contains(NOT_FOUND) => Ok(()),
            Err(reason) => Err(self.failed("erase", server, quoted(&reason))),
        }
    }

    /// The helper's output, or the reason it gave for failing.
    fn run(
        &self,
        verb: &'static str,
        server: &str,
        input: &[u8],
    ) -> Result<Result<Vec<u8>, String>, AuthError> {
        let broken = |error: io::Error| self.failed(verb, server, error.to_string());
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => AuthError::HelperMissing {
                    program: self.program.clone(),
                },
                _ => broken(error),
            })?;
        let output = converse(&mut child, input);
        let status = child.wait().map_err(broken)?;
        let output = output.map_err(broken)?;
        if status.success() {
            return Ok(Ok(output));
        }
        let reason = String::from_utf8_lossy(&output).into_owned();
        Ok(Err(match reason.trim() {
            "" => status.to_string(),
            _ => reason,
        }))
    }

    fn failed(&self, verb: &'static str, server: &str, reason: String) -> AuthError {
        AuthError::Helper {
            program: self.program.clone(),
            verb,
            server: server.to_owned(),
            reason,
        }
    }
}

/// Says `input`, hears everything. The input is shorter than a pipe takes at once, so the helper
/// cannot be waiting for us while we wait for it.
fn converse(child: &mut Child, input: &[u8]) -> io::Result<Vec<u8>> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // A helper that does not listen may still answer.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut output)?;
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_search_path() {
        assert_eq!(
            Helper::named("ecr-login").unwrap().program(),
            "docker-credential-ecr-login"
        );
        for name in ["", "a/b", "../x", "a b", "x\n"] {
            assert!(Helper::named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_missing_helper_is_named() {
        let helper = Helper::named("gamut-test-of-a-missing-helper").unwrap();
        let error = helper.get("r.io").unwrap_err();
        assert!(matches!(error, AuthError::HelperMissing { .. }), "{error}");
        assert!(error.to_string().contains("docker-credential-gamut-test"));
    }
}
