//! Whether a signature speaks of the image that was asked for: `signedIdentity` of
//! containers-policy.json(5). The same key may have signed many images; a registry must not be able
//! to serve one of them for another.

use gamut_spec::Reference;
use serde::Deserialize;

/// The rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Identity {
    /// The very name, with its tag or digest.
    MatchExact,
    /// The same; but for an image that was asked for by digest, the repository will do.
    #[default]
    MatchRepoDigestOrExact,
    /// The repository.
    MatchRepository,
    /// This name, whatever was asked for.
    #[serde(rename_all = "camelCase")]
    ExactReference { docker_reference: String },
    /// This repository, whatever was asked for.
    #[serde(rename_all = "camelCase")]
    ExactRepository { docker_repository: String },
    /// As by default, but names that begin with `prefix` were signed with `signed_prefix` there: for
    /// mirrors.
    #[serde(rename_all = "camelCase")]
    RemapIdentity {
        prefix: String,
        signed_prefix: String,
    },
}

/// The name in a signature; whether it has a tag or digest matters, so none is made up.
struct Signed {
    reference: Reference,
    is_bare: bool,
}

impl Signed {
    fn read(text: &str) -> Option<Self> {
        let last = text.rsplit('/').next().unwrap_or(text);
        Some(Self {
            reference: text.parse().ok()?,
            is_bare: !last.contains([':', '@']),
        })
    }

    fn is(&self, other: &Reference) -> bool {
        !self.is_bare && same(&self.reference, other)
    }
}

fn same(one: &Reference, other: &Reference) -> bool {
    one.name() == other.name()
        && match (one.digest(), other.digest()) {
            (None, None) => one.tag() == other.tag(),
            (one, other) => one == other,
        }
}

impl Identity {
    /// Whether the name in a signature will do for `wanted`.
    pub fn accepts(&self, signed: &str, wanted: &Reference) -> bool {
        let Some(signed) = Signed::read(signed) else {
            return false;
        };
        match self {
            Self::MatchExact => signed.is(wanted),
            Self::MatchRepoDigestOrExact => by_default(&signed, wanted),
            Self::MatchRepository => signed.reference.name() == wanted.name(),
            Self::ExactReference { docker_reference } => {
                let fixed = Signed::read(docker_reference);
                fixed.is_some_and(|fixed| !fixed.is_bare && signed.is(&fixed.reference))
            }
            Self::ExactRepository { docker_repository } => {
                let fixed = Signed::read(docker_repository);
                fixed.is_some_and(|fixed| fixed.reference.name() == signed.reference.name())
            }
            Self::RemapIdentity {
                prefix,
                signed_prefix,
            } => match remapped(wanted, prefix, signed_prefix) {
                Some(wanted) => by_default(&signed, &wanted),
                None => false,
            },
        }
    }
}

fn by_default(signed: &Signed, wanted: &Reference) -> bool {
    match wanted.digest() {
        Some(_) => signed.reference.name() == wanted.name(),
        None => signed.is(wanted),
    }
}

/// `wanted` with another beginning, if it has that beginning, up to the end of a component. `None`: a
/// name cannot begin so.
fn remapped(wanted: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let name = wanted.to_string();
    match name.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '@']) => {
            format!("{signed_prefix}{rest}").parse().ok()
        }
        _ => Some(wanted.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn accepts(rule: &str, signed: &str, wanted: &str) -> bool {
        let rule: Identity = serde_json::from_str(rule).unwrap();
        rule.accepts(signed, &wanted.parse().unwrap())
    }

    #[test]
    fn each_rule_accepts_what_it_says() {
        let exact = r#"{"type": "matchExact"}"#;
        let default = r#"{"type": "matchRepoDigestOrExact"}"#;
        let repository = r#"{"type": "matchRepository"}"#;
        let by_digest = format!("r.io/a@{DIGEST}");
        for (rule, signed, wanted, accepted) in [
            (exact, "r.io/a:1", "r.io/a:1", true),
            (exact, "r.io/a:1", "r.io/a:2", false),
            (exact, "r.io/a", "r.io/a:latest", false),
            (exact, "r.io/a:1", &by_digest, false),
            (exact, &by_digest, &by_digest, true),
            (default, "r.io/a:1", &by_digest, true),
            (default, "r.io/a", &by_digest, true),
            (default, "r.io/b:1", &by_digest, false),
            (default, "r.io/a:1", "r.io/a:1", true),
            (default, "r.io/a", "r.io/a:latest", false),
            (repository, "r.io/a", "r.io/a:1", true),
            (repository, "r.io/b", "r.io/a:1", false),
            (repository, "not a name", "r.io/a:1", false),
        ] {
            assert_eq!(
                accepts(rule, signed, wanted),
                accepted,
                "{rule} {signed} {wanted}"
            );
        }
    }

    #[test]
    fn fixed_and_remapped_names() {
        let fixed = r#"{"type": "exactReference", "dockerReference": "r.io/a:1"}"#;
        assert!(accepts(fixed, "r.io/a:1", "m.io/x:9"));
        assert!(!accepts(fixed, "m.io/x:9", "m.io/x:9"));
        let repository = r#"{"type": "exactRepository", "dockerRepository": "r.io/a"}"#;
        assert!(accepts(repository, "r.io/a:7", "m.io/x:9"));
        assert!(!accepts(repository, "r.io/b:7", "m.io/x:9"));
        let remap = r#"{"type": "remapIdentity", "prefix": "m.io/p", "signedPrefix": "r.io"}"#;
        assert!(accepts(remap, "r.io/a:1", "m.io/p/a:1"));
        assert!(!accepts(remap, "r.io/a:1", "m.io/pa:1"));
        assert!(accepts(remap, "m.io/pa:1", "m.io/pa:1"));
        assert!(serde_json::from_str::<Identity>(r#"{"type": "exactReference"}"#).is_err());
    }
}
