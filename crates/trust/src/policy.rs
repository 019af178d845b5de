//! The policy: containers-policy.json(5). What is required of an image depends on the transport that
//! it comes by and on the most specific scope that holds its name.

use std::path::Path;

use gamut_spec::Reference;

use crate::document::{Document, Scopes};
use crate::error::PolicyError;
use crate::identity::Identity;

/// Bytes of a policy.
const POLICY_LIMIT_BYTES: u64 = 4 << 20;

/// What an image must fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    Accept,
    /// It is never used.
    Reject,
    /// It is signed by one of these OpenPGP keys (simple signing).
    SignedBy {
        keys: Vec<Material>,
        identity: Identity,
    },
    /// It is signed as sigstore signs.
    Sigstore(Box<SigstoreRequirement>),
}

/// See [`Requirement::Sigstore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigstoreRequirement {
    /// Public keys, any of which will do; or none, and `fulcio`.
    pub keys: Vec<Material>,
    pub fulcio: Option<Fulcio>,
    /// Keys of transparency logs, one of which must have promised to log the signature.
    pub rekor: Vec<Material>,
    /// `None`: the policy does not say.
    pub identity: Option<Identity>,
}

/// Whose certificates are believed, and whom they must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fulcio {
    pub authorities: Material,
    pub oidc_issuer: String,
    pub subject_email: String,
}

/// A key or certificate: in a file, or in the policy itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    File(std::path::PathBuf),
    Data(Vec<u8>),
}

impl Material {
    /// Its bytes.
    pub fn read(&self) -> Result<Vec<u8>, PolicyError> {
        match self {
            Self::Data(bytes) => Ok(bytes.clone()),
            Self::File(path) => read(path, crate::SIGNATURE_LIMIT_BYTES),
        }
    }

    /// For messages and lists.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Data(_) => "a key in the policy".to_owned(),
        }
    }
}

/// A whole policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    default: Vec<Requirement>,
    transports: Vec<(String, Scopes<Vec<Requirement>>)>,
}

/// What applies to one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applying<'p> {
    pub requirements: &'p [Requirement],
    /// The scope, for messages: "all images" or "`registry.example.org/app`".
    pub scope: String,
}

impl Policy {
    /// What holds where there is no policy: everything is accepted.
    pub fn accepting() -> Self {
        Self {
            default: vec![Requirement::Accept],
            transports: Vec::new(),
        }
    }

    /// Reads a policy.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let bytes = read(path, POLICY_LIMIT_BYTES)?;
        Self::parse(&bytes).map_err(|reason| PolicyError::Malformed {
            path: path.to_owned(),
            reason,
        })
    }

    /// The same of its bytes; the error says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let list = |of: Vec<crate::document::Requirement>| -> Result<Vec<Requirement>, String> {
            if of.is_empty() {
                return Err("a list of requirements is empty".to_owned());
            }
            of.into_iter().map(TryInto::try_into).collect()
        };
        let default = list(document.default)?;
        let mut transports = Vec::new();
        for (transport, scopes) in document.transports.0 {
            let scopes = scopes.0.into_iter();
            let scopes = scopes.map(|(scope, of)| Ok((scope, list(of)?)));
            transports.push((transport, Scopes(scopes.collect::<Result<_, String>>()?)));
        }
        Ok(Self {
            default,
            transports,
        })
    }

    /// What is required of an image of a registry.
    pub fn of_image(&self, image: &Reference) -> Applying<'_> {
        self.find("docker", &scopes_of(image))
    }

    /// What is required of images that come another way, such as `docker-archive`.
    pub fn of_transport(&self, transport: &str) -> Applying<'_> {
        self.find(transport, &[])
    }

    /// Every scope with its transport and what it requires, the default first.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, &[Requirement])> {
        let default = std::iter::once(("all", "default", self.default.as_slice()));
        default.chain(self.transports.iter().flat_map(|(transport, scopes)| {
            scopes
                .0
                .iter()
                .map(move |(scope, list)| (transport.as_str(), scope.as_str(), list.as_slice()))
        }))
    }

    fn find(&self, transport: &str, scopes: &[String]) -> Applying<'_> {
        let listed = self.transports.iter().find(|(name, _)| name == transport);
        if let Some((_, listed)) = listed {
            for scope in scopes.iter().map(String::as_str).chain([""]) {
                if let Some((_, list)) = listed.0.iter().find(|(name, _)| name == scope) {
                    return Applying {
                        requirements: list,
                        scope: match scope {
                            "" => format!("all of `{transport}`"),
                            scope => format!("`{scope}`"),
                        },
                    };
                }
            }
        }
        Applying {
            requirements: &self.default,
            scope: "all images".to_owned(),
        }
    }
}

/// The scopes that hold an image, the most specific first: itself, its repository, the namespaces
/// above, the registry, and the domains above that.
fn scopes_of(image: &Reference) -> Vec<String> {
    let name = image.name();
    let mut scopes = match (image.digest(), image.tag()) {
        (Some(digest), _) => vec![format!("{name}@{digest}")],
        (None, Some(tag)) => vec![format!("{name}:{tag}")],
        (None, None) => Vec::new(),
    };
    let mut rest = name.as_str();
    loop {
        scopes.push(rest.to_owned());
        match rest.rsplit_once('/') {
            Some((above, _)) => rest = above,
            None => break,
        }
    }
    // The port is a part of the host's name: `*.example.org:5000`.
    let mut host = image.registry();
    while let Some((_, domain)) = host.split_once('.') {
        scopes.push(format!("*.{domain}"));
        host = domain;
    }
    scopes
}

pub(crate) fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, PolicyError> {
    use std::io::Read;
    let failed = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 > limit_bytes {
        false => Ok(bytes),
        true => Err(PolicyError::TooLarge {
            path: path.to_owned(),
            limit_bytes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<Policy, String> {
        Policy::parse(text.as_bytes())
    }

    #[test]
    fn the_most_specific_scope_decides() {
        let all = policy(
            r#"{"default": [{"type": "reject"}], "transports": {
                "docker": {
                    "docker.io": [{"type": "insecureAcceptAnything"}],
                    "docker.io/library/debian": [{"type": "reject"}],
                    "docker.io/library/debian:12": [{"type": "insecureAcceptAnything"}],
                    "*.example.org": [{"type": "insecureAcceptAnything"}]
                },
                "docker-archive": {"": [{"type": "insecureAcceptAnything"}]}
            }}"#,
        )
        .unwrap();
        let scope = |name: &str| all.of_image(&name.parse().unwrap()).scope;
        assert_eq!(scope("debian:12"), "`docker.io/library/debian:12`");
        assert_eq!(scope("debian:11"), "`docker.io/library/debian`");
        assert_eq!(scope("nginx"), "`docker.io`");
        assert_eq!(scope("a.b.example.org/x/y"), "`*.example.org`");
        assert_eq!(scope("example.org/x"), "all images");
        assert_eq!(
            all.of_transport("docker-archive").scope,
            "all of `docker-archive`"
        );
        assert_eq!(all.of_transport("oci").scope, "all images");
        assert_eq!(all.entries().count(), 6);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "{}",
            r#"{"default": []}"#,
            r#"{"default": [{"type": "trustMe"}]}"#,
            r#"{"default": [{"type": "reject", "really": true}]}"#,
            r#"{"default": [{"type": "reject"}], "more": {}}"#,
            r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys"}]}"#,
            r#"{"default": [{"type": "signedBy", "keyType": "X509", "keyPath": "/k"}]}"#,
            r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k", "keyData": "aGk="}]}"#,
            r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k",
                "signedIdentity": {"type": "whatever"}}]}"#,
            r#"{"default": [{"type": "sigstoreSigned"}]}"#,
            r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "pki": {}}]}"#,
            r#"{"default": [{"type": "sigstoreSigned",
                "fulcio": {"caPath": "/c", "oidcIssuer": "i", "subjectEmail": "e"}}]}"#,
            r#"{"default": [{"type": "reject"}], "transports": {"docker": {"a": [{"type": "reject"}],
                "a": [{"type": "insecureAcceptAnything"}]}}}"#,
            r#"{"default": [{"type": "reject"}], "transports": {"docker": {"a": []}}}"#,
        ] {
            assert!(policy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_stand_in_files_and_in_the_policy() {
        let all = policy(
            r#"{"default": [
                {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", "/b"]},
                {"type": "sigstoreSigned", "keyData": "aGk=", "rekorPublicKeyPath": "/r",
                    "signedIdentity": {"type": "matchRepository"}}
            ]}"#,
        )
        .unwrap();
        let image = "debian".parse().unwrap();
        let requirements = all.of_image(&image).requirements;
        let Requirement::SignedBy { keys, identity } = &requirements[0] else {
            panic!("{requirements:?}");
        };
        assert_eq!(keys.len(), 2);
        assert_eq!(*identity, Identity::MatchRepoDigestOrExact);
        let Requirement::Sigstore(sigstore) = &requirements[1] else {
            panic!("{requirements:?}");
        };
        assert_eq!(sigstore.keys, [Material::Data(b"hi".to_vec())]);
        assert_eq!(sigstore.rekor.len(), 1);
        assert_eq!(sigstore.identity, Some(Identity::MatchRepository));
    }
}
