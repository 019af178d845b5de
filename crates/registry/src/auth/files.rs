//! The files in which Docker and Podman keep credentials.
//!
//! `config.json` of Docker (`auths`, `credHelpers`, `credsStore`), and containers-auth.json(5),
//! which has the same form and keys that may go on into the repository (`quay.io/org`). The first
//! file with an entry decides; logins are written to the first file only.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::helper::Helper;
use super::{AuthError, Credentials, Secret};

/// The key under which Docker keeps what belongs to docker.io.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
const DOCKER_HUB: &str = "docker.io";
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The files that are read, in this order. The first is the one that is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthFiles {
    paths: Vec<PathBuf>,
}

/// Where a login was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In this file, where it can be read by whoever can read the file.
    File(PathBuf),
    /// With this credential helper.
    Helper(String),
}

impl AuthFiles {
    /// Exactly these files.
    pub fn new(paths: Vec<PathBuf>) -> AuthFiles {
        AuthFiles { paths }
    }

    /// The files of this user: `$REGISTRY_AUTH_FILE`, then Docker's
    /// (`$DOCKER_CONFIG/config.json` or `~/.docker/config.json`), then Podman's
    /// (`$XDG_RUNTIME_DIR/containers/auth.json` or `/run/containers/UID/auth.json`).
    pub fn of_user() -> AuthFiles {
        AuthFiles::from_env(|name| std::env::var_os(name))
    }

    /// As [`AuthFiles::of_user`], with the environment given.
    pub fn from_env(get: impl Fn(&str) -> Option<OsString>) -> AuthFiles {
        let path = |name: &str| {
            get(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let docker = path("DOCKER_CONFIG")
            .or_else(|| path("HOME").map(|home| home.join(".docker")))
            .map(|directory| directory.join("config.json"));
        let podman = path("XDG_RUNTIME_DIR")
            .map(|directory| directory.join("containers/auth.json"))
            .or_else(|| {
                // The owner of /proc/self is the effective user.
                let uid = fs::metadata("/proc/self").ok()?.uid();
                Some(PathBuf::from(format!("/run/containers/{uid}/auth.json")))
            });
        let paths = [path("REGISTRY_AUTH_FILE"), docker, podman];
        AuthFiles::new(paths.into_iter().flatten().collect())
    }

    /// What to show `registry` (as [`gamut_spec::Reference::registry`] names it) for `repository`;
    /// `None`: nothing is stored.
    pub fn lookup(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, AuthError> {
        for path in &self.paths {
            let Some(document) = read(path)? else {
                continue;
            };
            if let Some((helper, _)) = helper(&document, registry, path)?
                && let Some(found) = helper.get(server_key(registry))?
            {
                return Ok(Some(found));
            }
            if let Some(found) = from_auths(&document, registry, repository, path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Keeps `credentials` for `registry`: with the helper that the first file names, else in that
    /// file.
    pub fn store(&self, registry: &str, credentials: &Credentials) -> Result<Stored, AuthError> {
        let path = self.paths.first().ok_or(AuthError::NoHome)?;
        change(path, |document| {
            let helper = helper(document, registry, path)?;
            let (entry, stored) = match &helper {
                Some((helper, _)) => {
                    helper.store(server_key(registry), credentials)?;
                    (json!({}), Stored::Helper(helper.program().to_owned()))
                }
                None => (entry_of(credentials), Stored::File(path.clone())),
            };
            // Docker notes an empty entry beside `credsStore`, and none beside `credHelpers`.
            if !matches!(helper, Some((_, Named::Own))) {
                forget(document, registry);
                auths_of(document, path)?.insert(server_key(registry).to_owned(), entry);
            }
            Ok(stored)
        })
    }

    /// The registries for which something is kept, as references name them.
    pub fn registries(&self) -> Result<Vec<String>, AuthError> {
        let mut names = BTreeSet::new();
        for path in &self.paths {
            let Some(document) = read(path)? else {
                continue;
            };
            for part in ["auths", "credHelpers"] {
                let entries = document.get(part).and_then(Value::as_object);
                let keys = entries.into_iter().flat_map(Map::keys);
                names.extend(keys.map(|key| plain_key(key)));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Forgets what is kept for `registry`, in every file and helper that has it.
    pub fn erase(&self, registry: &str) -> Result<(), AuthError> {
        let mut found = false;
        for path in &self.paths {
            let Some(document) = read(path)? else {
                continue;
            };
            if let Some((helper, _)) = helper(&document, registry, path)?
                && helper.get(server_key(registry))?.is_some()
            {
                helper.erase(server_key(registry))?;
                found = true;
            }
            if forget(&mut document.clone(), registry) {
                found = true;
                change(path, |document| {
                    forget(document, registry);
                    Ok(())
                })?;
            }
        }
        if found {
            return Ok(());
        }
        Err(AuthError::NotLoggedIn(registry.to_owned()))
    }
}

/// The key that Docker uses towards files and helpers.
fn server_key(registry: &str) -> &str {
    match registry {
        DOCKER_HUB => DOCKER_HUB_KEY,
        other => other,
    }
}

/// A key as an image would name it: `https://index.docker.io/v1/` is `docker.io`,
/// `https://ghcr.io/v2/` is `ghcr.io`, `quay.io/org` stays.
fn plain_key(key: &str) -> String {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let legacy = rest.is_some();
    let rest = rest.unwrap_or(key).trim_end_matches('/');
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    };
    if legacy || matches!(path, "" | "v1" | "v2") {
        return host.to_owned();
    }
    format!("{host}/{path}")
}

/// How a file came to name a helper for a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// In `credHelpers`, for this registry.
    Own,
    /// In `credsStore`, for every one.
    Default,
}

fn helper(
    document: &Map<String, Value>,
    registry: &str,
    path: &Path,
) -> Result<Option<(Helper, Named)>, AuthError> {
    let own = document
        .get("credHelpers")
        .and_then(Value::as_object)
        .and_then(|helpers| helpers.iter().find(|(key, _)| plain_key(key) == registry))
        .and_then(|(_, name)| name.as_str());
    let default = document.get("credsStore").and_then(Value::as_str);
    let (name, named) = match (own, default) {
        (Some(name), _) => (name, Named::Own),
        (None, Some(name)) => (name, Named::Default),
        (None, None) => return Ok(None),
    };
    if name.is_empty() {
        return Ok(None);
    }
    Helper::named(name)
        .map(|helper| Some((helper, named)))
        .ok_or_else(|| AuthError::HelperName {
            path: path.to_owned(),
            name: crate::error::quoted(name),
        })
}

/// The entry with the longest key that covers the repository.
fn from_auths(
    document: &Map<String, Value>,
    registry: &str,
    repository: &str,
    path: &Path,
) -> Result<Option<Credentials>, AuthError> {
    let Some(auths) = document.get("auths").and_then(Value::as_object) else {
        return Ok(None);
    };
    let full = format!("{registry}/{repository}");
    let covers = |key: &str| {
        full.strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut entries: Vec<(String, &Value)> = auths
        .iter()
        .map(|(key, entry)| (plain_key(key), entry))
        .filter(|(key, _)| covers(key))
        .collect();
    entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    for (key, entry) in entries {
        let found = decode(entry).map_err(|reason| AuthError::Malformed {
            path: path.to_owned(),
            reason: format!("the entry for `{}` {reason}", crate::error::quoted(&key)),
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn decode(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let text = |name: &str| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::Bearer(Secret::new(token))));
    }
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::Identity(Secret::new(token))));
    }
    let (user, secret) = match text("auth") {
        Some(encoded) => {
            let bytes = STANDARD
                .decode(encoded)
                .map_err(|_| "has an `auth` that is not base64")?;
            let decoded =
                String::from_utf8(bytes).map_err(|_| "has an `auth` that is not UTF-8")?;
            let (user, secret) = decoded
                .split_once(':')
                .ok_or("has an `auth` without a colon")?;
            (user.to_owned(), secret.trim_end_matches('\0').to_owned())
        }
        None => match (text("username"), text("password")) {
            (Some(user), Some(secret)) => (user.to_owned(), secret.to_owned()),
            _ => return Ok(None),
        },
    };
    Ok(Some(Credentials::Password {
        user,
        secret: Secret::new(secret),
    }))
}

fn entry_of(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Password { user, secret } => {
            json!({ "auth": STANDARD.encode(format!("{user}:{}", secret.expose())) })
        }
        Credentials::Identity(token) => json!({ "identitytoken": token.expose() }),
        Credentials::Bearer(token) => json!({ "registrytoken": token.expose() }),
    }
}

/// Takes the registry's own entries away; those of single repositories stay.
fn forget(document: &mut Map<String, Value>, registry: &str) -> bool {
    let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) else {
        return false;
    };
    let before = auths.len();
    auths.retain(|key, _| plain_key(key) != registry);
    auths.len() != before
}

fn auths_of<'a>(
    document: &'a mut Map<String, Value>,
    path: &Path,
) -> Result<&'a mut Map<String, Value>, AuthError> {
    document
        .entry("auths")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| AuthError::Malformed {
            path: path.to_owned(),
            reason: "`auths` is not an object".into(),
        })
}

fn io_error<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> AuthError + 'a {
    move |source| AuthError::Io {
        verb,
        path: path.to_owned(),
        source,
    }
}

/// The file's object; `None`: there is no such file.
fn read(path: &Path) -> Result<Option<Map<String, Value>>, AuthError> {
    let malformed = |reason: String| AuthError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(malformed("it is too long".into()));
        }
        Ok(_) => fs::read(path).map_err(io_error("read", path))?,
        Err(error) if matches!(error.raw_os_error(), Some(2 | 20)) => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(Some(Map::new()));
    }
    // Of serde's message only the place is taken: the rest may quote what stands there.
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        malformed(format!(
            "it is no JSON object (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

/// Changes the file as one step: whoever reads it sees the old one or the new one, and two logins
/// at once do not lose each other's entry.
fn change<T>(
    path: &Path,
    edit: impl FnOnce(&mut Map<String, Value>) -> Result<T, AuthError>,
) -> Result<T, AuthError> {
    // A link (a dotfile kept elsewhere) stays one: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().unwrap_or(Path::new("/"));
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder
        .create(directory)
        .map_err(io_error("create", directory))?;
    let lock = File::open(directory).map_err(io_error("open", directory))?;
    lock.lock().map_err(io_error("lock", directory))?;
    let mut document = read(&target)?.unwrap_or_default();
    let outcome = edit(&mut document)?;
    let mut text = serde_json::to_vec_pretty(&document).map_err(|error| AuthError::Malformed {
        path: target.clone(),
        reason: error.to_string(),
    })?;
    text.push(b'\n');
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    replace(&fresh, &target, &text).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })?;
    Ok(outcome)
}

/// Writes `fresh`, readable by its owner only, and puts it in `target`'s place. The caller holds
/// the directory's lock, so a leftover of the same name belongs to nobody.
fn replace(fresh: &Path, target: &Path, text: &[u8]) -> Result<(), AuthError> {
    let failed = io_error("write", fresh);
    let _ = fs::remove_file(fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)
        .map_err(&failed)?;
    file.write_all(text)
        .and_then(|()| file.sync_all())
        .map_err(&failed)?;
    fs::rename(fresh, target).map_err(io_error("replace", target))
}

#[cfg(test)]
mod tests;
