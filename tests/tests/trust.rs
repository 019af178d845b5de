//! Which images may be used: policies, and signatures made with the real gpg and openssl, laid where
//! gpg's and cosign's signatures lie.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gamut_tests::host::program;
use gamut_tests::image::Blob;
use gamut_tests::{Gamut, HostileRegistry, Image, ImageBuilder, Layer, Login, Mischief};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn small(content: &str) -> Image {
    ImageBuilder::new()
        .layer(Layer::new().file("content", 0o644, content))
        .cmd(&["/content"])
        .build()
}

/// A policy of this test's, and what it is about.
struct Policy<'g> {
    gamut: &'g Gamut,
    path: PathBuf,
}

impl<'g> Policy<'g> {
    fn new(gamut: &'g Gamut) -> Self {
        let path = gamut.dir().join("policy.json");
        Self { gamut, path }
    }

    /// Everything is refused but images of `scope`, of which `requirement` is required.
    fn require(&self, scope: &str, requirement: Value) {
        let docker = json!({scope: [requirement]});
        let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": docker}});
        std::fs::write(&self.path, policy.to_string()).expect("written");
    }

    fn pull(&self, name: &str) -> gamut_tests::Outcome {
        let path = self.path.to_string_lossy();
        self.gamut
            .call(&["pull", "-q", "--signature-policy", &path, name])
    }

    #[track_caller]
    fn refuses(&self, name: &str, words: &[&str]) {
        self.pull(name).refused(1, words).hinted();
        assert_eq!(
            self.gamut.call(&["images", "-q"]).ok().out,
            "",
            "it is here all the same"
        );
        let blobs = self.gamut.root().join("blobs/sha256");
        assert_eq!(std::fs::read_dir(blobs).expect("listed").count(), 0);
    }

    #[track_caller]
    fn takes(&self, name: &str) {
        self.pull(name).ok();
        let id = self.gamut.call(&["images", "-q"]).ok().text().to_owned();
        self.gamut.call(&["rmi", "-f", &id]).ok();
    }
}

/// Whether a program is here; says so if not.
pub(super) fn is_here(name: &str) -> bool {
    let found = std::process::Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        gamut_tests::skip::skipped(&format!("there is no {name}"));
    }
    found
}

pub(super) fn shell(directory: &Path, line: &str) {
    let line = format!("cd {} && {line}", directory.display());
    program("sh", &["-ec", &line]);
}

pub(super) fn statement(kind: &str, name: &str, digest: &str) -> String {
    let critical = json!({
        "identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": kind,
    });
    json!({"critical": critical, "optional": null}).to_string()
}

#[test]
fn without_a_policy_everything_is_taken_and_with_one_it_holds() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let name = registry.shelve(&small("x"), "team/app:1");
    let policy = Policy::new(&gamut);
    policy.require(&registry.address, json!({"type": "insecureAcceptAnything"}));
    policy.takes(&name);
    policy.require(&registry.address, json!({"type": "reject"}));
    policy.refuses(&name, &["team/app:1", "policy"]);
    policy.require(
        "registry.example.org",
        json!({"type": "insecureAcceptAnything"}),
    );
    policy.refuses(&name, &["all images"]);
    std::fs::write(&policy.path, "{}").expect("written");
    policy.refuses(&name, &["malformed"]);
    std::fs::remove_file(&policy.path).expect("removed");
    policy.refuses(&name, &["policy.json"]);
    // The user's own policy needs no flag, and holds for `run` as well.
    let own = gamut.dir().join("home/.config/containers");
    std::fs::create_dir_all(&own).expect("made");
    let reject = r#"{"default": [{"type": "reject"}]}"#;
    std::fs::write(own.join("policy.json"), reject).expect("written");
    gamut.call(&["pull", &name]).refused(1, &["policy"]);
    gamut
        .call(&["run", "--rm", "--network", "none", &name])
        .refused(125, &["policy"]);
    std::fs::remove_file(own.join("policy.json")).expect("removed");
    gamut.call(&["pull", "-q", &name]).ok();
}

#[test]
fn archives_are_held_to_the_policy_too() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    gamut.call(&["pull", "-q", &image]).ok();
    let file = gamut.dir().join("saved.tar");
    let file = file.to_string_lossy();
    gamut.call(&["save", "-o", &file, &image]).ok();
    let path = gamut.dir().join("policy.json");
    let load = [
        "load",
        "-q",
        "--signature-policy",
        &path.to_string_lossy(),
        "-i",
        &file,
    ];
    std::fs::write(&path, r#"{"default": [{"type": "reject"}]}"#).expect("written");
    gamut.call(&load).refused(1, &["policy"]).hinted();
    let archives = json!({
        "default": [{"type": "reject"}],
        "transports": {"docker-archive": {"": [{"type": "insecureAcceptAnything"}]}},
    });
    std::fs::write(&path, archives.to_string()).expect("written");
    gamut.call(&load).ok();
}

#[test]
fn simple_signatures_lie_beside_the_registry() {
    let Some(gamut) = Gamut::new() else { return };
    if !is_here("gpg") {
        return;
    }
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let image = small("signed");
    let name = registry.shelve(&image, "team/app:1");
    let gpg = gamut.dir().join("gpg");
    std::fs::create_dir(&gpg).expect("made");
    let run = format!(
        "GNUPGHOME={} gpg --batch --quiet --yes --pinentry-mode loopback --passphrase ''",
        gpg.display()
    );
    shell(
        &gpg,
        &format!(
            "chmod 700 . && {run} --quick-gen-key a@example.org ed25519 sign never 2>/dev/null"
        ),
    );
    shell(&gpg, &format!("{run} --armor --export >key.asc"));
    let policy = Policy::new(&gamut);
    let key = gpg.join("key.asc");
    policy.require(
        &format!("{}/team", registry.address),
        json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}),
    );
    policy.refuses(&name, &["no signature"]);
    let store = gamut.dir().join("sigstore");
    let own = gamut.dir().join("home/.config/containers/registries.d");
    std::fs::create_dir_all(&own).expect("made");
    let place = |url: &str| {
        let yaml = format!("default-docker:\n  lookaside: {url}\n");
        std::fs::write(own.join("default.yaml"), yaml).expect("written");
    };
    // Nobody answers there: whether it is signed cannot be known.
    place("http://127.0.0.1:1/signatures");
    policy.refuses(&name, &["127.0.0.1:1"]);
    std::fs::write(own.join("default.yaml"), "lookaside").expect("written");
    policy.refuses(&name, &["default.yaml"]);
    place(&format!("file://{}", store.display()));
    let digest = &image.top.digest;
    let beside = store.join(format!("team/app@{}", digest.replace(':', "=")));
    std::fs::create_dir_all(&beside).expect("made");
    let sign = |number: u32, name: &str, digest: &str| {
        let text = statement("atomic container signature", name, digest);
        std::fs::write(gpg.join("text"), text).expect("written");
        let to = beside.join(format!("signature-{number}"));
        shell(
            &gpg,
            &format!("{run} --output {} --sign text", to.display()),
        );
    };
    sign(1, "registry.example.org/other:1", digest);
    policy.refuses(&name, &["registry.example.org/other:1"]);
    sign(2, &name, &format!("sha256:{}", "0".repeat(64)));
    policy.refuses(&name, &["another image"]);
    sign(3, &name, digest);
    policy.takes(&name);
    // Another image under the same name: the old signatures are not its own.
    let other = registry.shelve(&small("swapped"), "team/app:1");
    policy.refuses(&other, &["no signature"]);
    shell(&gpg, "GNUPGHOME=$PWD gpgconf --kill all");
}

/// A manifest whose layers are these, with their annotations.
pub(super) fn artifact(layers: &[(&str, Vec<u8>, Value)], artifact_type: Option<&str>) -> Image {
    let config = Blob::new("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
    let mut blobs = vec![config];
    let mut listed = Vec::new();
    for (media_type, bytes, annotations) in layers {
        let blob = Blob::new(media_type, bytes.clone());
        let mut descriptor = blob.descriptor();
        descriptor["annotations"] = annotations.clone();
        listed.push(descriptor);
        blobs.push(blob);
    }
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": blobs[0].descriptor(), "layers": listed,
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    Image {
        top: Blob::new(media_type, manifest.to_string().into_bytes()),
        manifests: Vec::new(),
        blobs,
    }
}

#[test]
fn cosigns_signatures_are_a_tag_or_refer_to_the_image() {
    let Some(gamut) = Gamut::new() else { return };
    if !is_here("openssl") {
        return;
    }
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let image = small("signed");
    let name = registry.shelve(&image, "team/app:1");
    let digest = image.top.digest.clone();
    let keys = gamut.dir().join("keys");
    std::fs::create_dir(&keys).expect("made");
    shell(
        &keys,
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out a.key 2>/dev/null",
    );
    shell(&keys, "openssl pkey -in a.key -pubout -out a.pub");
    let sign = |text: &[u8]| {
        std::fs::write(keys.join("text"), text).expect("written");
        shell(
            &keys,
            "openssl dgst -sha256 -sign a.key -out signature text",
        );
        STANDARD.encode(std::fs::read(keys.join("signature")).expect("read"))
    };
    let policy = Policy::new(&gamut);
    let required = |identity: Option<&str>| {
        let mut requirement = json!({"type": "sigstoreSigned", "keyPath": keys.join("a.pub")});
        if let Some(identity) = identity {
            requirement["signedIdentity"] = json!({"type": identity});
        }
        policy.require(&registry.address, requirement);
    };
    required(Some("matchRepository"));
    policy.refuses(&name, &["no signature"]);
    // Cosign's own form.
    let repository = format!("{}/team/app", registry.address);
    let text = statement("cosign container image signature", &repository, &digest).into_bytes();
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let annotations = json!({"dev.cosignproject.cosign/signature": sign(&text)});
    let tag = format!("team/app:{}.sig", digest.replace(':', "-"));
    registry.shelve(&artifact(&[(kind, text.clone(), annotations)], None), &tag);
    policy.takes(&name);
    required(None);
    policy.refuses(&name, &[&repository]);
    let wrong = json!({"dev.cosignproject.cosign/signature": sign(b"something else")});
    registry.shelve(&artifact(&[(kind, text, wrong)], None), &tag);
    required(Some("matchRepository"));
    policy.refuses(&name, &["wrong"]);
    // A bundle, listed as a registry without a list of referrers has it.
    let predicate = "https://sigstore.dev/cosign/sign/v1";
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": {},
        "subject": [{"digest": {"sha256": &digest[7..]}}],
    })
    .to_string();
    let payload_type = "application/vnd.in-toto+json";
    let signed = format!(
        "DSSEv1 {} {payload_type} {} {statement}",
        payload_type.len(),
        statement.len()
    );
    let bundle_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let bundle = json!({
        "mediaType": bundle_type,
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement), "payloadType": payload_type,
            "signatures": [{"sig": sign(signed.as_bytes())}],
        },
    });
    let bundle = bundle.to_string().into_bytes();
    let bundle = artifact(&[(bundle_type, bundle, json!({}))], Some(bundle_type));
    let mut entry = bundle.top.descriptor();
    entry["artifactType"] = bundle_type.into();
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [entry]});
    let index = Image {
        top: Blob::new(index_type, index.to_string().into_bytes()),
        manifests: vec![bundle.top],
        blobs: bundle.blobs,
    };
    registry.shelve(&index, &format!("team/app:{}", digest.replace(':', "-")));
    required(None);
    policy.takes(&name);
    required(Some("matchRepository"));
    policy.refuses(&name, &["name"]);
}

#[test]
fn the_policy_is_shown_and_set() {
    let Some(gamut) = Gamut::new() else { return };
    let path = gamut.dir().join("p/policy.json");
    let path = path.to_string_lossy();
    let set = |words: &[&str]| {
        let set = ["image", "trust", "set", "--policypath", &path];
        gamut.call(&[&set[..], words].concat())
    };
    set(&["-t", "reject", "default"]).ok();
    set(&["-t", "accept", "docker.io/library"]).ok();
    set(&["-t", "sigstoreSigned", "-f", "/keys/a.pub", "ghcr.io/org"]).ok();
    set(&["ghcr.io/other"]).refused(1, &["--pubkeysfile"]);
    let show = |words: &[&str]| {
        let show = ["image", "trust", "show", "--policypath", &path];
        gamut.call(&[&show[..], words].concat()).ok()
    };
    let table = show(&[]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["TRANSPORT", "NAME", "TYPE", "ID", "STORE"]);
    assert_eq!(lines[1], ["all", "default", "reject"]);
    assert_eq!(lines[2], ["repository", "docker.io/library", "accept"]);
    assert_eq!(
        lines[3],
        ["repository", "ghcr.io/org", "sigstoreSigned", "/keys/a.pub"]
    );
    let one = show(&["--json", "ghcr.io/org"]).json();
    assert_eq!(one[0]["type"], "sigstoreSigned");
    assert!(show(&["--raw"]).json()["transports"]["docker"].is_object());
    set(&["-t", "accept", "docker.io/library"]).ok();
    assert_eq!(show(&[]).lines().len(), 4);
}
