//! The policy as it stands, told and changed: `image trust show` and `set`.

use std::io::Write;
use std::path::{Path, PathBuf};

use gamut_trust::openpgp::Keyring;
use gamut_trust::policy::Material;
use gamut_trust::{Policy, PolicyError, Requirement};
use serde_json::{Map, Value, json};

use crate::error::EngineError;
use crate::trust;

/// A scope of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `docker` for registries, or another of containers-transports(5); `all` for the default.
    pub transport: String,
    pub scope: String,
    pub demand: Demand,
    /// The keys: fingerprints of OpenPGP, else where they are.
    pub keys: Vec<String>,
    /// Where simple signatures lie.
    pub store: Option<String>,
}

/// What is required of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    Accept,
    Reject,
    SignedBy,
    Sigstore,
}

/// What the policy in `path`, or this host's, requires. One that requires several things of a scope
/// has an entry for each.
///
/// # Errors
/// [`PolicyError`].
pub fn entries(path: Option<&Path>) -> Result<Vec<Entry>, EngineError> {
    let policy = trust::policy(path).map_err(gamut_trust::TrustError::from)?;
    let lookaside = trust::lookaside().map_err(gamut_trust::TrustError::from)?;
    let listed = policy.entries().flat_map(|(transport, scope, list)| {
        let store = match transport {
            "docker" | "all" => lookaside.store_of(scope).map(str::to_owned),
            _ => None,
        };
        let entry = move |requirement: &Requirement| Entry {
            transport: transport.to_owned(),
            scope: scope.to_owned(),
            demand: demand(requirement),
            keys: keys(requirement),
            store: store.clone(),
        };
        list.iter().map(entry).collect::<Vec<_>>()
    });
    Ok(listed.collect())
}

fn demand(requirement: &Requirement) -> Demand {
    match requirement {
        Requirement::Accept => Demand::Accept,
        Requirement::Reject => Demand::Reject,
        Requirement::SignedBy { .. } => Demand::SignedBy,
        Requirement::Sigstore(_) => Demand::Sigstore,
    }
}

fn keys(requirement: &Requirement) -> Vec<String> {
    match requirement {
        Requirement::Accept | Requirement::Reject => Vec::new(),
        Requirement::SignedBy { keys, .. } => {
            let of = |key: &Material| {
                let mut keyring = Keyring::default();
                match key.read().map(|bytes| keyring.add(&bytes)) {
                    Ok(Ok(())) => keyring.fingerprints(),
                    // What is wrong with it is told where it is used.
                    _ => vec![key.shown()],
                }
            };
            keys.iter().flat_map(of).collect()
        }
        Requirement::Sigstore(required) => match &required.fulcio {
            Some(fulcio) => vec![fulcio.subject_email.clone()],
            None => required.keys.iter().map(Material::shown).collect(),
        },
    }
}

/// The policy's text.
///
/// # Errors
/// [`PolicyError::Read`].
pub fn text(path: Option<&Path>) -> Result<String, EngineError> {
    let found = path.map(Path::to_owned).or_else(trust::policy_path);
    let Some(path) = found else {
        return Ok(pretty(&accepting()));
    };
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|source| PolicyError::Read { path, source });
    Ok(text.map_err(gamut_trust::TrustError::from)?)
}

/// Changes what is required of a registry's scope, or with `default` of everything else. A policy that
/// is not there is made, and accepts everything else.
///
/// # Errors
/// [`PolicyError`]: the policy is left as it is.
pub fn set(
    path: Option<&Path>,
    scope: &str,
    demand: Demand,
    keys: &[PathBuf],
) -> Result<(), EngineError> {
    let system = || PathBuf::from("/etc/containers/policy.json");
    let path = path.map(Path::to_owned).or_else(trust::policy_path);
    let path = path.unwrap_or_else(system);
    change(&path, scope, demand, keys).map_err(gamut_trust::TrustError::from)?;
    Ok(())
}

fn change(path: &Path, scope: &str, demand: Demand, keys: &[PathBuf]) -> Result<(), PolicyError> {
    let failed = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let malformed = |reason: String| PolicyError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let mut document: Value = match std::fs::read(path) {
        Ok(bytes) => {
            Policy::parse(&bytes).map_err(malformed)?;
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => accepting(),
        Err(error) => return Err(failed(error)),
    };
    let list = Value::Array(vec![requirement(demand, keys)]);
    match scope {
        "default" => document["default"] = list,
        scope => {
            let transports = document
                .as_object_mut()
                .map(|all| all.entry("transports").or_insert_with(|| Map::new().into()));
            let docker = transports
                .and_then(Value::as_object_mut)
                .map(|all| all.entry("docker").or_insert_with(|| Map::new().into()));
            if let Some(docker) = docker {
                docker[scope] = list;
            }
        }
    }
    let text = pretty(&document);
    Policy::parse(text.as_bytes()).map_err(malformed)?;
    write(path, &text).map_err(failed)
}

fn requirement(demand: Demand, keys: &[PathBuf]) -> Value {
    match demand {
        Demand::Accept => json!({"type": "insecureAcceptAnything"}),
        Demand::Reject => json!({"type": "reject"}),
        Demand::SignedBy => json!({"type": "signedBy", "keyType": "GPGKeys", "keyPaths": keys}),
        Demand::Sigstore => json!({"type": "sigstoreSigned", "keyPaths": keys}),
    }
}

fn accepting() -> Value {
    json!({"default": [{"type": "insecureAcceptAnything"}]})
}

fn pretty(document: &Value) -> String {
    // Cannot fail: it is a JSON value.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

/// Another file in its place, all at once.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.join(format!(".{name}.part-{}", std::process::id()));
    let mut file = std::fs::File::create_new(&aside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&aside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    written
}
