//! Keyrings: public keys with their subkeys, and what their own signatures say of them.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::OpenPgpError;
use super::packet::{
    PUBLIC_KEY, PUBLIC_SUBKEY, Packet, SIGNATURE, USER_ATTRIBUTE, USER_ID, integer, packets,
    without_armor,
};
use super::signature::Signature;

/// Types of signatures: RFC 4880 section 5.2.1.
const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
const SUBKEY_BINDING: u8 = 0x18;
const DIRECT_KEY: u8 = 0x1f;
const KEY_REVOCATION: u8 = 0x20;
const SUBKEY_REVOCATION: u8 = 0x28;

/// OIDs of curves: section 9.2 of RFC 9580, without the length.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

/// The numbers of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Numbers {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    /// Of some other kind: it can encrypt, or nobody should sign with it.
    Other,
}

/// A key or subkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    fingerprint: Vec<u8>,
    pub(super) numbers: Numbers,
    created_s: u64,
    /// Seconds after its creation.
    expires_after_s: Option<u64>,
    /// When the key that it is a subkey of does.
    above_expires_s: Option<u64>,
    revoked: bool,
    is_primary: bool,
    /// What a signature of the key signs of it: section 5.2.4.
    signed: Vec<u8>,
    /// Whether the key above has signed that this subkey is its own.
    is_bound: bool,
    /// When the last word about its expiration was given that is proven.
    said_s: u64,
}

impl Key {
    /// In hexadecimal digits, as `gpg` shows it.
    pub fn fingerprint(&self) -> String {
        hex(&self.fingerprint)
    }

    /// The last eight bytes of the fingerprint.
    pub(super) fn id(&self) -> &[u8] {
        &self.fingerprint[self.fingerprint.len().saturating_sub(8)..]
    }

    /// Whether it may sign at a time.
    pub(super) fn check(&self, now_s: u64) -> Result<(), OpenPgpError> {
        if self.revoked {
            return Err(OpenPgpError::KeyRevoked(self.fingerprint()));
        }
        let mut ends = [self.expires_s(), self.above_expires_s]
            .into_iter()
            .flatten();
        match ends.any(|end| end <= now_s) {
            true => Err(OpenPgpError::KeyExpired(self.fingerprint())),
            false => Ok(()),
        }
    }

    fn expires_s(&self) -> Option<u64> {
        self.expires_after_s.map(|after| self.created_s + after)
    }

    /// The last word about its expiration counts.
    fn hear(&mut self, signature: &Signature, is_proven: bool) {
        let after = signature.key_expires_after_s.filter(|after| *after > 0);
        let said_s = signature.created_s().unwrap_or(0);
        if is_proven && said_s >= self.said_s {
            (self.said_s, self.expires_after_s) = (said_s, after);
        } else if !is_proven {
            let both = [self.expires_after_s, after];
            self.expires_after_s = both.into_iter().flatten().min();
        }
    }

    /// A version 4 key: section 5.5.2.
    fn read(packet: &Packet) -> Result<Self, OpenPgpError> {
        let malformed = OpenPgpError::Malformed("a key is cut off");
        let body = &packet.body;
        let head = body.get(..6).ok_or(malformed.clone())?;
        if head[0] != 4 {
            return Err(OpenPgpError::Unsupported("a key of another version than 4"));
        }
        let length = u16::try_from(body.len());
        let length = length.map_err(|_| OpenPgpError::Malformed("a key is too long"))?;
        let whole = [&[0x99], &length.to_be_bytes()[..], body].concat();
        let created = [head[1], head[2], head[3], head[4]];
        Ok(Self {
            fingerprint: digest(&SHA1_FOR_LEGACY_USE_ONLY, &whole).as_ref().to_vec(),
            signed: whole,
            is_bound: false,
            said_s: 0,
            numbers: numbers(head[5], &body[6..]).ok_or(malformed)?,
            created_s: u32::from_be_bytes(created).into(),
            expires_after_s: None,
            above_expires_s: None,
            revoked: false,
            is_primary: packet.tag == PUBLIC_KEY,
        })
    }
}

fn numbers(algorithm: u8, bytes: &[u8]) -> Option<Numbers> {
    Some(match algorithm {
        1 | 3 => {
            let (n, rest) = integer(bytes)?;
            let (e, _) = integer(rest)?;
            Numbers::Rsa {
                n: n.to_vec(),
                e: e.to_vec(),
            }
        }
        19 | 22 => {
            let length = usize::from(*bytes.first()?);
            let curve = bytes.get(1..=length)?;
            let (point, _) = integer(bytes.get(length + 1..)?)?;
            match (algorithm, curve) {
                (19, P256) => Numbers::P256(point.to_vec()),
                (19, P384) => Numbers::P384(point.to_vec()),
                // The prefix says that the point is in its native form.
                (22, ED25519) => Numbers::Ed25519(point.strip_prefix(&[0x40])?.to_vec()),
                _ => Numbers::Other,
            }
        }
        _ => Numbers::Other,
    })
}

/// Keys that may sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Adds the keys of a file. A subkey that its key has not signed is left out, as `gpg --import` does: who
    /// hands on a key could add one.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), OpenPgpError> {
        let bytes = without_armor(bytes)?;
        let mut added: Vec<Key> = Vec::new();
        let mut primary = 0;
        let mut user = None;
        for packet in packets(&bytes)? {
            match packet.tag {
                PUBLIC_KEY => {
                    primary = added.len();
                    added.push(Key::read(&packet)?);
                }
                PUBLIC_SUBKEY if !added.is_empty() => added.push(Key::read(&packet)?),
                USER_ID => user = Some(packet.body),
                USER_ATTRIBUTE => user = None,
                SIGNATURE if !added.is_empty() => {
                    note(&packet, &mut added, primary, user.as_deref());
                }
                _ => {}
            }
        }
        if added.is_empty() {
            return Err(OpenPgpError::Malformed("there is no key in it"));
        }
        // What ends a key ends its subkeys.
        let mut above: Option<Key> = None;
        for key in &mut added {
            match &above {
                Some(above) if !key.is_primary => {
                    key.revoked |= above.revoked;
                    key.above_expires_s = above.expires_s();
                }
                _ => above = Some(key.clone()),
            }
        }
        let own = added
            .into_iter()
            .filter(|key| key.is_primary || key.is_bound);
        self.keys.extend(own);
        Ok(())
    }

    /// All keys and subkeys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The fingerprints of the keys, without those of subkeys.
    pub fn fingerprints(&self) -> Vec<String> {
        let primary = self.keys.iter().filter(|key| key.is_primary);
        primary.map(Key::fingerprint).collect()
    }
}

/// What a signature in the keyring says of the keys before it. One that is not understood says nothing, and
/// one that is not proven, as by SHA-1, can only take away.
fn note(packet: &Packet, keys: &mut [Key], primary: usize, user: Option<&[u8]>) {
    let Ok(signature) = Signature::read(&packet.body) else {
        return;
    };
    let (Some(above), Some(last)) = (keys.get(primary), keys.last()) else {
        return;
    };
    // Others' opinions of the key are not the key's own.
    let own = signature
        .issuer()
        .is_none_or(|issuer| above.id() == issuer || above.fingerprint == issuer);
    if !own {
        return;
    }
    let of_key = &above.signed[..];
    let (index, signed) = match signature.kind {
        DIRECT_KEY | KEY_REVOCATION => (primary, of_key.to_vec()),
        SUBKEY_BINDING | SUBKEY_REVOCATION => (keys.len() - 1, [of_key, &last.signed].concat()),
        kind if CERTIFICATIONS.contains(&kind) => (primary, certified(of_key, user)),
        _ => return,
    };
    let is_proven = signature.is_of(above, &signed).is_ok();
    let key = &mut keys[index];
    match signature.kind {
        KEY_REVOCATION | SUBKEY_REVOCATION => key.revoked = true,
        kind => {
            key.is_bound |= is_proven && kind == SUBKEY_BINDING;
            key.hear(&signature, is_proven);
        }
    }
}

/// What a certification signs: section 5.2.4. Of what else there is than names none is proven.
fn certified(key: &[u8], user: Option<&[u8]>) -> Vec<u8> {
    let user = user.unwrap_or_default();
    let length = u32::try_from(user.len()).unwrap_or(u32::MAX);
    [key, &[0xb4], &length.to_be_bytes(), user].concat()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
