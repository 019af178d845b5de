//! Public keys as `cosign` and `openssl` write them: SubjectPublicKeyInfo (RFC 5280), in PEM.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::SigstoreError;
use super::der::{BIT_STRING, Der, OID, SEQUENCE, only};

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const EDWARDS: &[u8] = &[0x2b, 0x65, 0x70];

/// A key that can check signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    /// The numbers, as `ring` takes them.
    numbers: Vec<u8>,
    /// All of it, for comparisons.
    info: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl PublicKey {
    /// Reads a file with one key in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SigstoreError> {
        let info = section(pem, SectionKind::PublicKey)
            .ok_or(SigstoreError::Key("it is no public key in PEM"))?;
        Self::from_info(&info)
    }

    /// The same of a SubjectPublicKeyInfo.
    pub(super) fn from_info(info: &[u8]) -> Result<Self, SigstoreError> {
        let (kind, numbers) = read(info).ok_or(SigstoreError::Key(
            "it is none of RSA, P-256, P-384 and Ed25519",
        ))?;
        Ok(Self {
            kind,
            numbers,
            info: info.to_vec(),
        })
    }

    /// Whether this is the key that some PEM has, by itself or in a certificate.
    pub(super) fn is_in(&self, pem: &[u8]) -> bool {
        section(pem, SectionKind::PublicKey).is_some_and(|info| info == self.info)
    }

    /// Whether the key's owner has signed `message`. Which hash goes with a key is cosign's choice:
    /// SHA-256, and SHA-384 with P-384 of late.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SigstoreError> {
        let right = match self.kind {
            Kind::Rsa => {
                self.is_right(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    || self.is_right(&RSA_PSS_2048_8192_SHA256, message, signature)
            }
            Kind::P256 => self.is_right(&ECDSA_P256_SHA256_ASN1, message, signature),
            Kind::P384 => {
                self.is_right(&ECDSA_P384_SHA256_ASN1, message, signature)
                    || self.is_right(&ECDSA_P384_SHA384_ASN1, message, signature)
            }
            Kind::Ed25519 => self.is_right(&ED25519, message, signature),
        };
        match right {
            true => Ok(()),
            false => Err(SigstoreError::Wrong),
        }
    }

    fn is_right(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let key = UnparsedPublicKey::new(algorithm, &self.numbers);
        key.verify(message, signature).is_ok()
    }
}

fn read(info: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let mut info = Der(only(info, SEQUENCE)?);
    let mut algorithm = Der(info.expect(SEQUENCE)?);
    let family = algorithm.expect(OID)?;
    let kind = match family {
        RSA => Kind::Rsa,
        EDWARDS => Kind::Ed25519,
        EC => match algorithm.expect(OID)? {
            P256 => Kind::P256,
            P384 => Kind::P384,
            _ => return None,
        },
        _ => return None,
    };
    // A bit string begins with the number of bits that are missing at its end.
    let numbers = info.expect(BIT_STRING)?.strip_prefix(&[0])?;
    Some((kind, numbers.to_vec()))
}

/// The first section of a kind in some PEM.
pub(super) fn section(pem: &[u8], kind: SectionKind) -> Option<Vec<u8>> {
    sections(pem, kind).into_iter().next()
}

/// All of them.
pub(super) fn sections(pem: &[u8], wanted: SectionKind) -> Vec<Vec<u8>> {
    let all = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    let right = all.map_while(Result::ok);
    right
        .filter(|(kind, _)| *kind == wanted)
        .map(|(_, bytes)| bytes)
        .collect()
}
