//! Simple signing with the real gpg, every kind of key that it makes and may sign with.

use gamut_trust::openpgp::{Keyring, OpenPgpError, verify};

use crate::tools::{Desk, now_s};

const GPG: &str = "gpg --batch --yes --quiet --pinentry-mode loopback --passphrase ''";

fn desk() -> Option<Desk> {
    Desk::with("gpg")
}

fn keyring(bytes: &[u8]) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add(bytes).expect("a keyring");
    keyring
}

#[test]
fn every_kind_of_key_and_every_packing() {
    let Some(desk) = desk() else { return };
    desk.write("text", "what is signed\n");
    for kind in ["rsa2048", "rsa3072", "ed25519", "nistp256", "nistp384"] {
        desk.run(&format!(
            "{GPG} --quick-gen-key {kind}@example.org {kind} sign never"
        ));
        let armored = desk.run(&format!("{GPG} --armor --export {kind}@example.org"));
        let binary = desk.run(&format!("{GPG} --export {kind}@example.org"));
        for packing in [
            "",
            "--compress-algo zlib",
            "--compress-algo none",
            "--digest-algo SHA512",
        ] {
            if kind.starts_with("nistp") && packing.contains("SHA512") {
                continue;
            }
            let sign = format!("{GPG} {packing} -u {kind}@example.org --output - --sign text");
            let message = desk.run(&sign);
            for ring in [&armored, &binary] {
                let found = verify(&message, &keyring(ring), now_s());
                let found = found.unwrap_or_else(|error| panic!("{kind} {packing}: {error}"));
                assert_eq!(found.content, b"what is signed\n");
                assert_eq!(keyring(ring).fingerprints(), [found.fingerprint]);
            }
        }
    }
}

#[test]
fn a_subkey_signs_for_its_key() {
    let Some(desk) = desk() else { return };
    desk.write("text", "by a subkey");
    desk.run(&format!(
        "{GPG} --quick-gen-key a@example.org ed25519 cert never"
    ));
    desk.run(&format!(
        "fpr=$(gpg --list-keys --with-colons a@example.org | sed -n 's/^fpr:*\\([^:]*\\):/\\1/p' | head -1)
         {GPG} --quick-add-key $fpr rsa2048 sign never"
    ));
    let message = desk.run(&format!("{GPG} --output - --sign text"));
    let ring = desk.run(&format!("{GPG} --export a@example.org"));
    let ring = keyring(&ring);
    assert_eq!((ring.keys().len(), ring.fingerprints().len()), (2, 1));
    let found = verify(&message, &ring, now_s()).expect("right");
    assert_ne!(ring.fingerprints(), [found.fingerprint]);
}

/// Somebody who hands on a key puts a subkey of his own behind it.
#[test]
fn a_subkey_of_somebody_else_signs_nothing() {
    let Some(desk) = desk() else { return };
    desk.write("text", "by another's subkey");
    for name in ["victim", "other"] {
        desk.run(&format!(
            "{GPG} --quick-gen-key {name}@example.org ed25519 cert never
             fpr=$(gpg --list-keys --with-colons {name}@example.org | sed -n 's/^fpr:*\\([^:]*\\):/\\1/p' | head -1)
             {GPG} --quick-add-key $fpr rsa2048 sign never"
        ));
    }
    let message = desk.run(&format!(
        "{GPG} -u other@example.org --output - --sign text"
    ));
    let [victim, other] = ["victim", "other"].map(|name| {
        let ring = desk.run(&format!("{GPG} --export {name}@example.org"));
        let subkey = subkey_of(&ring);
        (ring[..subkey].to_vec(), ring[subkey..].to_vec())
    });
    let whole = [&other.0[..], &other.1].concat();
    assert!(verify(&message, &keyring(&whole), now_s()).is_ok());
    let forged = [&victim.0[..], &other.1, &victim.1].concat();
    assert_eq!(keyring(&forged).keys().len(), 2);
    assert!(matches!(
        verify(&message, &keyring(&forged), now_s()),
        Err(OpenPgpError::UnknownKey(_))
    ));
}

/// Where the first subkey begins: gpg exports old headers (RFC 4880 section 4.2.1).
fn subkey_of(ring: &[u8]) -> usize {
    let mut at = 0;
    while ring[at] >> 2 & 0x0f != 14 {
        let length = &ring[at + 1..];
        at += match ring[at] & 3 {
            0 => 2 + usize::from(length[0]),
            1 => 3 + usize::from(u16::from_be_bytes([length[0], length[1]])),
            _ => panic!("a packet of this length is not expected"),
        };
    }
    at
}

#[test]
fn other_bytes_keys_and_forms_are_refused() {
    let Some(desk) = desk() else { return };
    desk.write("text", "what is signed");
    for name in ["a", "b"] {
        desk.run(&format!(
            "{GPG} --quick-gen-key {name}@example.org ed25519 sign never"
        ));
    }
    let ring = |name: &str| keyring(&desk.run(&format!("{GPG} --export {name}@example.org")));
    let (a, b) = (ring("a"), ring("b"));
    let sign = format!("{GPG} --compress-algo none -u a@example.org --output - --sign text");
    let message = desk.run(&sign);
    assert!(matches!(
        verify(&message, &b, now_s()),
        Err(OpenPgpError::UnknownKey(_))
    ));
    assert!(verify(&message, &a, now_s()).is_ok());
    // Each byte in its turn: the text, the signature, the packets.
    for at in 0..message.len() {
        let mut wrong = message.clone();
        wrong[at] ^= 1;
        if let Ok(found) = verify(&wrong, &a, now_s()) {
            // A few are signed by nothing: the literal packet's name and time, the hint at the key.
            assert_eq!(found.content, b"what is signed", "byte {at}");
        }
    }
    for length in 0..message.len() {
        assert!(
            verify(&message[..length], &a, now_s()).is_err(),
            "{length} bytes"
        );
    }
    let twice = [message.clone(), message.clone()].concat();
    assert!(verify(&twice, &a, now_s()).is_err());
    let two = desk.run(&format!(
        "{GPG} -u a@example.org -u b@example.org --output - --sign text"
    ));
    assert!(verify(&two, &a, now_s()).is_err());
    let detached = desk.run(&format!(
        "{GPG} -u a@example.org --output - --detach-sign text"
    ));
    assert!(verify(&detached, &a, now_s()).is_err());
    let clear = desk.run(&format!(
        "{GPG} -u a@example.org --output - --clearsign text"
    ));
    assert!(verify(&clear, &a, now_s()).is_err());
    let old = desk.run(&format!(
        "{GPG} --digest-algo SHA1 -u a@example.org --output - --sign text || true"
    ));
    assert!(verify(&old, &a, now_s()).is_err());
    assert!(
        verify(&message, &a, now_s() - 100_000).is_err(),
        "from the future"
    );
}

#[test]
fn keys_that_have_ended_sign_nothing() {
    let Some(desk) = desk() else { return };
    desk.write("text", "what is signed");
    desk.run(&format!(
        "{GPG} --quick-gen-key short@example.org ed25519 sign 2d"
    ));
    let message = desk.run(&format!(
        "{GPG} -u short@example.org --output - --sign text"
    ));
    let ring = keyring(&desk.run(&format!("{GPG} --export short@example.org")));
    assert!(verify(&message, &ring, now_s()).is_ok());
    let later = now_s() + 3 * 86_400;
    assert!(matches!(
        verify(&message, &ring, later),
        Err(OpenPgpError::KeyExpired(_))
    ));
    let brief = desk.run(&format!(
        "{GPG} --default-sig-expire 1d -u short@example.org --output - --sign text"
    ));
    assert!(matches!(
        verify(&brief, &ring, now_s() + 86_400 + 60),
        Err(OpenPgpError::SignatureExpired)
    ));
    desk.run(&format!(
        "sed 's/^:-/-/' openpgp-revocs.d/*.rev > revoked && {GPG} --import revoked"
    ));
    let ring = keyring(&desk.run(&format!("{GPG} --export short@example.org")));
    assert!(matches!(
        verify(&message, &ring, now_s()),
        Err(OpenPgpError::KeyRevoked(_))
    ));
}
