//! Signature packets of version 4: RFC 4880 section 5.2.3, and checking one against a key.

use ring::digest::{self, SHA256, SHA384, SHA512};
use ring::signature::{
    self as ring_signature, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519,
    RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::OpenPgpError;
use super::key::{Key, Numbers};
use super::packet::{integer, padded};

/// Subpackets: section 5.2.3.1.
const CREATED: u8 = 2;
const EXPIRES: u8 = 3;
const KEY_EXPIRES: u8 = 9;
const ISSUER: u8 = 16;
const ISSUER_FINGERPRINT: u8 = 33;
/// Those that may be critical without changing what a signature of a document is worth: key flags,
/// features, the signer's user id, preferences.
const HARMLESS: [u8; 9] = [11, 21, 22, 23, 25, 27, 28, 30, 34];
/// An expiration before this is a clock's fault, not an attack: seconds.
const CLOCK_SKEW_S: u64 = 300;

/// A signature.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) kind: u8,
    algorithm: u8,
    hash: u8,
    /// From the version to the hashed subpackets: they are signed, too.
    hashed: Vec<u8>,
    numbers: Vec<u8>,
    issuer: Option<Vec<u8>>,
    created_s: Option<u64>,
    expires_after_s: Option<u64>,
    pub(super) key_expires_after_s: Option<u64>,
    has_unknown_critical: bool,
}

impl Signature {
    pub(super) fn read(body: &[u8]) -> Result<Self, OpenPgpError> {
        let cut = OpenPgpError::Malformed("a signature is cut off");
        match body.first() {
            Some(4) => {}
            Some(_) => {
                return Err(OpenPgpError::Unsupported(
                    "a signature of another version than 4",
                ));
            }
            None => return Err(cut),
        }
        Self::of_version_4(body).ok_or(cut)
    }

    fn of_version_4(body: &[u8]) -> Option<Self> {
        let size = |at: usize| -> Option<usize> {
            let bytes = body.get(at..at + 2)?;
            Some(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
        };
        let hashed_end = 6 + size(4)?;
        let unhashed_end = hashed_end + 2 + size(hashed_end)?;
        let mut signature = Self {
            kind: body[1],
            algorithm: body[2],
            hash: body[3],
            hashed: body.get(..hashed_end)?.to_vec(),
            numbers: body.get(unhashed_end + 2..)?.to_vec(),
            issuer: None,
            created_s: None,
            expires_after_s: None,
            key_expires_after_s: None,
            has_unknown_critical: false,
        };
        signature.subpackets(&body[6..hashed_end], true)?;
        signature.subpackets(body.get(hashed_end + 2..unhashed_end)?, false)?;
        Some(signature)
    }

    fn subpackets(&mut self, mut bytes: &[u8], is_hashed: bool) -> Option<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            let (length, rest) = match first {
                0..=191 => (usize::from(first), rest),
                192..=254 => {
                    let (&second, rest) = rest.split_first()?;
                    let length = (usize::from(first) - 192) << 8 | usize::from(second);
                    (length + 192, rest)
                }
                255 => {
                    let length: [u8; 4] = rest.get(..4)?.try_into().ok()?;
                    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
                    (length, rest.get(4..)?)
                }
            };
            let (&kind, value) = rest.get(..length)?.split_first()?;
            bytes = rest.get(length..)?;
            self.subpacket(kind, value, is_hashed);
        }
        Some(())
    }

    /// What is not hashed is not signed either: only a hint at the key may stand there.
    fn subpacket(&mut self, kind: u8, value: &[u8], is_hashed: bool) {
        let seconds = || {
            let bytes: Option<[u8; 4]> = value.try_into().ok();
            bytes.map(|bytes| u64::from(u32::from_be_bytes(bytes)))
        };
        match (kind & 0x7f, is_hashed) {
            (CREATED, true) => self.created_s = seconds(),
            (EXPIRES, true) => self.expires_after_s = seconds().filter(|after| *after > 0),
            (KEY_EXPIRES, true) => self.key_expires_after_s = seconds(),
            (ISSUER, _) if self.issuer.is_none() => self.issuer = Some(value.to_vec()),
            (ISSUER_FINGERPRINT, _) => self.issuer = value.get(1..).map(<[u8]>::to_vec),
            (ISSUER, _) => {}
            (other, true) if kind & 0x80 != 0 && !HARMLESS.contains(&other) => {
                self.has_unknown_critical = true;
            }
            _ => {}
        }
    }

    /// The fingerprint or the id of who is said to have signed.
    pub(super) fn issuer(&self) -> Option<&[u8]> {
        self.issuer.as_deref()
    }

    /// When it was made, seconds since the epoch.
    pub(super) fn created_s(&self) -> Option<u64> {
        self.created_s
    }

    /// Whether it holds at a time, if it is right at all.
    pub(super) fn check_time(&self, now_s: u64) -> Result<(), OpenPgpError> {
        if self.has_unknown_critical {
            return Err(OpenPgpError::Unsupported(
                "a critical part of the signature",
            ));
        }
        let Some(created_s) = self.created_s else {
            return Err(OpenPgpError::Malformed("a signature without a time"));
        };
        if created_s > now_s + CLOCK_SKEW_S {
            return Err(OpenPgpError::TooEarly);
        }
        match self.expires_after_s {
            Some(after) if created_s + after <= now_s => Err(OpenPgpError::SignatureExpired),
            _ => Ok(()),
        }
    }

    /// Whether `key` has signed `data`: section 5.2.4.
    pub(super) fn is_of(&self, key: &Key, data: &[u8]) -> Result<(), OpenPgpError> {
        let length = u32::try_from(self.hashed.len()).unwrap_or(u32::MAX);
        let trailer = [&[4, 0xff], &length.to_be_bytes()[..]].concat();
        let message = [data, &self.hashed, &trailer].concat();
        let right = match (&key.numbers, self.algorithm) {
            (Numbers::Rsa { n, e }, 1 | 3) => self.check_rsa(n, e, &message)?,
            (Numbers::P256(point), 19) => {
                self.needs_hash(8)?;
                self.check_pair(&ECDSA_P256_SHA256_FIXED, point, &message, 32)
            }
            (Numbers::P384(point), 19) => {
                self.needs_hash(9)?;
                self.check_pair(&ECDSA_P384_SHA384_FIXED, point, &message, 48)
            }
            // What is signed is the hash: RFC 9580 section 5.2.3.3.
            (Numbers::Ed25519(point), 22) => {
                let hashed = digest::digest(self.hash()?, &message);
                self.check_pair(&ED25519, point, hashed.as_ref(), 32)
            }
            _ => return Err(OpenPgpError::Unsupported("a key of this kind")),
        };
        right.ok_or(OpenPgpError::Wrong)
    }

    fn hash(&self) -> Result<&'static digest::Algorithm, OpenPgpError> {
        match self.hash {
            8 => Ok(&SHA256),
            9 => Ok(&SHA384),
            10 => Ok(&SHA512),
            _ => Err(OpenPgpError::Unsupported("a hash other than SHA-2")),
        }
    }

    fn needs_hash(&self, hash: u8) -> Result<(), OpenPgpError> {
        match self.hash == hash {
            true => Ok(()),
            false => Err(OpenPgpError::Unsupported(
                "a hash of another length than the key",
            )),
        }
    }

    fn check_rsa(&self, n: &[u8], e: &[u8], message: &[u8]) -> Result<Option<()>, OpenPgpError> {
        let parameters = match self.hash {
            8 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
            9 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
            10 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return Err(OpenPgpError::Unsupported("a hash other than SHA-2")),
        };
        let checked = integer(&self.numbers).and_then(|(signature, _)| {
            let signature = padded(signature, n.len())?;
            let key = RsaPublicKeyComponents { n, e };
            key.verify(parameters, message, &signature).ok()
        });
        Ok(checked)
    }

    /// Two numbers one after the other.
    fn check_pair(
        &self,
        algorithm: &'static dyn ring_signature::VerificationAlgorithm,
        point: &[u8],
        message: &[u8],
        length: usize,
    ) -> Option<()> {
        let (r, rest) = integer(&self.numbers)?;
        let (s, _) = integer(rest)?;
        let signature = [padded(r, length)?, padded(s, length)?].concat();
        let key = UnparsedPublicKey::new(algorithm, point);
        key.verify(message, &signature).ok()
    }
}
