//! What somebody states of an image: in-toto's statements (github.com/in-toto/attestation, versions 0.1
//! and 1), such as an SBOM or a provenance. They come bare, in an envelope
//! (github.com/secure-systems-lab/dsse), or in a sigstore bundle.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::sigstore::decode;

const KINDS: [&str; 2] = [
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
];

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// JSON, as it came.
    pub text: Vec<u8>,
    /// What is stated, as a URL.
    pub predicate_type: String,
    /// The digests (SHA-256, hexadecimal) and names that it is about.
    pub subjects: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    #[serde(default)]
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// What a statement may be packed in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Packed {
    payload: Option<String>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
struct Envelope {
    payload: String,
}

impl Statement {
    /// Reads a bare statement; `None` if it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(text).ok()?;
        if !KINDS.contains(&document.kind.as_str()) {
            return None;
        }
        let subjects = document.subject.into_iter().filter_map(|mut subject| {
            let digest = subject.digest.remove("sha256")?;
            Some((digest, subject.name))
        });
        Some(Self {
            text: text.to_vec(),
            predicate_type: document.predicate_type,
            subjects: subjects.collect(),
        })
    }

    /// The same of whatever it is packed in; no signature is checked.
    pub fn unpack(document: &[u8]) -> Option<Self> {
        if let Some(statement) = Self::parse(document) {
            return Some(statement);
        }
        let packed: Packed = serde_json::from_slice(document).ok()?;
        let envelope = packed.dsse_envelope.map(|envelope| envelope.payload);
        let payload = decode(&packed.payload.or(envelope)?).ok()?;
        Self::parse(&payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn statements_are_found_in_what_they_are_packed_in() {
        let bare = br#"{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "p",
            "subject": [{"name": "n", "digest": {"sha256": "ab"}}], "predicate": {}}"#;
        let payload = STANDARD.encode(bare);
        let envelope =
            format!(r#"{{"payload": "{payload}", "payloadType": "t", "signatures": []}}"#);
        let bundle = format!(r#"{{"mediaType": "b", "dsseEnvelope": {envelope}}}"#);
        for document in [&bare[..], envelope.as_bytes(), bundle.as_bytes()] {
            let found = Statement::unpack(document).expect("there is one");
            assert_eq!(found.text, bare);
            assert_eq!(found.predicate_type, "p");
            assert_eq!(found.subjects, [("ab".to_owned(), "n".to_owned())]);
        }
        for other in [
            "",
            "{}",
            r#"{"payload": "%"}"#,
            r#"{"_type": "x", "predicateType": "p"}"#,
        ] {
            assert_eq!(Statement::unpack(other.as_bytes()), None, "{other}");
        }
    }
}
