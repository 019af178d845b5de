//! Manifest lists, copies from registry to registry, and what registries have beside images.

use gamut_tests::{
    Gamut, HostileRegistry, Image, ImageBuilder, Layer, Login, Mischief, Types, http, image::Blob,
};
use serde_json::{Value, json};

use super::registries::{document, far, near, small};

#[test]
fn a_manifest_list_is_put_together_and_pushed() {
    let Some(gamut) = Gamut::new() else { return };
    let own = small(&gamut, "own");
    let other = ImageBuilder::new()
        .architecture("s390x")
        .layer(Layer::new().file("content", 0o644, gamut.marker()))
        .build();
    let path = |what: &str| {
        near(&gamut, what)
            .split_once('/')
            .expect("a host")
            .1
            .to_owned()
    };
    let own_name = gamut
        .host
        .registry
        .push(&own, &format!("{}:1", path("own")));
    let other_name = gamut
        .host
        .registry
        .push(&other, &format!("{}:1", path("other")));
    let list = format!("{}:multi", near(&gamut, "list"));
    gamut.call(&["manifest", "exists", &list]).code(1);
    gamut
        .call(&[
            "manifest",
            "create",
            "--annotation",
            "a=b",
            &list,
            &own_name,
        ])
        .ok()
        .prints(&list);
    gamut
        .call(&["manifest", "create", &list])
        .refused(1, &["already"])
        .hinted();
    gamut
        .call(&["manifest", "create", "--amend", &list, &other_name])
        .ok();
    gamut.call(&["manifest", "exists", &list]).code(0);
    gamut
        .call(&[
            "manifest",
            "annotate",
            "--variant",
            "z15",
            "--annotation",
            "c=d",
            &list,
            &other.top.digest,
        ])
        .ok();
    let shown = gamut.call(&["manifest", "inspect", &list]).ok().json();
    assert_eq!(
        shown["manifests"][1]["platform"]["architecture"], "s390x",
        "{shown}"
    );
    assert_eq!(shown["manifests"][1]["platform"]["variant"], "z15");
    assert_eq!(shown["manifests"][1]["annotations"]["c"], "d");
    assert_eq!(shown["annotations"]["a"], "b");
    gamut.call(&["manifest", "push", "--purge", &list]).ok();
    gamut.call(&["manifest", "exists", &list]).code(1);
    let (index, _) = document(&gamut, &list);
    assert_eq!(index["manifests"][0]["digest"], own.top.digest.as_str());
    assert_eq!(index["manifests"][1]["digest"], other.top.digest.as_str());
    let remote = gamut.call(&["manifest", "inspect", &list]).ok().json();
    assert_eq!(remote, index, "what is not here is asked of the registry");
    let told = gamut
        .call(&["run", "--rm", "--network", "none", &list])
        .ok();
    assert_eq!(told.text(), format!("own {}", gamut.marker()));
    gamut
        .call(&["manifest", "rm", &list])
        .refused(1, &["no manifest list"])
        .hinted();
}

#[test]
fn a_list_may_have_images_that_are_only_here_and_loses_what_is_removed() {
    let Some(gamut) = Gamut::new() else { return };
    let busybox = gamut.image("busybox");
    gamut.call(&["pull", "-q", &busybox]).ok();
    let id = gamut
        .call(&["images", "-q", "--no-trunc", &busybox])
        .ok()
        .text()
        .to_owned();
    let list = format!("{}:1", far(&gamut, "here"));
    gamut.call(&["manifest", "create", &list, &id]).ok();
    gamut
        .call(&[
            "manifest",
            "add",
            "--all",
            &list,
            &gamut.image("busybox:foreign"),
        ])
        .ok();
    let entries = |gamut: &Gamut| {
        let shown = gamut.call(&["manifest", "inspect", &list]).ok().json();
        shown["manifests"].as_array().cloned().unwrap_or_default()
    };
    let all = entries(&gamut);
    assert!(all.len() > 1, "{all:?}");
    for entry in &all[1..] {
        let digest = entry["digest"].as_str().unwrap_or_default();
        gamut.call(&["manifest", "remove", &list, digest]).ok();
    }
    assert_eq!(entries(&gamut).len(), 1);
    gamut
        .call(&["manifest", "remove", &list, &all[1]["digest"].to_string()])
        .refused(1, &["has no"])
        .hinted();
    gamut
        .call(&["manifest", "push", "--all", "-f", "v2s2", &list])
        .ok();
    let (index, _) = document(&gamut, &list);
    assert_eq!(
        index["mediaType"],
        "application/vnd.docker.distribution.manifest.list.v2+json"
    );
    gamut.call(&["rmi", "-f", &busybox]).ok();
    gamut.call(&["pull", "-q", &list]).ok();
    let again = gamut.call(&["images", "-q", "--no-trunc", &list]).ok();
    assert_eq!(again.text(), id);
}

#[test]
fn a_copy_keeps_digests_and_nothing_here() {
    let Some(gamut) = Gamut::new() else { return };
    let own = small(&gamut, "copied");
    let other = ImageBuilder::new()
        .architecture("s390x")
        .layer(Layer::new().file("content", 0o644, gamut.marker()))
        .build();
    let both = Image::index(
        Types::Oci,
        &[("linux/amd64", &own), ("linux/s390x", &other)],
    );
    let source = HostileRegistry::start(Mischief::DropOnce, Login::Anyone);
    let from = source.shelve(&both, "both:1");
    let to = format!("{}:1", near(&gamut, "all"));
    let copied = gamut
        .call(&["image", "copy", "--all", &format!("docker://{from}"), &to])
        .ok();
    assert!(
        copied.text().contains(&both.top.digest),
        "{}",
        copied.text()
    );
    assert_eq!(document(&gamut, &to).1, both.top.digest);
    let one = format!("{}:1", near(&gamut, "one"));
    gamut
        .call(&[
            "image",
            "cp",
            "-q",
            "--platform",
            "linux/s390x",
            &from,
            &one,
        ])
        .ok()
        .prints(&one);
    assert_eq!(document(&gamut, &one).1, other.top.digest);
    let mounted = format!("{}:1", near(&gamut, "mounted"));
    let copied = gamut
        .call(&[
            "image",
            "copy",
            "--preserve-digests",
            &one,
            &mounted,
            "--platform",
            "linux/s390x",
        ])
        .ok();
    assert!(copied.err.contains("Mounted from"), "{}", copied.err);
    assert!(!gamut.root().join("layers").exists(), "no store was needed");
}

#[test]
fn a_copy_from_a_liar_does_not_arrive() {
    let Some(gamut) = Gamut::new() else { return };
    let image = small(&gamut, "lies");
    for (mischief, word) in [
        (Mischief::WrongBytes, "digest"),
        (Mischief::Endless, "digest"),
        (Mischief::WrongManifest, "digest"),
    ] {
        let liar = HostileRegistry::start(mischief, Login::Anyone);
        let from = liar.shelve(&image, "x:1");
        let to = near(&gamut, &format!("{mischief:?}").to_lowercase());
        gamut
            .call(&["image", "copy", &from, &format!("{to}:1")])
            .refused(1, &[word]);
        let (_, name) = to.split_once('/').expect("a host");
        for blob in image.layers() {
            let target = format!("/v2/{name}/blobs/{}", blob.digest);
            let there = http::send(&gamut.host.registry.address, "HEAD", &target, &[], b"");
            assert_eq!(there.expect("answers").status, 404, "{mischief:?}");
        }
    }
}

/// An artifact about `subject`.
fn artifact(subject: &Blob, kind: &str) -> Image {
    let empty = Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let content = Blob::new(kind, b"{\"spdxVersion\":\"SPDX-2.3\"}".to_vec());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": kind,
        "config": empty.descriptor(),
        "layers": [content.descriptor()],
        "subject": subject.descriptor(),
    });
    Image {
        top: Blob::new(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().into_bytes(),
        ),
        manifests: Vec::new(),
        blobs: vec![empty, content],
    }
}

const SBOM: &str = "application/spdx+json";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const STATEMENT: &str = r#"{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1", "predicate": {"by": "hand"}}"#;

/// An image of which something is stated, in its index and beside it.
struct Attested {
    reference: String,
    image: Blob,
    attestation: Blob,
    sbom: Image,
}

fn attested(gamut: &Gamut) -> Attested {
    let image = small(gamut, "referred");
    // As BuildKit has it: an entry of the index, for no platform, about another entry.
    let statement = Blob::new("application/vnd.in-toto+json", STATEMENT.into());
    let empty = Blob::new("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
    let mut layer = statement.descriptor();
    layer["annotations"] = json!({"in-toto.io/predicate-type": PROVENANCE});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": empty.descriptor(), "layers": [layer],
    });
    let attestation = Blob::new(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().into_bytes(),
    );
    let mut both = Image::index(Types::Oci, &[("linux/amd64", &image)]);
    let mut index: Value = serde_json::from_slice(&both.top.bytes).expect("JSON");
    let mut entry = attestation.descriptor();
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.top.digest,
    });
    let entries = index["manifests"].as_array_mut().expect("entries");
    entries.push(entry);
    both.top = Blob::new(&both.top.media_type, index.to_string().into_bytes());
    both.manifests.push(attestation.clone());
    both.blobs.extend([statement, empty]);
    let name = near(gamut, "referred");
    let (_, path) = name.split_once('/').expect("a host");
    let reference = gamut.host.registry.push(&both, &format!("{path}:1"));
    // The lab's registry does not know referrers: a copy keeps the list in the tag.
    let sbom = artifact(&image.top, SBOM);
    let elsewhere = HostileRegistry::start(Mischief::None, Login::Anyone);
    let sbom_at = elsewhere.shelve(&sbom, "sbom:1");
    gamut
        .call(&["image", "copy", "--all", &sbom_at, &format!("{name}:sbom")])
        .ok();
    Attested {
        reference,
        image: image.top,
        attestation,
        sbom,
    }
}

#[test]
fn referrers_and_attestations_are_listed() {
    let Some(gamut) = Gamut::new() else { return };
    let Attested {
        reference,
        image,
        attestation,
        sbom,
    } = attested(&gamut);
    let words = [
        "image",
        "referrers",
        "--no-trunc",
        "--format",
        "{{.Digest}} {{.ArtifactType}} {{.Origin}} {{.Subject}}",
    ];
    let listed = gamut.call(&[&words[..], &[&reference]].concat()).ok();
    let mut lines = listed.lines();
    lines.sort_unstable();
    let mut expected = [
        format!(
            "{} {PROVENANCE} attestation {}",
            attestation.digest, image.digest
        ),
        format!("{} {SBOM} referrer {}", sbom.top.digest, image.digest),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    let only = gamut
        .call(&[
            "image",
            "referrers",
            "-q",
            "--artifact-type",
            SBOM,
            &reference,
        ])
        .ok();
    assert_eq!(only.text(), sbom.top.digest);
    gamut.call(&["pull", "-q", &reference]).ok();
    let shown = gamut
        .call(&["image", "inspect", "--referrers", &reference])
        .ok()
        .json();
    let found = shown[0]["Referrers"].as_array().expect("they are shown");
    assert_eq!(found.len(), 2, "{shown}");
    let plain = gamut.call(&["image", "inspect", &reference]).ok().json();
    assert!(
        plain[0].get("Referrers").is_none(),
        "nobody is asked unasked"
    );
}

#[test]
fn what_an_image_came_with_is_shown_and_goes_with_it() {
    let Some(gamut) = Gamut::new() else { return };
    let Attested {
        reference, image, ..
    } = attested(&gamut);
    gamut.call(&["pull", "-q", &reference]).ok();
    let shown = gamut.call(&["image", "inspect", &reference]).ok().json();
    let all = shown[0]["Attestations"].as_array().expect("they are shown");
    assert_eq!(all.len(), 2, "{shown}");
    assert_eq!(all[0]["PredicateType"], PROVENANCE);
    assert_eq!(all[0]["Type"], "application/vnd.in-toto+json");
    assert_eq!(all[0]["Size"], STATEMENT.len());
    assert_eq!(all[1]["PredicateType"], "https://spdx.dev/Document");
    assert_eq!(all[1]["Subject"], image.digest.as_str());
    assert_eq!(all[1]["Verified"], false);
    let print = |kind: &str| gamut.call(&["image", "inspect", "--attestation", kind, &reference]);
    assert_eq!(print("provenance").ok().text(), STATEMENT);
    assert_eq!(print(SBOM).ok().json()["spdxVersion"], "SPDX-2.3");
    print("cyclonedx").refused(1, &["cyclonedx"]).hinted();
    // They are the image's: counted, checked, kept and removed with it.
    let blobs = gamut.root().join("blobs/sha256");
    let count = || std::fs::read_dir(&blobs).expect("listed").count();
    gamut.call(&["system", "prune", "-f"]).ok();
    assert_eq!(count(), 4, "configuration, manifest, two documents");
    let digest = all[1]["Digest"].as_str().expect("a digest");
    let explained = gamut.call(&["system", "df", "--explain"]).ok();
    assert!(!explained.out.contains("nothing"), "{}", explained.told());
    let verified = gamut.call(&["image", "verify", &reference]).ok();
    assert!(verified.out.contains("sound") || verified.code == 0);
    std::fs::write(blobs.join(&digest[7..]), "x").expect("damaged");
    gamut.call(&["image", "verify", &reference]).code(1);
    print("spdx").refused(1, &["digest"]);
    gamut.call(&["system", "check", "--repair"]);
    gamut.call(&["pull", "-q", &reference]).ok();
    assert_eq!(print("spdx").ok().json()["spdxVersion"], "SPDX-2.3");
    gamut.call(&["rmi", "-f", &reference]).ok();
    assert_eq!(count(), 0);
    // A push does not take them along, and a load brings none.
    gamut.call(&["pull", "-q", &reference]).ok();
    let file = gamut.dir().join("saved.tar");
    let file = file.to_string_lossy();
    gamut.call(&["save", "-o", &file, &reference]).ok();
    gamut.call(&["rmi", "-f", &reference]).ok();
    gamut.call(&["load", "-q", "-i", &file]).ok();
    let shown = gamut.call(&["image", "inspect", &reference]).ok().json();
    assert_eq!(shown[0]["Attestations"], json!([]));
}
