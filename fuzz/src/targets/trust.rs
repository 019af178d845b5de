//! What vouches for images: signatures, and what they are packed in. Nothing that was not signed may come
//! out as signed.

use gamut_trust::openpgp::{self, Keyring};
use gamut_trust::payload::Payload;
use gamut_trust::sigstore::{Attached, PublicKey, Rules, Signers};
use gamut_trust::statement::Statement;
use gamut_trust::{Policy, sigstore::Authority};

/// Whose signatures are among the seeds.
const KEYS: [&[u8]; 3] = [
    include_bytes!("../../seeds/openpgp/key-ed25519"),
    include_bytes!("../../seeds/openpgp/key-nistp256"),
    include_bytes!("../../seeds/openpgp/key-rsa2048"),
];
/// All that they have signed.
const SIGNED: &str = concat!(
    r#"{"critical":{"identity":{"docker-reference":"a/b:1"},"image":{"docker-manifest-digest":"#,
    r#""sha256:0000000000000000000000000000000000000000000000000000000000000000"},"#,
    r#""type":"atomic container signature"},"optional":null}"#,
    "\n"
);
/// Later than the seeds.
const NOW_S: u64 = 4_000_000_000;

/// A keyring, or a signed message.
pub(super) fn openpgp(bytes: &[u8]) {
    let mut keyring = Keyring::default();
    if keyring.add(bytes).is_ok() {
        let _ = keyring.fingerprints();
    }
    // Not those that came: whoever brings a key may sign with it.
    let mut known = Keyring::default();
    for key in KEYS {
        known.add(key).expect("it is a key");
    }
    if let Ok(verified) = openpgp::verify(bytes, &known, NOW_S) {
        assert_eq!(verified.content, SIGNED.as_bytes());
        let payload = Payload::parse(&verified.content).expect("it is a statement");
        assert_eq!(payload.reference, "a/b:1");
    }
    let _ = Payload::parse(bytes);
}

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2vy5LVNmQtuXSOW4Spl44IKO/kqS
Sp88RlEvwL16Qhx0HGSM3WSuXwgVLj9frwpqBSsQfDwHcPZYsD5btzGr1w==
-----END PUBLIC KEY-----
";
/// What its owner has signed.
const DIGEST: &str = "sha256:ee4613526d4d77df485efcbad5c850ea4f8bb244ee197f6f257019fd59465b77";

/// A bundle, or a part of one; a key, a certificate, a policy.
pub(super) fn sigstore(bytes: &[u8]) {
    let key = PublicKey::from_pem(PUBLIC_KEY.as_bytes()).expect("it is a key");
    let rules = Rules {
        signers: Signers::Keys(vec![key]),
        logs: Vec::new(),
    };
    let digests = [
        DIGEST.parse().expect("a digest"),
        format!("sha256:{}", "0".repeat(64)).parse().expect("one"),
    ];
    if let Ok(signed) = rules.check_attestation(bytes, &digests) {
        assert_eq!(signed.digest.to_string(), DIGEST);
        assert_eq!(signed.reference, None);
    }
    let _ = Statement::unpack(bytes);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let attached = Attached {
        payload: bytes.to_vec(),
        signature: "AA==".to_owned(),
        certificate: Some(text.clone()),
        chain: Some(text.clone()),
        bundle: Some(text),
    };
    assert!(rules.check_attached(&attached).is_err());
    let _ = PublicKey::from_pem(bytes);
    let _ = Authority::new(bytes, "issuer".to_owned(), "subject".to_owned());
    let _ = Policy::parse(bytes);
}
