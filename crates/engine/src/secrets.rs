//! Secrets: small pieces of data that workloads are given and nothing else shows. Each is `secrets/<name>` in the store,
//! its data in a file that root alone reads. A container has copies in its own directory, made when it is: its
//! plan names the files and never what is in them.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use gamut_plan::launch::{LaunchPlan, SecretFile, SecretVariable};
use gamut_plan::request::{RunRequest, SecretForm, is_name};
use gamut_spec::{Fault, Kind};
use rustix::fs::{CWD, Gid, Mode, RenameFlags, Uid};
use serde::{Deserialize, Serialize};

use crate::dirs::Container;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::names;
use crate::record::now_ns;

/// The one driver that there is.
pub const DRIVER: &str = "file";
/// Podman's.
const MAX_BYTES: usize = 512_000;
const RECORD: &str = "secret.json";
const DATA: &str = "data";
/// How the name of one begins that is being made or removed; no secret's does.
const TEMPORARY: &str = ".tmp-";

/// Why a secret cannot be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("no such secret: {0}")]
    NotFound(String),
    #[error("a secret named {0} exists already")]
    Exists(String),
    #[error("`{0}` is not a secret's name")]
    Name(String),
    #[error("a secret has 1 to {MAX_BYTES} bytes, and this one has {0}")]
    Size(usize),
    #[error("there is no secret driver `{0}`")]
    Driver(String),
    #[error("the secret {0} is no text without NUL bytes, and cannot be a variable")]
    NotText(String),
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

impl SecretError {
    fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SecretError {
        let path = path.to_owned();
        move |source| SecretError::File {
            action,
            path,
            source,
        }
    }
}

impl Fault for SecretError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Exists(_) => Kind::Conflict,
            Self::Name(_) | Self::Size(_) | Self::Driver(_) | Self::NotText(_) => Kind::Invalid,
            Self::File { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound(_) => "`gamut secret ls` lists what there is".into(),
            Self::Exists(_) => "say `--replace`, or remove it first".into(),
            Self::Name(_) => {
                "a name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit"
                    .into()
            }
            Self::Driver(_) => "`file` is the one that there is".into(),
            Self::NotText(_) => "give it as a file: `type=mount`".into(),
            Self::Size(_) | Self::File { .. } => return None,
        })
    }
}

/// What is known of a secret, its data left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    #[serde(skip)]
    pub name: String,
    /// 25 hexadecimal digits.
    pub id: String,
    /// Nanoseconds since the epoch.
    pub created_ns: u64,
    pub labels: BTreeMap<String, String>,
}

/// What becomes of one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    Refused,
    Replaced,
}

impl Engine {
    fn secrets_directory(&self) -> PathBuf {
        self.dirs().root.join("secrets")
    }

    /// Makes a secret; gives its id.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn create_secret(
        &self,
        name: &str,
        data: &[u8],
        labels: BTreeMap<String, String>,
        present: Present,
    ) -> Result<String, EngineError> {
        if !is_name(name) {
            return Err(SecretError::Name(name.to_owned()).into());
        }
        if data.is_empty() || data.len() > MAX_BYTES {
            return Err(SecretError::Size(data.len()).into());
        }
        let all = self.secrets_directory();
        private_directory(&all)?;
        let id: String = names::container_id().chars().take(25).collect();
        let new = all.join(format!("{TEMPORARY}{id}"));
        private_directory(&new)?;
        let secret = Secret {
            name: name.to_owned(),
            id,
            created_ns: now_ns(),
            labels,
        };
        let record = serde_json::to_vec(&secret).unwrap_or_default();
        let place = all.join(name);
        let done = write(&new.join(RECORD), &record)
            .and_then(|()| write(&new.join(DATA), data))
            .and_then(|()| settle(&new, &place, present, name));
        // What is there now is what was there before, or nothing.
        let _ = std::fs::remove_dir_all(&new);
        done?;
        Ok(secret.id)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn secrets(&self) -> Result<Vec<Secret>, EngineError> {
        let all = self.secrets_directory();
        let entries = match std::fs::read_dir(&all) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(SecretError::at("read", &all))?,
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut secrets: Vec<Secret> = names
            .filter(|name| !name.starts_with(TEMPORARY))
            .filter_map(|name| read(&all, &name))
            .collect();
        secrets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(secrets)
    }

    /// The secret of a name, an id, or the beginning of one.
    ///
    /// # Errors
    /// [`SecretError::NotFound`].
    pub fn secret(&self, named: &str) -> Result<Secret, EngineError> {
        let named_so = is_name(named).then(|| read(&self.secrets_directory(), named));
        if let Some(secret) = named_so.flatten() {
            return Ok(secret);
        }
        let mut all = self.secrets()?;
        all.retain(|secret| !named.is_empty() && secret.id.starts_with(named));
        match <[Secret; 1]>::try_from(all) {
            Ok([secret]) => Ok(secret),
            Err(_) => Err(SecretError::NotFound(named.to_owned()).into()),
        }
    }

    /// What is in it.
    ///
    /// # Errors
    /// It is gone.
    pub fn secret_data(&self, secret: &Secret) -> Result<Vec<u8>, EngineError> {
        let path = self.secrets_directory().join(&secret.name).join(DATA);
        Ok(std::fs::read(&path).map_err(SecretError::at("read", &path))?)
    }

    /// Removes a secret. Containers that were made with it keep their copies.
    ///
    /// # Errors
    /// [`SecretError::NotFound`].
    pub fn remove_secret(&self, named: &str) -> Result<Secret, EngineError> {
        let secret = self.secret(named)?;
        let place = self.secrets_directory().join(&secret.name);
        let going = place.with_file_name(format!("{TEMPORARY}{}", names::container_id()));
        std::fs::rename(&place, &going).map_err(SecretError::at("remove", &place))?;
        std::fs::remove_dir_all(&going).map_err(SecretError::at("remove", &going))?;
        Ok(secret)
    }

    /// A container's copies of the secrets that it asks for.
    pub(crate) fn place_secrets(
        &self,
        request: &RunRequest,
        dirs: &Container,
    ) -> Result<(Vec<SecretFile>, Vec<SecretVariable>), EngineError> {
        let (mut files, mut variables) = (Vec::new(), Vec::new());
        if request.secrets.is_empty() {
            return Ok((files, variables));
        }
        let place = dirs.directory.join("secrets");
        private_directory(&place)?;
        for (index, asked) in request.secrets.iter().enumerate() {
            let secret = self.secret(&asked.secret)?;
            let data = self.secret_data(&secret)?;
            let copy = place.join(index.to_string());
            write(&copy, &data)?;
            match &asked.form {
                SecretForm::Env { variable } => {
                    if std::str::from_utf8(&data).is_err() || data.contains(&0) {
                        return Err(SecretError::NotText(secret.name).into());
                    }
                    variables.push(SecretVariable {
                        variable: variable.clone().unwrap_or(secret.name),
                        file: copy,
                    });
                }
                SecretForm::Mount {
                    target,
                    uid,
                    gid,
                    mode,
                } => {
                    let failed =
                        |errno: rustix::io::Errno| SecretError::at("make", &copy)(errno.into());
                    let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
                    rustix::fs::chown(&copy, Some(uid), Some(gid)).map_err(failed)?;
                    rustix::fs::chmod(&copy, Mode::from_raw_mode(*mode)).map_err(failed)?;
                    let below = target.clone().unwrap_or_else(|| secret.name.into());
                    files.push(SecretFile {
                        inside: Path::new("/run/secrets").join(below),
                        file: copy,
                    });
                }
            }
        }
        Ok((files, variables))
    }
}

/// Puts the variables that are secrets into a plan that is about to be carried out: what is on disk names
/// files.
pub(crate) fn reveal(plan: &mut LaunchPlan) -> Result<(), SecretError> {
    for secret in &plan.secrets {
        let mut text = String::new();
        let read = File::open(&secret.file).and_then(|mut file| file.read_to_string(&mut text));
        read.map_err(SecretError::at("read", &secret.file))?;
        let Some(process) = plan.spec.process_mut() else {
            continue;
        };
        let mut all = process.env().clone().unwrap_or_default();
        let name = format!("{}=", secret.variable);
        all.retain(|one| !one.starts_with(&name));
        all.push(format!("{name}{text}"));
        process.set_env(Some(all));
    }
    Ok(())
}

fn read(all: &Path, name: &str) -> Option<Secret> {
    let text = std::fs::read(all.join(name).join(RECORD)).ok()?;
    let secret: Secret = serde_json::from_slice(&text).ok()?;
    let name = name.to_owned();
    Some(Secret { name, ..secret })
}

/// Gives a new one its name.
fn settle(new: &Path, place: &Path, present: Present, name: &str) -> Result<(), SecretError> {
    let refused = |errno: rustix::io::Errno| match errno {
        rustix::io::Errno::EXIST => SecretError::Exists(name.to_owned()),
        errno => SecretError::at("make", place)(errno.into()),
    };
    let alone = rustix::fs::renameat_with(CWD, new, CWD, place, RenameFlags::NOREPLACE);
    match (alone, present) {
        (Err(rustix::io::Errno::EXIST), Present::Replaced) => {
            // The old one has the temporary name then, and is removed by it.
            rustix::fs::renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).map_err(refused)
        }
        (other, _) => other.map_err(refused),
    }
}

fn private_directory(path: &Path) -> Result<(), SecretError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(SecretError::at("make", path))
}

fn write(path: &Path, data: &[u8]) -> Result<(), SecretError> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(data));
    written.map_err(SecretError::at("write", path))
}
