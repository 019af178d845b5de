//! OpenPGP, as far as simple signing needs it (RFC 4880; RFC 9580 has the same version 4): a signed
//! message, `gpg --sign`, and a keyring, `gpg --export`, armored or not.
//!
//! A crate for all of OpenPGP would be several times the size of what is here, most of it ciphers,
//! secret keys and formats that a verifier must not touch. What is needed is a reader of packets, and
//! `ring`, which is here for TLS, checks RSA, ECDSA and Ed25519.
//!
//! The keyring is the administrator's and is believed: its subkeys belong to its keys, and a key is
//! revoked or has expired when the file says so. The message is a stranger's. SHA-1 signatures, RSA
//! below 2048 bits, DSA and keys of version 6 are refused.

mod key;
mod message;
mod packet;
mod signature;

pub use key::{Key, Keyring};
pub use message::{Verified, verify};

/// Why a message, or a keyring, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenPgpError {
    #[error("it is no OpenPGP data: {0}")]
    Malformed(&'static str),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("it is signed by {0}, which is not in the keyring")]
    UnknownKey(String),
    #[error("the signature is wrong")]
    Wrong,
    #[error("the key {0} has expired")]
    KeyExpired(String),
    #[error("the key {0} has been revoked")]
    KeyRevoked(String),
    #[error("the signature has expired")]
    SignatureExpired,
    #[error("the signature is from the future")]
    TooEarly,
}
