//! Cosign's forms, signed with openssl as cosign documents them (specs/SIGNATURE_SPEC.md): keys of
//! every kind, an authority like Fulcio, a log like Rekor, and bundles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gamut_trust::sigstore::{
    Attached, Authority, PublicKey, Rules, Signed, Signers, SigstoreError,
};
use serde_json::{Value, json};

use crate::tools::{Desk, IMAGE, digest, now_s, payload};

const COSIGN: &str = "cosign container image signature";
const MAIL: &str = "who@example.org";
const ISSUER: &str = "https://issuer.example.org";

fn desk() -> Option<Desk> {
    Desk::with("openssl")
}

fn key(desk: &Desk, name: &str, kind: &str) -> PublicKey {
    desk.run(&format!(
        "openssl genpkey {kind} -out {name}.key 2>/dev/null"
    ));
    desk.run(&format!(
        "openssl pkey -in {name}.key -pubout -out {name}.pub"
    ));
    PublicKey::from_pem(&desk.read(&format!("{name}.pub"))).expect("a key")
}

const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

fn sign(desk: &Desk, name: &str, content: &[u8]) -> Vec<u8> {
    desk.write("signed", content);
    desk.run(&format!("openssl dgst -sha256 -sign {name}.key signed"))
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn with_key(key: PublicKey, logs: Vec<PublicKey>) -> Rules {
    Rules {
        signers: Signers::Keys(vec![key]),
        logs,
    }
}

fn attached(payload: &str, signature: &[u8]) -> Attached {
    Attached {
        payload: payload.as_bytes().to_vec(),
        signature: b64(signature),
        ..Attached::default()
    }
}

fn hash(desk: &Desk, content: &[u8]) -> String {
    desk.write("hashed", content);
    let out = desk.run("sha256sum hashed | cut -d' ' -f1");
    String::from_utf8(out).expect("text").trim().to_owned()
}

/// An entry of the log `rekor`, as cosign annotates it.
fn logged(desk: &Desk, payload: &[u8], signature: &[u8], signer: &[u8]) -> String {
    let body = json!({
        "apiVersion": "0.0.1", "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hash(desk, payload)}},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(signer)}},
        },
    });
    let (body, time) = (b64(body.to_string()), now_s());
    let signed =
        format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"c0ffee","logIndex":7}}"#);
    json!({
        "SignedEntryTimestamp": b64(sign(desk, "rekor", signed.as_bytes())),
        "Payload": {"body": body, "integratedTime": time, "logIndex": 7, "logID": "c0ffee"},
    })
    .to_string()
}

#[test]
fn every_kind_of_key() {
    let Some(desk) = desk() else { return };
    let text = payload(COSIGN, IMAGE, &digest());
    for (name, kind) in [
        ("p256", P256),
        ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
        ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
    ] {
        let rules = with_key(key(&desk, name, kind), Vec::new());
        let right = attached(&text, &sign(&desk, name, text.as_bytes()));
        let wanted = Signed {
            reference: Some(IMAGE.to_owned()),
            digest: digest(),
        };
        assert_eq!(rules.check_attached(&right), Ok(wanted), "{name}");
        let mut other = right.clone();
        other.payload.push(b' ');
        assert_eq!(
            rules.check_attached(&other),
            Err(SigstoreError::Wrong),
            "{name}"
        );
    }
    let edwards = key(&desk, "ed", "-algorithm ED25519");
    desk.write("signed", &text);
    let signature = desk.run("openssl pkeyutl -sign -rawin -inkey ed.key -in signed");
    let rules = with_key(edwards, Vec::new());
    assert!(rules.check_attached(&attached(&text, &signature)).is_ok());
    for (name, kind) in [
        ("short", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024"),
        ("p521", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521"),
    ] {
        desk.run(&format!(
            "openssl genpkey {kind} -out {name}.key 2>/dev/null"
        ));
        desk.run(&format!(
            "openssl pkey -in {name}.key -pubout -out {name}.pub"
        ));
        let signature = sign(&desk, name, text.as_bytes());
        let refused = match PublicKey::from_pem(&desk.read(&format!("{name}.pub"))) {
            Ok(key) => with_key(key, Vec::new())
                .check_attached(&attached(&text, &signature))
                .is_err(),
            Err(_) => true,
        };
        assert!(refused, "{name}");
    }
}

#[test]
fn a_log_must_have_promised_this_very_signature() {
    let Some(desk) = desk() else { return };
    let (signer, rekor) = (key(&desk, "a", P256), key(&desk, "rekor", P256));
    let text = payload(COSIGN, IMAGE, &digest());
    let signature = sign(&desk, "a", text.as_bytes());
    let public = desk.read("a.pub");
    let rules = with_key(signer.clone(), vec![rekor.clone()]);
    let with = |bundle: Option<String>| {
        let mut one = attached(&text, &signature);
        one.bundle = bundle;
        rules.check_attached(&one)
    };
    let right = logged(&desk, text.as_bytes(), &signature, &public);
    assert!(with(Some(right.clone())).is_ok());
    assert!(matches!(with(None), Err(SigstoreError::Rekor(_))));
    let other_text = logged(&desk, b"other", &signature, &public);
    assert!(matches!(
        with(Some(other_text)),
        Err(SigstoreError::Rekor(_))
    ));
    let other_signature = logged(&desk, text.as_bytes(), b"other", &public);
    assert!(matches!(
        with(Some(other_signature)),
        Err(SigstoreError::Rekor(_))
    ));
    key(&desk, "b", P256);
    let other_key = logged(&desk, text.as_bytes(), &signature, &desk.read("b.pub"));
    assert!(matches!(
        with(Some(other_key)),
        Err(SigstoreError::Rekor(_))
    ));
    let moved = right.replace("\"logIndex\":7", "\"logIndex\":8");
    assert!(matches!(with(Some(moved)), Err(SigstoreError::Rekor(_))));
    // Another log, which nobody trusts.
    key(&desk, "rekor", P256);
    let foreign = logged(&desk, text.as_bytes(), &signature, &public);
    assert!(matches!(with(Some(foreign)), Err(SigstoreError::Rekor(_))));
    assert!(with(Some("{}".to_owned())).is_err());
}

/// An authority with an intermediate, and a certificate for a key.
fn certify(desk: &Desk, name: &str, mail: &str, issuer: &str, usage: &str) {
    if !desk.path("root.pem").exists() {
        key(
            desk,
            "root",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        );
        desk.run(
            "openssl req -x509 -new -key root.key -subj /CN=root -days 9 -out root.pem \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
        );
        key(
            desk,
            "middle",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        );
        desk.write(
            "middle.ext",
            "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=codeSigning\nkeyUsage=critical,keyCertSign\n",
        );
        desk.run(
            "openssl req -new -key middle.key -subj /CN=middle | openssl x509 -req -CA root.pem -CAkey root.key \
             -set_serial 2 -days 9 -extfile middle.ext -out middle.pem 2>/dev/null",
        );
    }
    let email = format!("email:{mail}");
    let hex: String = issuer.bytes().map(|byte| format!(":{byte:02x}")).collect();
    desk.write(
        "leaf.ext",
        format!(
            "keyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\nsubjectAltName=critical,{email}\n\
             1.3.6.1.4.1.57264.1.1=DER{hex}\n1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:{issuer}\n"
        ),
    );
    desk.run(&format!(
        "openssl req -new -key {name}.key -subj / | openssl x509 -req -CA middle.pem -CAkey middle.key \
         -set_serial 3 -days 1 -extfile leaf.ext -out {name}.pem 2>/dev/null"
    ));
}

fn by_identity(desk: &Desk, rekor: &PublicKey) -> Rules {
    let authority = Authority::new(&desk.read("root.pem"), ISSUER.to_owned(), MAIL.to_owned());
    Rules {
        signers: Signers::Identity(authority.expect("an authority")),
        logs: vec![rekor.clone()],
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

#[test]
fn an_identity_is_what_its_certificate_says() {
    let Some(desk) = desk() else { return };
    let rekor = key(&desk, "rekor", P256);
    key(&desk, "a", P256);
    let statement = payload(COSIGN, IMAGE, &digest());
    let signature = sign(&desk, "a", statement.as_bytes());
    let certified = |mail: &str, issuer: &str, usage: &str| {
        certify(&desk, "a", mail, issuer, usage);
        let leaf = desk.read("a.pem");
        let mut one = attached(&statement, &signature);
        one.bundle = Some(logged(&desk, statement.as_bytes(), &signature, &leaf));
        one.certificate = Some(text(leaf));
        one.chain = Some(text(desk.read("middle.pem")));
        one
    };
    let right = certified(MAIL, ISSUER, "codeSigning");
    let rules = by_identity(&desk, &rekor);
    rules.check_attached(&right).expect("right");
    let refused = |one: &Attached| {
        let error = rules.check_attached(one).expect_err("refused");
        assert!(
            matches!(
                error,
                SigstoreError::Certificate(_) | SigstoreError::Rekor(_)
            ),
            "{error}"
        );
    };
    refused(&certified("other@example.org", ISSUER, "codeSigning"));
    refused(&certified(MAIL, "https://other.example.org", "codeSigning"));
    refused(&certified(MAIL, ISSUER, "serverAuth"));
    for field in 0..3 {
        let mut lacking = right.clone();
        match field {
            0 => lacking.certificate = None,
            1 => lacking.chain = None,
            _ => lacking.bundle = None,
        }
        refused(&lacking);
    }
    // Another key's certificate for the same identity, and its own log entry.
    key(&desk, "b", P256);
    certify(&desk, "b", MAIL, ISSUER, "codeSigning");
    let mut other = right.clone();
    let leaf = desk.read("b.pem");
    other.bundle = Some(logged(&desk, statement.as_bytes(), &signature, &leaf));
    other.certificate = Some(text(leaf));
    assert_eq!(rules.check_attached(&other), Err(SigstoreError::Wrong));
    // An authority of somebody else's.
    desk.run("rm root.pem");
    certify(&desk, "b", MAIL, ISSUER, "codeSigning");
    let foreign = by_identity(&desk, &rekor);
    assert!(matches!(
        foreign.check_attached(&right),
        Err(SigstoreError::Certificate(_))
    ));
}

/// A bundle of version 0.3 as cosign 3 writes it.
fn bundle(desk: &Desk, predicate: &str, material: Value) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": {},
        "subject": [{"digest": {"sha256": digest().hex()}}],
    })
    .to_string();
    let kind = "application/vnd.in-toto+json";
    let signed = format!(
        "DSSEv1 {} {kind} {} {statement}",
        kind.len(),
        statement.len()
    );
    let signature = sign(desk, "a", signed.as_bytes());
    let mut material = material;
    if material.get("logged").is_some() {
        let verifier = desk.read(material["logged"].as_str().expect("a file"));
        material
            .as_object_mut()
            .expect("an object")
            .remove("logged");
        let body = json!({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": {
                "payloadHash": {"algorithm": "sha256", "value": hash(desk, statement.as_bytes())},
                "signatures": [{"signature": b64(&signature), "verifier": b64(verifier)}],
            },
        });
        let (body, time) = (b64(body.to_string()), now_s());
        let entry =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"c0ffee","logIndex":7}}"#);
        material["tlogEntries"] = json!([{
            "logIndex": "7", "logId": {"keyId": b64([0xc0, 0xff, 0xee])},
            "integratedTime": time.to_string(), "canonicalizedBody": body,
            "inclusionPromise": {"signedEntryTimestamp": b64(sign(desk, "rekor", entry.as_bytes()))},
        }]);
    }
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": b64(&statement), "payloadType": kind, "signatures": [{"sig": b64(&signature)}],
        },
    })
    .to_string()
    .into_bytes()
}

const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

#[test]
fn bundles_of_keys_and_of_identities() {
    let Some(desk) = desk() else { return };
    let (signer, rekor) = (key(&desk, "a", P256), key(&desk, "rekor", P256));
    certify(&desk, "a", MAIL, ISSUER, "codeSigning");
    let here = [digest()];
    let hint = json!({"publicKey": {"hint": "x"}});
    let plain = bundle(&desk, SIGNATURE, hint.clone());
    let signed = Signed {
        reference: None,
        digest: digest(),
    };
    let rules = with_key(signer.clone(), Vec::new());
    assert_eq!(rules.check_bundle(&plain, &here), Ok(signed.clone()));
    let elsewhere = [format!("sha256:{}", "cd".repeat(32))
        .parse()
        .expect("a digest")];
    assert!(rules.check_bundle(&plain, &elsewhere).is_err());
    let attestation = bundle(&desk, "https://slsa.dev/provenance/v1", hint.clone());
    assert!(matches!(
        rules.check_bundle(&attestation, &here),
        Err(SigstoreError::Unsupported(_))
    ));
    let strict = with_key(signer, vec![rekor.clone()]);
    assert!(matches!(
        strict.check_bundle(&plain, &here),
        Err(SigstoreError::Rekor(_))
    ));
    let mut material = hint;
    material["logged"] = "a.pub".into();
    let logged = bundle(&desk, SIGNATURE, material);
    assert_eq!(strict.check_bundle(&logged, &here), Ok(signed.clone()));
    // With certificates: the leaf, then what is between it and the root.
    let der = |name: &str| b64(desk.run(&format!("openssl x509 -in {name}.pem -outform DER")));
    let chain = json!({"certificates": [{"rawBytes": der("a")}, {"rawBytes": der("middle")}]});
    let material = json!({"x509CertificateChain": chain, "logged": "a.pem"});
    let whole = bundle(&desk, SIGNATURE, material);
    let rules = by_identity(&desk, &rekor);
    assert_eq!(rules.check_bundle(&whole, &here), Ok(signed));
    assert!(rules.check_bundle(&logged, &here).is_err());
    let document: Value = serde_json::from_slice(&whole).expect("JSON");
    let mut tampered = document;
    tampered["dsseEnvelope"]["payload"] = b64("{}").into();
    assert!(
        rules
            .check_bundle(tampered.to_string().as_bytes(), &here)
            .is_err()
    );
    assert!(rules.check_bundle(b"{}", &here).is_err());
}
