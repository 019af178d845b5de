//! Indexes of layers that other tools have pushed: what they are good for, and what becomes of wrong ones.

use super::trust::{artifact, is_here, shell, statement};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gamut_tests::patience::until;
use gamut_tests::skip::skipped;
use gamut_tests::{
    Blob, Compression, Gamut, HostileRegistry, Image, ImageBuilder, Login, Mischief,
};
use serde_json::{Value, json};
use std::path::Path;

const TYPE: &str = "application/vnd.gamut.lazy-index.v1";

/// An image of one layer, in gzip as everybody has it.
fn image(salt: u32) -> Image {
    let text: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|line| (line ^ salt).wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let layer = super::run::busybox_with(&["sh", "cat", "md5sum", "ls", "stat"])
        .file("etc/motd", 0o644, "what the image says\n")
        .file("data", 0o644, text);
    let builder = ImageBuilder::new().compression(Compression::Gzip);
    builder.layer(layer).env(&["PATH=/bin"]).build()
}

/// A root, and a registry with an image that has an index.
struct Place {
    gamut: Gamut,
    registry: HostileRegistry,
    reference: String,
    image: Image,
}

impl Place {
    fn new() -> Option<Self> {
        let gamut = Gamut::new()?;
        let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
        let image = image(1);
        let reference = registry.shelve(&image, "indexed:lab");
        let place = Self {
            gamut,
            registry,
            reference,
            image,
        };
        place.index();
        let pulled = place.pull();
        if pulled.contains("layers are pulled whole") {
            skipped("this machine has no pre-content events (Linux 6.14) for EROFS images");
            return None;
        }
        assert!(pulled.contains("Laid out"), "{pulled}");
        place.forget();
        Some(place)
    }

    /// Makes the index; its digest.
    fn index(&self) -> String {
        let path = self.gamut.dir().join("digest");
        let path = path.display().to_string();
        let words = ["image", "index", "--digestfile", &path, &self.reference];
        self.gamut.call(&words).ok();
        std::fs::read_to_string(path).expect("a digest")
    }

    /// Pulls lazily; what was said.
    fn pull(&self) -> String {
        let pulled = self.gamut.call(&["pull", "--lazy", &self.reference]);
        pulled.ok().err
    }

    fn run(&self, script: &str) -> gamut_tests::Outcome {
        let words = [
            "run",
            "--rm",
            "--network",
            "none",
            &self.reference,
            "sh",
            "-c",
        ];
        self.gamut.call(&[&words[..], &[script]].concat())
    }

    /// Everything of the image.
    fn forget(&self) {
        self.gamut.call(&["rmi", "-f", &self.reference]).ok();
        self.gamut.call(&["system", "prune", "-a", "-f"]).ok();
        let pending = self.gamut.runroot().join("filler/pending");
        until("the filler has ended", || !pending.exists());
    }

    /// Puts other bytes in the place of the index, with a digest that is theirs.
    fn replace(&self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let artifact = self.registry.manifest(&self.index()).expect("an index");
        let mut artifact: Value = serde_json::from_slice(&artifact.bytes).expect("JSON");
        let layer = &mut artifact["layers"][0];
        let digest = layer["digest"].as_str().expect("a digest");
        let blob = self.registry.blob(digest).expect("a blob");
        let blob = Blob::new(&blob.media_type, change(blob.bytes.to_vec()));
        layer["digest"] = blob.digest.as_str().into();
        layer["size"] = blob.bytes.len().into();
        self.registry.put_blob(blob);
        self.refer(&artifact);
    }

    /// Has an artifact be the only one that refers to the image.
    fn refer(&self, artifact: &Value) {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let artifact = Blob::new(media_type, artifact.to_string().into_bytes());
        let mut descriptor = artifact.descriptor();
        descriptor["artifactType"] = TYPE.into();
        let index = json!({"schemaVersion": 2, "manifests": [descriptor],
            "mediaType": "application/vnd.oci.image.index.v1+json"});
        let index = Blob::new(
            "application/vnd.oci.image.index.v1+json",
            index.to_string().into_bytes(),
        );
        let tag = format!("indexed:{}", self.image.top.digest.replace(':', "-"));
        self.registry.put_manifest(&tag, index);
        let name = format!("indexed:{}", artifact.digest);
        self.registry.put_manifest(&name, artifact);
    }

    /// Pulls, which has to take the layer whole for this reason, and runs it.
    fn is_pulled_whole(&self, reason: &str) {
        let said = self.pull();
        assert!(said.contains("is pulled whole"), "{reason}: {said}");
        assert!(said.contains(reason), "{reason}: {said}");
        let motd = self.run("cat /etc/motd").ok().out;
        assert_eq!(motd, "what the image says\n");
        self.forget();
    }
}

fn unpacked(index: &[u8]) -> Vec<u8> {
    zstd::decode_all(index).expect("zstd")
}

fn packed(index: &[u8]) -> Vec<u8> {
    zstd::encode_all(index, 3).expect("memory")
}

/// The place of a text in bytes.
fn find(bytes: &[u8], text: &[u8]) -> usize {
    let mut windows = bytes.windows(text.len());
    windows
        .position(|window| window == text)
        .expect("it is there")
}

#[test]
fn the_index_is_a_referrer() {
    let Some(place) = Place::new() else { return };
    let digest = place.index();
    let words = [
        "image",
        "referrers",
        "--artifact-type",
        TYPE,
        "-q",
        "--no-trunc",
    ];
    let listed = place
        .gamut
        .call(&[&words[..], &[&place.reference]].concat());
    assert_eq!(listed.ok().lines(), [digest.as_str()]);
    // Made again it is the same.
    assert_eq!(place.index(), digest);
    let quiet = place
        .gamut
        .call(&["image", "index", "-q", &place.reference]);
    assert_eq!(quiet.ok().out.trim(), place.reference);
    let missing = place.reference.replace("indexed:", "missing:");
    let missing = place.gamut.call(&["image", "index", &missing]);
    missing.refused(1, &["missing"]);
}

#[test]
fn a_registry_with_referrers_has_it_too() {
    let Some(place) = Place::new() else { return };
    let registry = &place.gamut.host.registry;
    let reference = registry.push(&image(2), "lazy-index/real:lab");
    place.gamut.call(&["image", "index", &reference]).ok();
    let pulled = place.gamut.call(&["pull", "--lazy", &reference]).ok();
    assert!(pulled.err.contains("Laid out"), "{}", pulled.told());
    place.gamut.call(&["pull", "-q", &reference]).ok();
}

#[test]
fn what_is_pushed_with_zstd_can_have_one() {
    let Some(place) = Place::new() else { return };
    place.gamut.call(&["pull", "-q", &place.reference]).ok();
    let to = place.gamut.host.registry.image("lazy-index/zstd:lab");
    let words = ["push", "-q", "--compression", "zstd", &place.reference, &to];
    place.gamut.call(&words).ok();
    place.gamut.call(&["image", "index", &to]).ok();
    place.forget();
    let pulled = place.gamut.call(&["pull", "--lazy", &to]).ok();
    assert!(pulled.err.contains("Laid out"), "{}", pulled.told());
    place.gamut.call(&["pull", "-q", &to]).ok();
}

#[test]
fn a_wrong_index_is_not_used() {
    let Some(place) = Place::new() else { return };
    place.replace(|index| index[..index.len() / 2].to_vec());
    place.is_pulled_whole("the table of contents cannot be used");
    place.replace(|_| packed(&vec![0; 100 << 20]));
    place.is_pulled_whole("more than 67108864 bytes");
    place.replace(|index| packed(&unpacked(&index)[..1000]));
    place.is_pulled_whole("it ends early");
    place.replace(|index| {
        let mut index = unpacked(&index);
        let at = find(&index, b"\"digests\":") + 10;
        index[at..at + 1].copy_from_slice(b"9");
        packed(&index)
    });
    place.is_pulled_whole("the table of contents cannot be used");
    place.replace(|index| {
        let mut index = unpacked(&index);
        let at = find(&index, b"etc/motd");
        index[at..at + 8].copy_from_slice(b"../motdx");
        packed(&index)
    });
    place.is_pulled_whole("check sum of a header");
    // Another image's.
    let other = image(3);
    let another = place.registry.shelve(&other, "other:lab");
    let index = place.gamut.dir().join("other");
    let path = index.display().to_string();
    let words = ["image", "index", "--digestfile", &path, &another];
    place.gamut.call(&words).ok();
    let made = std::fs::read_to_string(index).expect("a digest");
    let made = place.registry.manifest(&made).expect("an index");
    let made: Value = serde_json::from_slice(&made.bytes).expect("JSON");
    let others = made["layers"][0]["digest"].as_str().expect("a digest");
    let others = place.registry.blob(others).expect("a blob");
    place.replace(|_| others.bytes.to_vec());
    place.is_pulled_whole("it is about another layer");
}

#[test]
fn a_damaged_index_is_not_used() {
    let Some(place) = Place::new() else { return };
    let artifact = place.registry.manifest(&place.index()).expect("an index");
    let artifact: Value = serde_json::from_slice(&artifact.bytes).expect("JSON");
    let digest = artifact["layers"][0]["digest"].as_str().expect("a digest");
    let mut blob = place.registry.blob(digest).expect("a blob");
    let mut bytes = blob.bytes.to_vec();
    bytes[100] ^= 1;
    blob.bytes = bytes.into();
    place.registry.put_blob(blob);
    place.is_pulled_whole("digest");
}

#[test]
fn who_asks_by_digest_gets_no_index_that_anybody_may_have_made() {
    let Some(mut place) = Place::new() else {
        return;
    };
    let (name, _) = place.reference.rsplit_once(':').expect("a tag");
    place.reference = format!("{name}@{}", place.image.top.digest);
    place.is_pulled_whole("asked for by its digest");
}

/// A signature as cosign keeps it, of a document in the repository.
fn sign(place: &Place, keys: &Path, digest: &str) {
    let repository = format!("{}/indexed", place.registry.address);
    let text = statement("cosign container image signature", &repository, digest);
    std::fs::write(keys.join("text"), &text).expect("written");
    shell(keys, "openssl dgst -sha256 -sign a.key -out signature text");
    let signature = std::fs::read(keys.join("signature")).expect("read");
    let annotations = json!({"dev.cosignproject.cosign/signature": STANDARD.encode(signature)});
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let signed = artifact(&[(kind, text.into_bytes(), annotations)], None);
    let tag = format!("indexed:{}.sig", digest.replace(':', "-"));
    place.registry.shelve(&signed, &tag);
}

#[test]
fn where_signatures_are_required_the_index_has_one() {
    let Some(place) = Place::new() else { return };
    if !is_here("openssl") {
        return;
    }
    let keys = place.gamut.dir().join("keys");
    std::fs::create_dir(&keys).expect("made");
    let make = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out a.key";
    shell(&keys, &format!("{make} 2>/dev/null"));
    shell(&keys, "openssl pkey -in a.key -pubout -out a.pub");
    let required = json!({"type": "sigstoreSigned", "keyPath": keys.join("a.pub"),
        "signedIdentity": {"type": "matchRepository"}});
    let docker = json!({&place.registry.address: [required]});
    let policy = json!({"default": [{"type": "reject"}], "transports": {"docker": docker}});
    let path = place.gamut.dir().join("policy.json");
    std::fs::write(&path, policy.to_string()).expect("written");
    let path = path.display().to_string();
    let words = ["pull", "--lazy", "--signature-policy", &path];
    let pull = |name: &str| place.gamut.call(&[&words[..], &[name]].concat()).ok();
    let digest = place.image.top.digest.clone();
    sign(&place, &keys, &digest);
    let whole = pull(&place.reference);
    assert!(
        whole.err.contains("its index cannot be trusted"),
        "{}",
        whole.told()
    );
    place.forget();
    sign(&place, &keys, &place.index());
    let lazy = pull(&place.reference);
    assert!(lazy.err.contains("Laid out"), "{}", lazy.told());
    place.forget();
    // Signed, it is good for who asks by digest, too.
    let (name, _) = place.reference.rsplit_once(':').expect("a tag");
    let lazy = pull(&format!("{name}@{digest}"));
    assert!(lazy.err.contains("Laid out"), "{}", lazy.told());
}

/// The index says another mode of a file.
#[test]
fn an_index_that_lies_is_found_out() {
    let Some(place) = Place::new() else { return };
    let layer = &place.image.layers()[0];
    let length = layer.bytes.len() as u64;
    place.replace(|index| {
        let mut index = unpacked(&index);
        // Mode and check sum of a header: both have one more.
        let at = find(&index, b"etc/motd");
        let header = &mut index[at..at + 512];
        assert_eq!(&header[100..107], b"0000644");
        header[106] = b'5';
        let sum = header.iter().enumerate().map(|(at, byte)| match at {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        });
        let sum = format!("{:06o}\0 ", sum.sum::<u32>());
        header[148..156].copy_from_slice(sum.as_bytes());
        packed(&index)
    });
    place.registry.hold(&layer.digest, length - 1000..length);
    let said = place.pull();
    assert!(said.contains("Laid out"), "{said}");
    // Nobody can know yet.
    assert_eq!(place.run("stat -c %a /etc/motd").ok().out, "645\n");
    place.registry.release();
    let pulled = place.gamut.call(&["pull", &place.reference]);
    pulled.refused(1, &["not true", "without `--lazy`"]);
    let read = place.run("md5sum < /data");
    assert_ne!(read.code, 0, "{}", read.told());
    place.forget();
    place.gamut.call(&["pull", "-q", &place.reference]).ok();
    assert_eq!(place.run("stat -c %a /etc/motd").ok().out, "644\n");
}
