//! Signatures that cosign and skopeo make, held against one policy by gamut and by skopeo.

use gamut_tests::Engine;

/// The image, whose signatures of an earlier run are another repository's.
fn image() -> String {
    format!("127.0.0.1:5000/@/app{}:1", std::process::id())
}

/// gamut with a root and a home of the test's own, and an image that it has pushed to a registry.
fn gamut(name: &str) -> Option<Engine> {
    let gamut = Engine::new(
        "env HOME=/peers/@/home gamut --root /peers/@/root --runroot /run/@",
        &format!("trust-{name}"),
    )?;
    gamut.at_end("system reset --force");
    gamut.file("here", "");
    gamut.says("load -q -i /peers/bb.tar");
    let name = image();
    gamut.says(&format!("tag localhost/bb {name}"));
    gamut.says(&format!("push -q {name}"));
    gamut.says(&format!("rmi {name} localhost/bb"));
    Some(gamut)
}

/// A policy that refuses everything but what fulfils `requirement` in this registry.
fn require(gamut: &Engine, requirement: &str) {
    let policy = format!(
        r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker": {{"127.0.0.1:5000": [{requirement}]}}}}}}"#
    );
    gamut.file("policy.json", &policy);
}

fn pulled(gamut: &Engine) -> gamut_tests::Outcome {
    let image = image();
    gamut.call(&format!(
        "pull -q --signature-policy /peers/@/policy.json {image}"
    ))
}

#[track_caller]
fn taken(gamut: &Engine) {
    pulled(gamut).ok();
    gamut.says(&format!("rmi {}", image()));
}

#[track_caller]
fn refused(gamut: &Engine, word: &str) {
    pulled(gamut).refused(1, &[word]).hinted();
    assert_eq!(gamut.says("images -q"), "", "it is here all the same");
}

/// What skopeo, which is of those who wrote the policies, makes of the same.
fn skopeo_takes(gamut: &Engine) -> bool {
    let image = image();
    let copy = format!(
        "rm -rf /peers/@/copy; skopeo --policy /peers/@/policy.json --registries.d /peers/@/home/.config/containers/registries.d \
         copy -q --src-tls-verify=false --remove-signatures docker://{image} dir:/peers/@/copy"
    );
    gamut.beside(&copy).code == 0
}

/// How the registry's signatures are found.
fn registries(gamut: &Engine, lines: &str) {
    gamut
        .beside("mkdir -p /peers/@/home/.config/containers/registries.d")
        .ok();
    gamut.file("home/.config/containers/registries.d/here.yaml", lines);
}

#[test]
fn what_cosign_signs_is_taken() {
    let Some(gamut) = gamut("cosign") else { return };
    if gamut.beside("command -v cosign").code != 0 {
        gamut_tests::skip::skipped("there is no cosign: `lab/peers make`");
        return;
    }
    let cosign = |line: &str| {
        let line = format!("cd /peers/@ && COSIGN_PASSWORD=x COSIGN_YES=true cosign {line}");
        gamut.beside(&line).ok();
    };
    let http = "--allow-http-registry --allow-insecure-registry";
    let image = image();
    // Nothing but the key: no certificate, no log, no clock.
    gamut.file(
        "offline.json",
        r#"{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}"#,
    );
    gamut.file("said.json", r#"{"fine": true}"#);
    cosign("generate-key-pair --output-key-prefix own");
    cosign("generate-key-pair --output-key-prefix other");
    let required = |key: &str| {
        require(
            &gamut,
            &format!(r#"{{"type": "sigstoreSigned", "keyPath": "/peers/trust-cosign/{key}.pub"}}"#),
        );
    };
    required("own");
    refused(&gamut, "has no signature");
    let signing = "--signing-config offline.json --key own.key";
    cosign(&format!(
        "attest {http} {signing} --type custom --predicate said.json {image}"
    ));
    // Who attests something of an image does not sign it.
    refused(&gamut, "attestation");
    cosign(&format!("sign {http} {signing} {image}"));
    taken(&gamut);
    let listed = gamut.says(&format!("image referrers {image}"));
    assert!(listed.contains("sigstore.bundle"), "{listed}");
    // Now what was attested is known, and by whom.
    let all = |gamut: &Engine| {
        pulled(gamut).ok();
        let all = gamut.call(&format!("image inspect {image}")).ok().json();
        let all = all[0]["Attestations"].as_array().expect("a list").clone();
        let custom = all
            .iter()
            .find(|one| one["PredicateType"] == "https://cosign.sigstore.dev/attestation/v1");
        custom.expect("it is there").clone()
    };
    assert_eq!(all(&gamut)["Verified"], true);
    let statement = gamut
        .call(&format!(
            "image inspect --attestation cosign.sigstore.dev/attestation {image}"
        ))
        .ok()
        .json();
    assert_eq!(statement["predicate"]["Data"], r#"{"fine": true}"#);
    gamut.says(&format!("rmi {image}"));
    require(&gamut, r#"{"type": "insecureAcceptAnything"}"#);
    assert_eq!(all(&gamut)["Verified"], false);
    gamut.says(&format!("rmi {image}"));
    required("other");
    refused(&gamut, "wrong");
}

#[test]
fn what_skopeo_signs_for_sigstore_is_taken() {
    let Some(gamut) = gamut("sigstore") else {
        return;
    };
    registries(
        &gamut,
        "docker:\n  127.0.0.1:5000:\n    use-sigstore-attachments: true\n",
    );
    for key in ["own", "other"] {
        let make = format!(
            "cd /peers/@ && echo secret >{key}.secret && \
             skopeo generate-sigstore-key --output-prefix {key} --passphrase-file {key}.secret"
        );
        gamut.beside(&make).ok();
    }
    let required = |key: &str| {
        let key = format!(r#""keyPath": "/peers/trust-sigstore/{key}.pub""#);
        require(&gamut, &format!(r#"{{"type": "sigstoreSigned", {key}}}"#));
    };
    required("own");
    refused(&gamut, "has no signature");
    assert!(!skopeo_takes(&gamut));
    sign(
        &gamut,
        "--sign-by-sigstore-private-key own.private --sign-passphrase-file own.secret",
    );
    taken(&gamut);
    assert!(skopeo_takes(&gamut));
    required("other");
    refused(&gamut, "wrong");
    assert!(!skopeo_takes(&gamut));
}

/// The image, copied over itself with a signature.
fn sign(gamut: &Engine, how: &str) {
    let image = format!("docker://{}", image());
    let copy = format!(
        "cd /peers/@ && export GNUPGHOME=/peers/@/own && skopeo --insecure-policy --registries.d /peers/@/home/.config/containers/registries.d \
         copy -q --src-tls-verify=false --dest-tls-verify=false {how} {image} {image}"
    );
    gamut.beside(&copy).ok();
}

#[test]
fn what_skopeo_signs_with_gpg_is_taken() {
    let Some(gamut) = gamut("gpg") else { return };
    registries(
        &gamut,
        "docker:\n  127.0.0.1:5000:\n    lookaside: file:///peers/trust-gpg/signatures\n    lookaside-staging: file:///peers/trust-gpg/signatures\n",
    );
    for key in ["own", "other"] {
        let make = format!(
            "export GNUPGHOME=/peers/@/{key}; mkdir -m 700 $GNUPGHOME && cd $GNUPGHOME && \
             gpg --batch --quiet --passphrase '' --quick-gen-key {key}-key rsa3072 sign never && \
             gpg --batch --armor --export >/peers/@/{key}.asc"
        );
        gamut.beside(&make).ok();
    }
    let required = |key: &str| {
        let key = format!(r#""keyType": "GPGKeys", "keyPath": "/peers/trust-gpg/{key}.asc""#);
        require(&gamut, &format!(r#"{{"type": "signedBy", {key}}}"#));
    };
    required("own");
    refused(&gamut, "has no signature");
    assert!(!skopeo_takes(&gamut));
    sign(
        &gamut,
        "--sign-by $(gpg --list-keys --with-colons | sed -n 's/^fpr:*\\([^:]*\\):/\\1/p' | head -n 1)",
    );
    taken(&gamut);
    assert!(skopeo_takes(&gamut));
    required("other");
    refused(&gamut, "key");
    assert!(!skopeo_takes(&gamut));
    for key in ["own", "other"] {
        let end = format!("GNUPGHOME=/peers/@/{key} gpgconf --kill all");
        gamut.beside(&end);
    }
}

#[test]
fn a_policy_that_is_set_here_holds_for_skopeo() {
    let Some(gamut) = gamut("set") else { return };
    let set = "image trust set --policypath /peers/@/policy.json";
    gamut.says(&format!("{set} -t reject default"));
    assert!(!skopeo_takes(&gamut));
    refused(&gamut, "policy");
    gamut.says(&format!("{set} -t accept 127.0.0.1:5000/@"));
    assert!(skopeo_takes(&gamut));
    taken(&gamut);
    gamut.says(&format!("{set} -t reject {}", image()));
    assert!(!skopeo_takes(&gamut));
    refused(&gamut, "policy");
    let shown = |engine: &str| {
        let line = format!("{engine} image trust show --policypath /peers/@/policy.json --raw");
        gamut.beside(&line).ok().json()
    };
    assert_eq!(shown("gamut"), shown("podman"));
}
