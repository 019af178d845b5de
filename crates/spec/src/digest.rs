//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`, as the OCI image specification
//! (descriptor.md, "Digests") writes them. Only the value lives here; hashing is done where bytes
//! pass by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::fault::{Fault, Kind};

/// The registered algorithms an image may be addressed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }
}

/// What some bytes hash to. Small and cheap to clone; ordered as its text is. The rare long hash
/// stands apart, so that it does not make every digest (and every error that names one) long.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    Sha256([u8; 32]),
    Sha512(Box<[u8; 64]>),
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("`{0}` is not a digest: it has no `algorithm:hex` form")]
    Format(String),
    #[error("digest algorithm `{0}` is not supported")]
    Algorithm(String),
    #[error("`{text}` is not a digest: {algorithm} takes {digits} lower-case hexadecimal digits")]
    Hex {
        text: String,
        algorithm: &'static str,
        digits: usize,
    },
}

impl Fault for DigestError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            DigestError::Algorithm(_) => Some("use a sha256 or sha512 digest".into()),
            _ => None,
        }
    }
}

impl Digest {
    /// The algorithm that made it.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Digest::Sha256(_) => Algorithm::Sha256,
            Digest::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The raw hash, 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Digest::Sha256(bytes) => bytes,
            Digest::Sha512(bytes) => bytes.as_slice(),
        }
    }

    /// The part after the colon: lower-case hexadecimal, 64 or 128 digits.
    pub fn hex(&self) -> String {
        self.as_bytes().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The first twelve hexadecimal digits, as `docker images` shows an id.
    pub fn short(&self) -> String {
        self.as_bytes()[..6]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text
            .split_once(':')
            .ok_or_else(|| DigestError::Format(text.to_owned()))?;
        match algorithm {
            "sha256" => decode(Algorithm::Sha256, hex, text).map(Digest::Sha256),
            "sha512" => decode(Algorithm::Sha512, hex, text)
                .map(Box::new)
                .map(Digest::Sha512),
            "" => Err(DigestError::Format(text.to_owned())),
            other => Err(DigestError::Algorithm(other.to_owned())),
        }
    }
}

/// Exactly `N` bytes from `2 * N` lower-case hexadecimal digits.
fn decode<const N: usize>(
    algorithm: Algorithm,
    hex: &str,
    text: &str,
) -> Result<[u8; N], DigestError> {
    let wrong = || DigestError::Hex {
        text: text.to_owned(),
        algorithm: algorithm.as_str(),
        digits: 2 * N,
    };
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if hex.len() != 2 * N {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
            return Err(wrong());
        };
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn round_trips_and_shortens() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.hex(), &EMPTY[7..]);
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{EMPTY}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        let long = format!("sha512:{}", "ab".repeat(64));
        assert_eq!(long.parse::<Digest>().unwrap().to_string(), long);
    }

    #[test]
    fn refuses_what_is_no_digest() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        for text in [
            "",
            "sha256",
            ":abc",
            "sha256:",
            "sha256:abcd",
            &format!("{EMPTY}0"),
            &format!("sha512:{}", &EMPTY[7..]),
            &upper,
            "sha256:../../../../../../../../../../../../../../../../../etc/passwd/aaaaa",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert_eq!(
            "md5:abc".parse::<Digest>(),
            Err(DigestError::Algorithm("md5".into()))
        );
    }

    #[test]
    fn orders_as_text() {
        let low: Digest = format!("sha256:{}", "00".repeat(32)).parse().unwrap();
        let high: Digest = format!("sha256:{}", "ff".repeat(32)).parse().unwrap();
        let other: Digest = format!("sha512:{}", "00".repeat(64)).parse().unwrap();
        assert!(low < high && high < other);
    }
}
