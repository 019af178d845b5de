//! A signed message: `gpg --sign` makes a one-pass signature, the text and the signature, mostly
//! compressed. RFC 4880 section 11.3.

use super::OpenPgpError;
use super::key::{Key, Keyring, hex};
use super::packet::{COMPRESSED, LITERAL, ONE_PASS, SIGNATURE, packets, unpacked};
use super::signature::Signature;

/// A signature of a document as it is, without regard to line ends.
const BINARY: u8 = 0;

/// What was signed, and by which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub content: Vec<u8>,
    pub fingerprint: String,
}

/// Checks a message against a keyring; `now_s` is the time, seconds since the epoch. Of several
/// signatures in one message, as of several texts, it could not be said what is worth what: there must
/// be one of each.
pub fn verify(message: &[u8], keyring: &Keyring, now_s: u64) -> Result<Verified, OpenPgpError> {
    let mut found = packets(message)?;
    if let [only] = found.as_slice()
        && only.tag == COMPRESSED
    {
        found = unpacked(&only.body)?;
    }
    let tags: Vec<u8> = found.iter().map(|packet| packet.tag).collect();
    let (literal, signature) = match (tags.as_slice(), found.as_slice()) {
        ([ONE_PASS, LITERAL, SIGNATURE], [_, literal, signature]) => (literal, signature),
        ([SIGNATURE, LITERAL], [signature, literal]) => (literal, signature),
        _ => {
            return Err(OpenPgpError::Malformed(
                "it is no message with one signature",
            ));
        }
    };
    let content = content(&literal.body).ok_or(OpenPgpError::Malformed("the text is cut off"))?;
    let signature = Signature::read(&signature.body)?;
    if signature.kind != BINARY {
        return Err(OpenPgpError::Unsupported("a signature of this type"));
    }
    let key = signer(&signature, keyring)?;
    signature.is_of(key, content)?;
    signature.check_time(now_s)?;
    key.check(now_s)?;
    Ok(Verified {
        content: content.to_vec(),
        fingerprint: key.fingerprint(),
    })
}

fn signer<'k>(signature: &Signature, keyring: &'k Keyring) -> Result<&'k Key, OpenPgpError> {
    let issuer = signature
        .issuer()
        .ok_or(OpenPgpError::Malformed("a signature without a signer"))?;
    // The id is the end of the fingerprint.
    let id = &issuer[issuer.len().saturating_sub(8)..];
    let mut known = keyring.keys().iter().filter(|key| key.id() == id);
    known
        .next()
        .ok_or_else(|| OpenPgpError::UnknownKey(hex(issuer)))
}

/// The text of a literal data packet: format, name, time, text (section 5.9).
fn content(body: &[u8]) -> Option<&[u8]> {
    let name = usize::from(*body.get(1)?);
    body.get(2 + name + 4..)
}
