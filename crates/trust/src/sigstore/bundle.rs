//! Sigstore's bundle: one JSON document with everything that an offline check needs
//! (github.com/sigstore/protobuf-specs, sigstore_bundle.proto, versions 0.1 to 0.3), and the envelope
//! in it (github.com/secure-systems-lab/dsse).

use serde::{Deserialize, Deserializer};

use super::SigstoreError;
use super::rekor::{Entry, decode};
use crate::statement::Statement;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A bundle, read.
#[derive(Debug)]
pub(super) struct Bundle {
    /// What was signed, as it was signed: the envelope's "pre-authentication encoding".
    pub(super) signed: Vec<u8>,
    /// The envelope's payload.
    pub(super) statement: Statement,
    pub(super) signature: Vec<u8>,
    /// DER; `None`: it was signed with a key that one is supposed to have.
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) entry: Option<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Certificate>,
    x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<TlogEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TlogEntry {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    log_id: LogId,
    #[serde(default, deserialize_with = "number")]
    integrated_time: u64,
    inclusion_promise: Option<Promise>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

/// Protobuf writes 64-bit numbers as texts.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl Bundle {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SigstoreError> {
        let malformed = |_| SigstoreError::Malformed("a bundle");
        let document: Document = serde_json::from_slice(bytes).map_err(malformed)?;
        if !document
            .media_type
            .starts_with("application/vnd.dev.sigstore.bundle")
        {
            return Err(SigstoreError::Malformed("a bundle"));
        }
        let envelope = document
            .dsse_envelope
            .ok_or(SigstoreError::Unsupported("a bundle without an envelope"))?;
        // Of several signatures, the bundle's certificate would be one's.
        let [signature] = envelope.signatures.as_slice() else {
            return Err(SigstoreError::Malformed("an envelope"));
        };
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(SigstoreError::Unsupported("this type of envelope"));
        }
        let payload = decode(&envelope.payload)?;
        let material = document.verification_material;
        let mut chain = Vec::new();
        for one in material.certificate.into_iter().chain(
            material
                .x509_certificate_chain
                .into_iter()
                .flat_map(|c| c.certificates),
        ) {
            chain.push(decode(&one.raw_bytes)?);
        }
        let certificate = (!chain.is_empty()).then(|| chain.remove(0));
        Ok(Self {
            signed: encoding(&envelope.payload_type, &payload),
            signature: decode(&signature.sig)?,
            certificate,
            chain,
            entry: entry(material.tlog_entries)?,
            statement: Statement::parse(&payload).ok_or(SigstoreError::Malformed("a statement"))?,
        })
    }
}

/// The first entry with a promise.
fn entry(entries: Vec<TlogEntry>) -> Result<Option<Entry>, SigstoreError> {
    for one in entries {
        let Some(promise) = one.inclusion_promise else {
            continue;
        };
        let log_id = decode(&one.log_id.key_id)?;
        return Ok(Some(Entry {
            promise: decode(&promise.signed_entry_timestamp)?,
            body: one.canonicalized_body,
            integrated_s: one.integrated_time,
            log_index: one.log_index,
            log_id: log_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        }));
    }
    Ok(None)
}

/// DSSE's "PAE".
fn encoding(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    signed.extend_from_slice(payload);
    signed
}
