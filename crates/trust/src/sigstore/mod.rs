//! Sigstore: what `cosign` signs, checked offline. A signature is attached to an image in one of two
//! forms: cosign's own, a payload with annotations, and a bundle.

mod bundle;
mod certificate;
mod der;
mod key;
mod rekor;

use gamut_spec::{Digest, digest::Algorithm};

pub use certificate::Authority;
pub use key::PublicKey;

use crate::payload::Payload;
use bundle::Bundle;
pub(crate) use rekor::decode;
use rekor::{Entry, Logged, Signer};

/// What cosign says of an image that it only signs.
const COSIGN_SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigstoreError {
    #[error("{0} is malformed")]
    Malformed(&'static str),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("{0}")]
    Key(&'static str),
    #[error("the signature is wrong")]
    Wrong,
    #[error("its certificate: {0}")]
    Certificate(&'static str),
    #[error("the transparency log: {0}")]
    Rekor(&'static str),
    #[error("{0}")]
    Statement(&'static str),
}

/// Who may have signed.
#[derive(Debug, Clone)]
pub enum Signers {
    /// The owner of one of these keys.
    Keys(Vec<PublicKey>),
    /// An identity, for which an authority has vouched.
    Identity(Authority),
}

/// What makes a signature count.
#[derive(Debug, Clone)]
pub struct Rules {
    pub signers: Signers,
    /// Logs, one of which must have promised to log it. None: it need not be logged.
    pub logs: Vec<PublicKey>,
}

/// What was found signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The image's name; `None`: the signature has none.
    pub reference: Option<String>,
    pub digest: Digest,
}

/// A signature in cosign's own form: a layer and its annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    pub payload: Vec<u8>,
    /// `dev.cosignproject.cosign/signature`, base64.
    pub signature: String,
    /// `dev.sigstore.cosign/certificate`, `…/chain`: PEM.
    pub certificate: Option<String>,
    pub chain: Option<String>,
    /// `dev.sigstore.cosign/bundle`: JSON.
    pub bundle: Option<String>,
}

impl Rules {
    /// Checks a signature in cosign's own form.
    pub fn check_attached(&self, attached: &Attached) -> Result<Signed, SigstoreError> {
        let entry = attached.bundle.as_deref().map(Entry::from_annotation);
        let certificate = attached.certificate.as_deref().map(|pem| {
            certificate::from_pem(pem.as_bytes()).ok_or(SigstoreError::Malformed("a certificate"))
        });
        let chain = attached.chain.as_deref().unwrap_or_default();
        self.check(&Found {
            signed: &attached.payload,
            payload: &attached.payload,
            signature: decode(&attached.signature)?,
            certificate: certificate.transpose()?,
            chain: certificate::chain_from_pem(chain.as_bytes()),
            entry: entry.transpose()?,
        })?;
        let payload = Payload::parse(&attached.payload).map_err(SigstoreError::Statement)?;
        Ok(Signed {
            reference: Some(payload.reference),
            digest: payload.digest,
        })
    }

    /// Checks a bundle that signs one of `digests`. An attestation says something else of an image than
    /// that it may be used.
    pub fn check_bundle(&self, bytes: &[u8], digests: &[Digest]) -> Result<Signed, SigstoreError> {
        let bundle = Bundle::parse(bytes)?;
        match bundle.statement.predicate_type == COSIGN_SIGNATURE {
            true => self.check_statement(&bundle, digests),
            false => Err(SigstoreError::Unsupported("an attestation for a signature")),
        }
    }

    /// Checks a bundle that says whatever it says of one of `digests`.
    pub fn check_attestation(
        &self,
        bytes: &[u8],
        digests: &[Digest],
    ) -> Result<Signed, SigstoreError> {
        self.check_statement(&Bundle::parse(bytes)?, digests)
    }

    fn check_statement(
        &self,
        bundle: &Bundle,
        digests: &[Digest],
    ) -> Result<Signed, SigstoreError> {
        self.check(&Found {
            signed: &bundle.signed,
            payload: &bundle.statement.text,
            signature: bundle.signature.clone(),
            certificate: bundle.certificate.clone(),
            chain: bundle.chain.clone(),
            entry: bundle.entry.clone(),
        })?;
        let about = digests
            .iter()
            .filter(|digest| digest.algorithm() == Algorithm::Sha256)
            .find_map(|digest| {
                let mut subjects = bundle.statement.subjects.iter();
                let (_, name) = subjects.find(|(hex, _)| *hex == digest.hex())?;
                Some((digest, name))
            });
        let (digest, name) = about.ok_or(SigstoreError::Statement("it is about another image"))?;
        Ok(Signed {
            reference: Some(name.clone()).filter(|name| !name.is_empty()),
            digest: digest.clone(),
        })
    }

    fn check(&self, found: &Found<'_>) -> Result<(), SigstoreError> {
        match &self.signers {
            Signers::Keys(keys) => {
                let right = |key: &&PublicKey| key.verify(found.signed, &found.signature).is_ok();
                let key = keys.iter().find(right).ok_or(SigstoreError::Wrong)?;
                self.check_logged(found, Signer::Key(key))
            }
            Signers::Identity(authority) => {
                let certificate = found.certificate.as_deref();
                let certificate = certificate.ok_or(SigstoreError::Certificate(
                    "the signature comes without one",
                ))?;
                // First that it was logged: only so is its time to be believed.
                self.check_logged(found, Signer::Certificate(certificate))?;
                let entry = found.entry.as_ref();
                let entry = entry.ok_or(SigstoreError::Rekor("it was not logged"))?;
                let key = authority.key(certificate, &found.chain, entry.integrated_s)?;
                key.verify(found.signed, &found.signature)
            }
        }
    }

    fn check_logged(&self, found: &Found<'_>, signer: Signer<'_>) -> Result<(), SigstoreError> {
        if self.logs.is_empty() {
            return match self.signers {
                Signers::Keys(_) => Ok(()),
                Signers::Identity(_) => Err(SigstoreError::Rekor("no log is trusted")),
            };
        }
        let entry = found.entry.as_ref();
        let entry = entry.ok_or(SigstoreError::Rekor("it was not logged"))?;
        let logged = Logged {
            payload: found.payload,
            signature: &found.signature,
            signer,
        };
        entry.check(&self.logs, logged)
    }
}

/// What both forms come down to.
struct Found<'a> {
    /// What the signature is of.
    signed: &'a [u8],
    /// What the log has the hash of.
    payload: &'a [u8],
    signature: Vec<u8>,
    certificate: Option<Vec<u8>>,
    chain: Vec<Vec<u8>>,
    entry: Option<Entry>,
}
