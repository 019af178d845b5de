//! What was signed, by simple signing and by cosign alike: container-signature(5), "The cryptographic
//! signature" and "JSON data format".

use gamut_spec::Digest;
use serde::Deserialize;

/// `type` of simple signing, and cosign's.
const TYPES: [&str; 2] = [
    "atomic container signature",
    "cosign container image signature",
];

/// What a signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The image's name, as who signed it wrote it.
    pub reference: String,
    /// The digest of its manifest, or of its index.
    pub digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    critical: Critical,
    // Whatever: it decides nothing.
    #[serde(default, rename = "optional")]
    _optional: serde::de::IgnoredAny,
}

/// Each field is to be understood, or the signature is not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Identity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

impl Payload {
    /// Reads what was signed; only to be called when the signature was found right.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|_| "what was signed is no statement about an image")?;
        if !TYPES.contains(&document.critical.kind.as_str()) {
            return Err("what was signed is no statement about an image");
        }
        Ok(Self {
            reference: document.critical.identity.reference,
            digest: document.critical.image.digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_critical_field_is_understood_or_nothing_is() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = |kind: &str, more: &str| {
            format!(
                r#"{{"critical":{{"type":"{kind}","image":{{"docker-manifest-digest":"{digest}"}},
                    "identity":{{"docker-reference":"r.io/a:1"}}{more}}},"optional":{{"creator":"x"}}}}"#
            )
        };
        for kind in TYPES {
            let payload = Payload::parse(text(kind, "").as_bytes()).unwrap();
            assert_eq!(payload.reference, "r.io/a:1");
        }
        assert!(Payload::parse(text("other", "").as_bytes()).is_err());
        assert!(Payload::parse(text(TYPES[0], r#","new":1"#).as_bytes()).is_err());
        assert!(Payload::parse(b"{}").is_err());
        let null = text(TYPES[1], "").replace(r#"{"creator":"x"}"#, "null");
        assert!(Payload::parse(null.as_bytes()).is_ok());
    }
}
