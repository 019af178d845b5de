//! What this host says of registries: containers-registries.conf(5), version 2, and where there is
//! no such file, Docker's `daemon.json` (`registry-mirrors`, `insecure-registries`).
//!
//! Honoured are `prefix`, `location`, `insecure`, `blocked`, `mirror` with `pull-from-mirror`, and
//! `mirror-by-digest-only`. Short names are not: a name means what it means to Docker, whatever
//! `unqualified-search-registries` and `[aliases]` say.

use std::path::{Path, PathBuf};

use gamut_spec::reference::{DEFAULT_REGISTRY, Reference};
use gamut_spec::{Fault, Kind};
use serde::Deserialize;
use thiserror::Error;

/// The longest file that is read, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Debug, Error)]
pub enum RegistriesError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is malformed: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("the registry of `{name}` is blocked by {}", path.display())]
    Blocked { name: String, path: PathBuf },
    #[error("{}: `{location}` cannot be where `{name}` is", path.display())]
    Location {
        name: String,
        location: String,
        path: PathBuf,
    },
}

impl Fault for RegistriesError {
    fn kind(&self) -> Kind {
        match self {
            RegistriesError::Blocked { .. } => Kind::Denied,
            RegistriesError::Read { .. } => Kind::Unavailable,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RegistriesError::Blocked { .. } => {
                Some("ask whoever administers this host, or use another registry".into())
            }
            _ => Some("containers-registries.conf(5) says what the file may have".into()),
        }
    }
}

/// All that is said of registries.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Entry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
    /// Where it is said.
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Pull,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pull {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// Other tables are somebody else's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Entry>,
    /// Of version 1.
    registries: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct DockerFile {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
}

impl Registries {
    /// As the files of this host and this user say.
    ///
    /// # Errors
    /// A file that is there and cannot be understood.
    pub fn of_host() -> Result<Registries, RegistriesError> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let own = home.map(|home| home.join(".config/containers"));
        let named = std::env::var_os("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from);
        Registries::read(named, own.as_deref(), Path::new("/etc"))
    }

    /// `named` is the one file that is to be read, `own` the user's directory.
    fn read(
        named: Option<PathBuf>,
        own: Option<&Path>,
        etc: &Path,
    ) -> Result<Registries, RegistriesError> {
        let system = etc.join("containers");
        let mut paths: Vec<PathBuf> = match named {
            Some(named) => vec![named],
            None => {
                let own = own.map(|own| own.join("registries.conf"));
                let own = own.filter(|own| own.exists());
                vec![own.unwrap_or_else(|| system.join("registries.conf"))]
            }
        };
        for directory in [Some(system.as_path()), own].into_iter().flatten() {
            paths.extend(drop_ins(&directory.join("registries.conf.d")));
        }
        let mut registries = Registries::default();
        let mut any = false;
        for path in paths {
            if let Some(text) = text_of(&path)? {
                any = true;
                registries.add(&path, &text)?;
            }
        }
        if !any {
            let path = etc.join("docker/daemon.json");
            if let Some(text) = text_of(&path)? {
                registries = Registries::of_docker(&path, &text)?;
            }
        }
        Ok(registries)
    }

    /// Adds what a file says; of one prefix the last word counts.
    fn add(&mut self, path: &Path, text: &str) -> Result<(), RegistriesError> {
        let malformed = |reason: String| RegistriesError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let file: File = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if file.registries.is_some() {
            return Err(malformed("it is of version 1".into()));
        }
        for mut entry in file.registry {
            let prefix = entry.prefix.clone().or_else(|| entry.location.clone());
            let prefix = prefix.filter(|prefix| !prefix.is_empty());
            let prefix = prefix.ok_or_else(|| malformed("a registry has no location".into()))?;
            entry.prefix = Some(prefix.clone());
            entry.path = path.to_owned();
            self.entries
                .retain(|other| other.prefix.as_ref() != Some(&prefix));
            self.entries.push(entry);
        }
        Ok(())
    }

    fn of_docker(path: &Path, text: &str) -> Result<Registries, RegistriesError> {
        let file: DockerFile =
            serde_json::from_str(text).map_err(|error| RegistriesError::Malformed {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        let mirror = |url: &String| Mirror {
            location: url
                .trim_start_matches("https://")
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .to_owned(),
            insecure: url.starts_with("http://"),
            pull_from_mirror: Pull::All,
        };
        let hub = Entry {
            prefix: Some(DEFAULT_REGISTRY.into()),
            mirror: file.registry_mirrors.iter().map(mirror).collect(),
            path: path.to_owned(),
            ..Entry::default()
        };
        // Networks are for those who resolve names; here a registry is what its name says.
        let insecure = file.insecure_registries.into_iter().map(|name| Entry {
            prefix: Some(name),
            insecure: true,
            path: path.to_owned(),
            ..Entry::default()
        });
        Ok(Registries {
            entries: [hub].into_iter().chain(insecure).collect(),
        })
    }

    /// Where `reference` is to be looked for, in this order; the last is the registry itself.
    ///
    /// # Errors
    /// [`RegistriesError::Blocked`].
    pub fn sources(&self, reference: &Reference) -> Result<Vec<Reference>, RegistriesError> {
        let Some((entry, prefix)) = self.entry(reference) else {
            return Ok(vec![reference.clone()]);
        };
        let by_digest = reference.digest().is_some();
        let mut sources = Vec::new();
        for mirror in &entry.mirror {
            let suits = match mirror.pull_from_mirror {
                Pull::All => by_digest || !entry.mirror_by_digest_only,
                Pull::DigestOnly => by_digest,
                Pull::TagOnly => !by_digest,
            };
            if suits {
                sources.push(entry.moved(reference, &prefix, &mirror.location)?);
            }
        }
        sources.push(self.target(reference)?);
        Ok(sources)
    }

    /// Where `reference` is to be pushed to.
    ///
    /// # Errors
    /// [`RegistriesError::Blocked`].
    pub fn target(&self, reference: &Reference) -> Result<Reference, RegistriesError> {
        let Some((entry, prefix)) = self.entry(reference) else {
            return Ok(reference.clone());
        };
        if entry.blocked {
            return Err(RegistriesError::Blocked {
                name: reference.familiar(),
                path: entry.path.clone(),
            });
        }
        match &entry.location {
            Some(location) => entry.moved(reference, &prefix, location),
            None => Ok(reference.clone()),
        }
    }

    /// Hosts whose certificates are not checked and that may speak plain HTTP.
    #[must_use]
    pub fn insecure(&self) -> Vec<String> {
        let mut hosts = Vec::new();
        for entry in &self.entries {
            let own = entry.location.as_ref().or(entry.prefix.as_ref());
            hosts.extend(own.filter(|_| entry.insecure).map(|place| host(place)));
            let mirrors = entry.mirror.iter().filter(|mirror| mirror.insecure);
            hosts.extend(mirrors.map(|mirror| host(&mirror.location)));
        }
        hosts
    }

    /// The entry with the longest prefix that fits, and the part of the name that it fits.
    fn entry(&self, reference: &Reference) -> Option<(&Entry, String)> {
        let name = reference.name();
        self.entries
            .iter()
            .filter_map(|entry| Some((entry, fitting(entry.prefix.as_ref()?, &name, reference)?)))
            .max_by_key(|(entry, _)| entry.prefix.as_ref().map_or(0, String::len))
    }
}

impl Entry {
    /// `reference` with `location` in the place of `prefix`.
    fn moved(
        &self,
        reference: &Reference,
        prefix: &str,
        location: &str,
    ) -> Result<Reference, RegistriesError> {
        let name = reference.name();
        let rest = name.strip_prefix(prefix).unwrap_or_default();
        let tag = reference.tag().map(|tag| format!(":{tag}"));
        let digest = reference.digest().map(|digest| format!("@{digest}"));
        let text = format!(
            "{location}{rest}{}{}",
            tag.unwrap_or_default(),
            digest.unwrap_or_default()
        );
        text.parse().map_err(|_| RegistriesError::Location {
            name,
            location: location.to_owned(),
            path: self.path.clone(),
        })
    }
}

/// The part of `name` that `prefix` fits: itself, or a host below `*.`.
fn fitting(prefix: &str, name: &str, reference: &Reference) -> Option<String> {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = reference.registry();
        let below = host.strip_suffix(domain)?.ends_with('.');
        return below.then(|| host.to_owned());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| prefix.to_owned())
}

fn host(place: &str) -> String {
    place.split('/').next().unwrap_or_default().to_owned()
}

/// The files `*.conf` of a directory, in order of their names.
fn drop_ins(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .collect();
    paths.sort();
    paths
}

/// `None`: there is no such file.
fn text_of(path: &Path) -> Result<Option<String>, RegistriesError> {
    use std::io::Read;
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RegistriesError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        let mut registries = Registries::default();
        registries.add(Path::new("r.conf"), text).expect("read");
        registries
    }

    fn sources(registries: &Registries, name: &str) -> Vec<String> {
        let reference: Reference = name.parse().expect("a name");
        let sources = registries.sources(&reference).expect("sources");
        sources.iter().map(ToString::to_string).collect()
    }

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn mirrors_come_before_the_registry() {
        let registries = registries(
            r#"
            unqualified-search-registries = ["quay.io"]
            [[registry]]
            prefix = "docker.io"
            [[registry.mirror]]
            location = "mirror.local:5000/hub"
            insecure = true
            [[registry.mirror]]
            location = "digests.local"
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "docker.io/library/only"
            location = "moved.io/here"
            [[registry]]
            location = "*.corp.example"
            insecure = true
            "#,
        );
        assert_eq!(
            sources(&registries, "debian"),
            [
                "mirror.local:5000/hub/library/debian:latest",
                "docker.io/library/debian:latest"
            ]
        );
        let by_digest = sources(&registries, &format!("debian@{DIGEST}"));
        assert_eq!(
            by_digest[1],
            format!("digests.local/library/debian@{DIGEST}")
        );
        assert_eq!(sources(&registries, "only:1"), ["moved.io/here:1"]);
        assert_eq!(
            sources(&registries, "onlyy:1"),
            [
                "mirror.local:5000/hub/library/onlyy:1",
                "docker.io/library/onlyy:1"
            ]
        );
        assert_eq!(sources(&registries, "quay.io/x:1"), ["quay.io/x:1"]);
        assert_eq!(
            registries.insecure(),
            ["mirror.local:5000", "*.corp.example"]
        );
    }

    #[test]
    fn wildcards_are_for_hosts_below() {
        let registries = registries(
            "[[registry]]\nprefix = \"*.bad.example\"\nblocked = true\n\
             [[registry]]\nprefix = \"*.old.example\"\nlocation = \"new.example\"\n",
        );
        let blocked = |name: &str| registries.sources(&name.parse().expect("a name")).is_err();
        assert!(blocked("a.bad.example/x") && blocked("a.b.bad.example/x"));
        assert!(!blocked("bad.example/x") && !blocked("xbad.example/x"));
        assert_eq!(
            sources(&registries, "r.old.example/a/b:1"),
            ["new.example/a/b:1"]
        );
    }

    #[test]
    fn the_last_word_on_a_prefix_counts_and_version_1_is_refused() {
        let mut registries = registries("[[registry]]\nlocation = \"r.io\"\nblocked = true\n");
        let reference: Reference = "r.io/x".parse().expect("a name");
        assert!(matches!(
            registries.target(&reference),
            Err(RegistriesError::Blocked { .. })
        ));
        let later = "[[registry]]\nlocation = \"r.io\"\n";
        registries.add(Path::new("z.conf"), later).expect("read");
        assert!(registries.target(&reference).is_ok());
        let old = "[registries.search]\nregistries = [\"a\"]\n";
        assert!(registries.add(Path::new("o.conf"), old).is_err());
        assert!(registries.add(Path::new("o.conf"), "x = [").is_err());
    }

    #[test]
    fn dockers_mirrors_are_for_docker_hub() {
        let text = r#"{"registry-mirrors":["http://m.local:5000/"],
                       "insecure-registries":["r.local:5000"],"debug":true}"#;
        let registries = Registries::of_docker(Path::new("daemon.json"), text).expect("read");
        assert_eq!(
            sources(&registries, "a/b:1"),
            ["m.local:5000/a/b:1", "docker.io/a/b:1"]
        );
        assert_eq!(
            sources(&registries, "r.local:5000/a:1"),
            ["r.local:5000/a:1"]
        );
        assert_eq!(registries.insecure(), ["m.local:5000", "r.local:5000"]);
    }
}
