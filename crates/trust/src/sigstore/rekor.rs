//! Rekor's promise to log a signature (its "signed entry timestamp"): checked without asking the log.
//! github.com/sigstore/rekor, types/hashedrekord and types/dsse, version 0.0.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::SigstoreError;
use super::certificate;
use super::key::PublicKey;

/// An entry of the log, and the log's signature of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) promise: Vec<u8>,
    /// The entry itself, base64 as it was signed.
    pub(super) body: String,
    /// Seconds since the epoch.
    pub(super) integrated_s: u64,
    pub(super) log_index: u64,
    /// Hexadecimal.
    pub(super) log_id: String,
}

/// `dev.sigstore.cosign/bundle`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Annotation {
    signed_entry_timestamp: String,
    payload: AnnotationPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnnotationPayload {
    body: String,
    integrated_time: u64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// What was logged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logged<'a> {
    /// What was signed: cosign's payload, or that of a DSSE envelope.
    pub(super) payload: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) signer: Signer<'a>,
}

/// Who signed it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signer<'a> {
    Key(&'a PublicKey),
    /// DER.
    Certificate(&'a [u8]),
}

impl Signer<'_> {
    fn is_in(self, pem: &[u8]) -> bool {
        match self {
            Self::Key(key) => key.is_in(pem),
            Self::Certificate(der) => certificate::from_pem(pem).is_some_and(|found| found == der),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    kind: String,
    api_version: String,
    spec: serde_json::Value,
}

#[derive(Deserialize)]
struct HashedRekord {
    data: Data,
    signature: LoggedSignature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoggedSignature {
    content: String,
    public_key: LoggedKey,
}

#[derive(Deserialize)]
struct LoggedKey {
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse {
    payload_hash: Hash,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize)]
struct DsseSignature {
    signature: String,
    verifier: String,
}

impl Entry {
    /// Reads cosign's annotation.
    pub(super) fn from_annotation(text: &str) -> Result<Self, SigstoreError> {
        let malformed = |_| SigstoreError::Malformed("Rekor's bundle");
        let annotation: Annotation = serde_json::from_str(text).map_err(malformed)?;
        let payload = annotation.payload;
        Ok(Self {
            promise: decode(&annotation.signed_entry_timestamp)?,
            body: payload.body,
            integrated_s: payload.integrated_time,
            log_index: payload.log_index,
            log_id: payload.log_id,
        })
    }

    /// Whether one of these logs has promised to keep exactly this.
    pub(super) fn check(
        &self,
        logs: &[PublicKey],
        logged: Logged<'_>,
    ) -> Result<(), SigstoreError> {
        // The signed form is canonical JSON (RFC 8785); nothing in the texts needs an escape.
        let plain = |text: &str| !text.contains(['"', '\\']) && text.is_ascii();
        if !plain(&self.body) || !plain(&self.log_id) {
            return Err(SigstoreError::Malformed("Rekor's bundle"));
        }
        let signed = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            self.body, self.integrated_s, self.log_id, self.log_index
        );
        let promised = |log: &PublicKey| log.verify(signed.as_bytes(), &self.promise).is_ok();
        if !logs.iter().any(promised) {
            return Err(SigstoreError::Rekor(
                "no trusted log has promised to log it",
            ));
        }
        self.check_body(logged)
    }

    fn check_body(&self, logged: Logged<'_>) -> Result<(), SigstoreError> {
        let malformed = |_| SigstoreError::Malformed("an entry of Rekor");
        let body: Body = serde_json::from_slice(&decode(&self.body)?).map_err(malformed)?;
        let right = match (body.kind.as_str(), body.api_version.as_str()) {
            ("hashedrekord", "0.0.1") => {
                let entry: HashedRekord = serde_json::from_value(body.spec).map_err(malformed)?;
                entry.data.hash.is_of(logged.payload)
                    && decode(&entry.signature.content)? == logged.signature
                    && logged
                        .signer
                        .is_in(&decode(&entry.signature.public_key.content)?)
            }
            ("dsse", "0.0.1") => {
                let entry: Dsse = serde_json::from_value(body.spec).map_err(malformed)?;
                let right = |one: &DsseSignature| -> Result<bool, SigstoreError> {
                    Ok(decode(&one.signature)? == logged.signature
                        && logged.signer.is_in(&decode(&one.verifier)?))
                };
                let mut found = false;
                for one in &entry.signatures {
                    found |= right(one)?;
                }
                found && entry.payload_hash.is_of(logged.payload)
            }
            _ => return Err(SigstoreError::Unsupported("this kind of entry of Rekor")),
        };
        match right {
            true => Ok(()),
            false => Err(SigstoreError::Rekor("the log has logged another signature")),
        }
    }
}

impl Hash {
    fn is_of(&self, bytes: &[u8]) -> bool {
        self.algorithm == "sha256" && self.value.eq_ignore_ascii_case(&sha256_hex(bytes))
    }
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    let hashed = digest(&SHA256, bytes);
    hashed.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn decode(base64: &str) -> Result<Vec<u8>, SigstoreError> {
    STANDARD
        .decode(base64.trim().as_bytes())
        .map_err(|_| SigstoreError::Malformed("base64"))
}
