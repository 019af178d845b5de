//! Whole policies, held against images with and without signatures.

use gamut_spec::Digest;
use gamut_trust::sigstore::Attached;
use gamut_trust::{Policy, Pulled, SigstoreSignature, Source, TrustError};
use serde_json::{Value, json};

use crate::tools::{Desk, IMAGE, digest, now_s, payload, reference};

#[derive(Default)]
struct Signatures {
    simple: Vec<Vec<u8>>,
    sigstore: Vec<SigstoreSignature>,
    broken: bool,
}

impl Source for Signatures {
    fn simple(&self) -> Result<Vec<Vec<u8>>, String> {
        match self.broken {
            true => Err("it is not reached".to_owned()),
            false => Ok(self.simple.clone()),
        }
    }

    fn sigstore(&self) -> Result<Vec<SigstoreSignature>, String> {
        match self.broken {
            true => Err("it is not reached".to_owned()),
            false => Ok(self.sigstore.clone()),
        }
    }
}

fn check(requirements: Value, digests: &[Digest], source: &Signatures) -> Result<(), TrustError> {
    let text = json!({"default": requirements}).to_string();
    let policy = Policy::parse(text.as_bytes()).expect("a policy");
    let reference = reference();
    let image = Pulled {
        reference: &reference,
        digests,
        now_s: now_s(),
    };
    policy.of_image(&reference).check(image, source)
}

const GPG: &str = "gpg --batch --yes --quiet --pinentry-mode loopback --passphrase ''";

fn signed(desk: &Desk, name: &str, digest: &Digest) -> Vec<u8> {
    desk.write("text", payload("atomic container signature", name, digest));
    desk.run(&format!("{GPG} --output - --sign text"))
}

#[test]
fn simple_signing_by_a_policy() {
    let Some(desk) = Desk::with("gpg") else {
        return;
    };
    desk.run(&format!(
        "{GPG} --quick-gen-key a@example.org ed25519 sign never"
    ));
    desk.run(&format!("{GPG} --armor --export > a.gpg"));
    let required = json!([{
        "type": "signedBy", "keyType": "GPGKeys", "keyPath": desk.path("a.gpg"),
    }]);
    let with = |simple: Vec<Vec<u8>>| Signatures {
        simple,
        ..Signatures::default()
    };
    let here = [digest()];
    let right = signed(&desk, IMAGE, &digest());
    check(required.clone(), &here, &with(vec![right.clone()])).expect("right");
    // One that counts is enough, whatever else lies there.
    check(
        required.clone(),
        &here,
        &with(vec![b"rubbish".to_vec(), right.clone()]),
    )
    .expect("right");
    let unsigned = check(required.clone(), &here, &with(Vec::new()));
    assert!(matches!(unsigned, Err(TrustError::Unsigned { .. })));
    let other: Digest = format!("sha256:{}", "cd".repeat(32))
        .parse()
        .expect("a digest");
    for wrong in [
        signed(&desk, IMAGE, &other),
        signed(&desk, "registry.example.org/team/other:1", &digest()),
        signed(&desk, "registry.example.org/team/app:2", &digest()),
    ] {
        let refused = check(required.clone(), &here, &with(vec![wrong]));
        assert!(
            matches!(refused, Err(TrustError::NotSatisfied { .. })),
            "{refused:?}"
        );
    }
    // The index is signed, and the image is of it.
    check(
        required.clone(),
        &[other, digest()],
        &with(vec![right.clone()]),
    )
    .expect("right");
    let broken = Signatures {
        broken: true,
        ..with(vec![right.clone()])
    };
    let refused = check(required.clone(), &here, &broken);
    assert!(matches!(refused, Err(TrustError::Unavailable { .. })));
    // All requirements have to be fulfilled.
    let both = json!([required[0], {"type": "reject"}]);
    let refused = check(both, &here, &with(vec![right.clone()]));
    assert!(matches!(refused, Err(TrustError::Rejected { .. })));
    let lost = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/no/such/key"}]);
    let refused = check(lost, &here, &with(vec![right]));
    assert!(matches!(refused, Err(TrustError::Policy(_))));
}

#[test]
fn cosign_by_a_policy() {
    let Some(desk) = Desk::with("openssl") else {
        return;
    };
    desk.run(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out a.key 2>/dev/null",
    );
    desk.run("openssl pkey -in a.key -pubout -out a.pub");
    let name = "registry.example.org/team/app";
    let text = payload("cosign container image signature", name, &digest());
    desk.write("text", &text);
    let signature = desk.run("openssl dgst -sha256 -sign a.key text | base64 -w0");
    let attached = Attached {
        payload: text.into_bytes(),
        signature: String::from_utf8(signature).expect("text"),
        ..Attached::default()
    };
    let source = Signatures {
        sigstore: vec![SigstoreSignature::Attached(Box::new(attached))],
        ..Signatures::default()
    };
    let here = [digest()];
    let by_repository = json!([{
        "type": "sigstoreSigned", "keyPath": desk.path("a.pub"),
        "signedIdentity": {"type": "matchRepository"},
    }]);
    check(by_repository.clone(), &here, &source).expect("right");
    // cosign signs a repository without a tag; by default, the tag has to be there.
    let by_default = json!([{"type": "sigstoreSigned", "keyPath": desk.path("a.pub")}]);
    let refused = check(by_default, &here, &source);
    assert!(
        matches!(refused, Err(TrustError::NotSatisfied { .. })),
        "{refused:?}"
    );
    let unsigned = check(by_repository, &here, &Signatures::default());
    assert!(matches!(unsigned, Err(TrustError::Unsigned { .. })));
}

#[test]
fn nothing_is_fetched_where_nothing_is_required() {
    let broken = Signatures {
        broken: true,
        ..Signatures::default()
    };
    check(
        json!([{"type": "insecureAcceptAnything"}]),
        &[digest()],
        &broken,
    )
    .expect("accepted");
    let refused = check(json!([{"type": "reject"}]), &[digest()], &broken);
    assert!(matches!(refused, Err(TrustError::Rejected { .. })));
    let reference = reference();
    assert!(Policy::accepting().of_image(&reference).accepts_all());
}
