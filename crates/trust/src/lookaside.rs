//! Where simple signatures lie, beside the registry: containers-registries.d(5). The files are YAML;
//! they are two levels of names over texts, and no more of YAML than that is read.

use std::path::Path;

use gamut_spec::Reference;

use crate::error::PolicyError;
use crate::policy::read;

/// Where the files are.
pub const DIRECTORY: &str = "/etc/containers/registries.d";
/// Bytes of one file.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// All files together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookaside {
    default: Option<String>,
    /// By scope: a registry, a namespace, a repository, or a reference.
    scopes: Vec<(String, String)>,
}

impl Lookaside {
    /// Reads all `*.yaml` of a directory; one that is not there has none.
    pub fn read(directory: &Path) -> Result<Self, PolicyError> {
        let failed = |source| PolicyError::Read {
            path: directory.to_owned(),
            source,
        };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(failed(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|end| end == "yaml") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut all = Self::default();
        for path in paths {
            let bytes = read(&path, FILE_LIMIT_BYTES)?;
            all.add(&bytes)
                .map_err(|reason| PolicyError::Malformed { path, reason })?;
        }
        Ok(all)
    }

    /// Adds the content of a file.
    fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        for entry in entries(text)? {
            let path: Vec<&str> = entry.path.iter().map(String::as_str).collect();
            match path.as_slice() {
                // Its name of before 2022.
                ["default-docker", "lookaside" | "sigstore"] => self.default = Some(entry.value),
                ["docker", scope, "lookaside" | "sigstore"] => {
                    self.scopes.push(((*scope).to_owned(), entry.value));
                }
                // Where signatures are written, and where sigstore's are: they are looked for anyway.
                ["default-docker" | "docker", ..] => {}
                [other, ..] => return Err(format!("`{other}` is not known")),
                [] => {}
            }
        }
        Ok(())
    }

    /// The URL below which the signatures of a manifest are; `None`: nobody says where.
    /// `/signature-1` and so on are appended.
    pub fn signatures_of(
        &self,
        image: &Reference,
        manifest: &gamut_spec::Digest,
    ) -> Option<String> {
        let base = self.base(image)?.trim_end_matches('/');
        let algorithm = manifest.algorithm().as_str();
        let path = image.repository();
        Some(format!("{base}/{path}@{algorithm}={}", manifest.hex()))
    }

    fn base(&self, image: &Reference) -> Option<&str> {
        let tagged = image.tag().map(|tag| format!("{}:{tag}", image.name()));
        let exact = tagged.and_then(|tagged| self.listed(&tagged));
        exact.or_else(|| self.store_of(&image.name()))
    }

    /// The place for a registry, a namespace or a repository.
    pub fn store_of(&self, scope: &str) -> Option<&str> {
        let mut rest = scope;
        loop {
            if let Some(base) = self.listed(rest) {
                return Some(base);
            }
            match rest.rsplit_once('/') {
                Some((above, _)) => rest = above,
                None => return self.default.as_deref(),
            }
        }
    }

    fn listed(&self, scope: &str) -> Option<&str> {
        let found = self.scopes.iter().find(|(listed, _)| listed == scope);
        found.map(|(_, base)| base.as_str())
    }
}

/// A text with the names above it.
struct Entry {
    path: Vec<String>,
    value: String,
}

/// The texts of nested YAML mappings.
fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let mut found = Vec::new();
    // Names with their indentation.
    let mut above: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let body = line.trim_start_matches(' ');
        let indentation = line.len() - body.len();
        let body = without_comment(body).trim_end();
        if body.is_empty() || (indentation == 0 && matches!(body, "---" | "...")) {
            continue;
        }
        let wrong = || format!("line {number} is not `name: value`");
        let (name, value) = split(body).ok_or_else(wrong)?;
        above.retain(|(outer, _)| *outer < indentation);
        match value {
            "" => above.push((indentation, name)),
            value => {
                let path = above.iter().map(|(_, name)| name.clone());
                found.push(Entry {
                    path: path.chain([name]).collect(),
                    value: unquoted(value).ok_or_else(wrong)?,
                });
            }
        }
    }
    Ok(found)
}

/// A name may hold colons (`host:5000`): the one that ends it has a blank or nothing behind it.
fn split(body: &str) -> Option<(String, &str)> {
    let (name, value) = match body.split_once(": ") {
        Some((name, value)) => (name, value.trim()),
        None => (body.strip_suffix(':')?, ""),
    };
    Some((unquoted(name.trim())?, value))
}

fn without_comment(body: &str) -> &str {
    match (body.starts_with('#'), body.find(" #")) {
        (true, _) => "",
        (false, Some(at)) => &body[..at],
        (false, None) => body,
    }
}

/// A plain text, or one in quotes that hold nothing special.
fn unquoted(text: &str) -> Option<String> {
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    match inner {
        Some(inner) => (!inner.contains(['\\', '\'', '"'])).then(|| inner.to_owned()),
        None if text.starts_with(['[', '{', '|', '>', '&', '*', '!', '-', '?', '"', '\'']) => None,
        None => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# A comment
default-docker:
    lookaside: file:///var/lib/containers/sigstore
    lookaside-staging: file:///x   # and another
docker:
  "registry.example.org:5000":
     sigstore: https://sig.example.org/
  registry.example.org:5000/team/app:
     use-sigstore-attachments: true
     lookaside: 'https://app.example.org/s'
"#;

    #[test]
    fn the_most_specific_place_is_taken() {
        let mut all = Lookaside::default();
        all.add(TEXT.as_bytes()).unwrap();
        let digest: gamut_spec::Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let place = |name: &str| all.signatures_of(&name.parse().unwrap(), &digest).unwrap();
        let hex = digest.hex();
        assert_eq!(
            place("debian"),
            format!("file:///var/lib/containers/sigstore/library/debian@sha256={hex}")
        );
        assert_eq!(
            place("registry.example.org:5000/other"),
            format!("https://sig.example.org/other@sha256={hex}")
        );
        assert_eq!(
            place("registry.example.org:5000/team/app:1"),
            format!("https://app.example.org/s/team/app@sha256={hex}")
        );
        let none = Lookaside::default();
        assert_eq!(
            none.signatures_of(&"debian".parse().unwrap(), &digest),
            None
        );
    }

    #[test]
    fn other_yaml_is_refused() {
        for text in [
            "docker: [a, b]",
            "docker:\n  - a",
            "unknown:\n  a: b",
            "docker:\n  a:\n    lookaside: |",
            "just words",
        ] {
            assert!(Lookaside::default().add(text.as_bytes()).is_err(), "{text}");
        }
    }
}
