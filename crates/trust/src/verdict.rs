//! The verdict: every requirement of the policy, held against the image's signatures.

use gamut_spec::{Digest, Reference};

use crate::error::{PolicyError, TrustError};
use crate::identity::Identity;
use crate::openpgp::{self, Keyring};
use crate::payload::Payload;
use crate::policy::{Applying, Material, Requirement, SigstoreRequirement};
use crate::sigstore::{Attached, Authority, PublicKey, Rules, Signed, Signers};

/// An image that somebody wants to use.
#[derive(Debug, Clone, Copy)]
pub struct Pulled<'a> {
    /// As it was asked for.
    pub reference: &'a Reference,
    /// The digests of its manifest and of the indexes that led to it: who signs an index vouches for
    /// everything in it.
    pub digests: &'a [Digest],
    /// Seconds since the epoch.
    pub now_s: u64,
}

/// A signature as sigstore makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigstoreSignature {
    Attached(Box<Attached>),
    /// JSON.
    Bundle(Vec<u8>),
}

/// Where signatures come from; they are only fetched when a requirement needs them. An error says
/// why it cannot be known whether there are any: that is a refusal.
pub trait Source {
    /// OpenPGP messages.
    fn simple(&self) -> Result<Vec<Vec<u8>>, String>;
    fn sigstore(&self) -> Result<Vec<SigstoreSignature>, String>;
}

impl Applying<'_> {
    /// Whether nothing is required.
    pub fn accepts_all(&self) -> bool {
        self.requirements
            .iter()
            .all(|one| *one == Requirement::Accept)
    }

    /// Whether the image may be used: whether all requirements are fulfilled.
    ///
    /// # Errors
    /// [`TrustError`], with the reason for each signature that did not count.
    pub fn check(&self, image: Pulled<'_>, source: &dyn Source) -> Result<(), TrustError> {
        for requirement in self.requirements {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => {
                    return Err(TrustError::Rejected {
                        image: image.reference.familiar(),
                        scope: self.scope.clone(),
                    });
                }
                Requirement::SignedBy { keys, identity } => {
                    let keyring = keyring(keys)?;
                    let signatures = self.fetched(image, source.simple())?;
                    self.any(image, &signatures, |signature| {
                        check_simple(image, signature, &keyring, identity)
                    })?;
                }
                Requirement::Sigstore(required) => {
                    let rules = rules(required)?;
                    let signatures = self.fetched(image, source.sigstore())?;
                    self.any(image, &signatures, |signature| {
                        check_sigstore(image, signature, &rules, required)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Whether a bundle that attests something of the image was signed by whom the policy wants for its
    /// signatures. Nobody in particular is wanted where none are required.
    pub fn vouches_for(&self, bundle: &[u8], digests: &[Digest]) -> bool {
        let sigstore = self.requirements.iter().filter_map(|one| match one {
            Requirement::Sigstore(required) => rules(required).ok(),
            _ => None,
        });
        let counts = |rules: &Rules| rules.check_attestation(bundle, digests).is_ok();
        sigstore.into_iter().any(|rules| counts(&rules))
    }

    fn fetched<T>(
        &self,
        image: Pulled<'_>,
        got: Result<Vec<T>, String>,
    ) -> Result<Vec<T>, TrustError> {
        got.map_err(|reason| TrustError::Unavailable {
            image: image.reference.familiar(),
            reason,
        })
    }

    /// One signature that counts is enough.
    fn any<T>(
        &self,
        image: Pulled<'_>,
        signatures: &[T],
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Result<(), TrustError> {
        let mut reasons = Vec::new();
        for signature in signatures {
            match check(signature) {
                Ok(()) => return Ok(()),
                Err(reason) if reasons.contains(&reason) => {}
                Err(reason) => reasons.push(reason),
            }
        }
        let (image, scope) = (image.reference.familiar(), self.scope.clone());
        Err(match reasons.is_empty() {
            true => TrustError::Unsigned { image, scope },
            false => TrustError::NotSatisfied {
                image,
                scope,
                reasons,
            },
        })
    }
}

fn check_simple(
    image: Pulled<'_>,
    message: &[u8],
    keyring: &Keyring,
    identity: &Identity,
) -> Result<(), String> {
    let verified = openpgp::verify(message, keyring, image.now_s).map_err(|e| e.to_string())?;
    let payload = Payload::parse(&verified.content)?;
    check_statement(image, &payload.reference, &payload.digest, identity)
}

fn check_sigstore(
    image: Pulled<'_>,
    signature: &SigstoreSignature,
    rules: &Rules,
    required: &SigstoreRequirement,
) -> Result<(), String> {
    let signed: Signed = match signature {
        SigstoreSignature::Attached(attached) => rules.check_attached(attached),
        SigstoreSignature::Bundle(bytes) => rules.check_bundle(bytes, image.digests),
    }
    .map_err(|error| error.to_string())?;
    let default = Identity::default();
    match (&signed.reference, &required.identity) {
        (Some(name), identity) => {
            let identity = identity.as_ref().unwrap_or(&default);
            check_statement(image, name, &signed.digest, identity)
        }
        // A bundle of cosign's names a digest and nothing else. Who wants a name says so.
        (None, None) => Ok(()),
        (None, Some(_)) => Err("it does not say which name the image has".to_owned()),
    }
}

/// The digest first: a name alone proves nothing.
fn check_statement(
    image: Pulled<'_>,
    name: &str,
    digest: &Digest,
    identity: &Identity,
) -> Result<(), String> {
    if !image.digests.contains(digest) {
        return Err(format!("it is about another image, {}", digest.short()));
    }
    match identity.accepts(name, image.reference) {
        true => Ok(()),
        false => Err(format!("it is for `{}`", name.escape_debug())),
    }
}

fn keyring(keys: &[Material]) -> Result<Keyring, PolicyError> {
    let mut keyring = Keyring::default();
    for key in keys {
        keyring.add(&key.read()?).map_err(|_| PolicyError::Key {
            what: key.shown(),
            reason: "it is no keyring of OpenPGP",
        })?;
    }
    Ok(keyring)
}

fn rules(required: &SigstoreRequirement) -> Result<Rules, PolicyError> {
    let public = |keys: &[Material]| -> Result<Vec<PublicKey>, PolicyError> {
        let read = |key: &Material| {
            PublicKey::from_pem(&key.read()?).map_err(|_| PolicyError::Key {
                what: key.shown(),
                reason: "it is no public key that can be used",
            })
        };
        keys.iter().map(read).collect()
    };
    let signers = match &required.fulcio {
        None => Signers::Keys(public(&required.keys)?),
        Some(fulcio) => {
            let (issuer, email) = (fulcio.oidc_issuer.clone(), fulcio.subject_email.clone());
            let authority = Authority::new(&fulcio.authorities.read()?, issuer, email);
            Signers::Identity(authority.map_err(|_| PolicyError::Key {
                what: fulcio.authorities.shown(),
                reason: "there is no certificate in it",
            })?)
        }
    };
    Ok(Rules {
        signers,
        logs: public(&required.rekor)?,
    })
}
