//! The policy's JSON as it is written, before it is made sense of: nothing in it is passed over.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::identity::Identity;
use crate::policy::{self, Fulcio, Material, SigstoreRequirement};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) default: Vec<Requirement>,
    #[serde(default)]
    pub(crate) transports: Scopes<Scopes<Vec<Requirement>>>,
}

/// A JSON object whose keys are unique: of two that are not, either could be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scopes<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Scopes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Scopes<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = Scopes<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scopes<T>, A::Error> {
                let mut found: Vec<(String, T)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if found.iter().any(|(known, _)| *known == key) {
                        let text = format!("`{key}` stands there twice");
                        return Err(serde::de::Error::custom(text));
                    }
                    found.push((key, value));
                }
                Ok(Scopes(found))
            }
        }
        deserializer.deserialize_map(Keys(PhantomData))
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Requirement {
    InsecureAcceptAnything {},
    Reject {},
    #[serde(rename_all = "camelCase")]
    SignedBy {
        key_type: String,
        key_path: Option<PathBuf>,
        key_paths: Option<Vec<PathBuf>>,
        key_data: Option<String>,
        signed_identity: Option<Identity>,
    },
    #[serde(rename_all = "camelCase")]
    SigstoreSigned {
        key_path: Option<PathBuf>,
        key_paths: Option<Vec<PathBuf>>,
        key_data: Option<String>,
        key_datas: Option<Vec<String>>,
        fulcio: Option<FulcioDocument>,
        rekor_public_key_path: Option<PathBuf>,
        rekor_public_key_paths: Option<Vec<PathBuf>>,
        rekor_public_key_data: Option<String>,
        rekor_public_key_datas: Option<Vec<String>>,
        signed_identity: Option<Identity>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FulcioDocument {
    ca_path: Option<PathBuf>,
    ca_data: Option<String>,
    oidc_issuer: String,
    subject_email: String,
}

impl TryFrom<Requirement> for policy::Requirement {
    type Error = String;

    fn try_from(written: Requirement) -> Result<Self, String> {
        Ok(match written {
            Requirement::InsecureAcceptAnything {} => Self::Accept,
            Requirement::Reject {} => Self::Reject,
            Requirement::SignedBy {
                key_type,
                key_path,
                key_paths,
                key_data,
                signed_identity,
            } => {
                if key_type != "GPGKeys" {
                    return Err(format!("`signedBy` has no keys of type `{key_type}`"));
                }
                let keys = materials(key_path, key_paths, key_data, None)?;
                if keys.is_empty() {
                    return Err("`signedBy` needs keyPath, keyPaths or keyData".to_owned());
                }
                Self::SignedBy {
                    keys,
                    identity: signed_identity.unwrap_or_default(),
                }
            }
            Requirement::SigstoreSigned {
                key_path,
                key_paths,
                key_data,
                key_datas,
                fulcio,
                rekor_public_key_path,
                rekor_public_key_paths,
                rekor_public_key_data,
                rekor_public_key_datas,
                signed_identity,
            } => {
                let required = SigstoreRequirement {
                    keys: materials(key_path, key_paths, key_data, key_datas)?,
                    fulcio: fulcio.map(TryInto::try_into).transpose()?,
                    rekor: materials(
                        rekor_public_key_path,
                        rekor_public_key_paths,
                        rekor_public_key_data,
                        rekor_public_key_datas,
                    )?,
                    identity: signed_identity,
                };
                check(&required)?;
                Self::Sigstore(Box::new(required))
            }
        })
    }
}

fn check(required: &SigstoreRequirement) -> Result<(), String> {
    let problem = match (required.keys.is_empty(), &required.fulcio) {
        (true, None) => "`sigstoreSigned` needs a key or `fulcio`",
        (false, Some(_)) => "`sigstoreSigned` takes a key or `fulcio`, not both",
        // A certificate lives for minutes: only the log says that it was used in them.
        (true, Some(_)) if required.rekor.is_empty() => "`fulcio` needs a key of Rekor",
        _ => return Ok(()),
    };
    Err(problem.to_owned())
}

impl TryFrom<FulcioDocument> for Fulcio {
    type Error = String;

    fn try_from(written: FulcioDocument) -> Result<Self, String> {
        let mut authorities = materials(written.ca_path, None, written.ca_data, None)?;
        let authorities = authorities.pop();
        Ok(Self {
            authorities: authorities.ok_or("`fulcio` needs caPath or caData")?,
            oidc_issuer: written.oidc_issuer,
            subject_email: written.subject_email,
        })
    }
}

/// Of the ways to name keys only one may be taken.
fn materials(
    path: Option<PathBuf>,
    paths: Option<Vec<PathBuf>>,
    data: Option<String>,
    datas: Option<Vec<String>>,
) -> Result<Vec<Material>, String> {
    let given = [
        path.is_some(),
        paths.is_some(),
        data.is_some(),
        datas.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err("of the ways to name a key only one may be taken".to_owned());
    }
    let files = path.into_iter().chain(paths.into_iter().flatten());
    let mut found: Vec<Material> = files.map(Material::File).collect();
    for text in data.into_iter().chain(datas.into_iter().flatten()) {
        let bytes = STANDARD.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| "a key in the policy is not base64".to_owned())?;
        found.push(Material::Data(bytes));
    }
    Ok(found)
}
