//! What goes to registries: pushes, all tags of a repository, and what a host says of registries. The lab's registry has two names here, `127.0.0.1` and
//! `localhost`: nothing can be mounted from one to the other.

use gamut_tests::{
    Compression, Gamut, HostileRegistry, Image, ImageBuilder, Layer, Login, Mischief, Types, http,
    image::digest,
};
use serde_json::Value;

/// A small image with two layers; no other test has its content.
pub(super) fn small(gamut: &Gamut, what: &str) -> Image {
    let layer = super::run::busybox_with(&["sh", "cat"]);
    ImageBuilder::new()
        .layer(layer)
        .layer(Layer::new().file("content", 0o644, format!("{what} {}", gamut.marker())))
        .env(&["PATH=/bin"])
        .cmd(&["cat", "/content"])
        .build()
}

/// `host:port/dist-WHAT-…`, of this test alone.
fn repository(gamut: &Gamut, host: &str, what: &str) -> String {
    let port = gamut
        .host
        .registry
        .address
        .rsplit(':')
        .next()
        .unwrap_or_default();
    let own = gamut
        .marker()
        .rsplit('-')
        .next()
        .unwrap_or_default()
        .to_lowercase();
    format!("{host}:{port}/dist/{what}-{own}")
}

pub(super) fn near(gamut: &Gamut, what: &str) -> String {
    repository(gamut, "127.0.0.1", what)
}

pub(super) fn far(gamut: &Gamut, what: &str) -> String {
    repository(gamut, "localhost", what)
}

/// A document of the lab's registry.
pub(super) fn document(gamut: &Gamut, name: &str) -> (Value, String) {
    let (_, path) = name.split_once('/').expect("a host");
    let (repository, selector) = match path.split_once('@') {
        Some(parts) => parts,
        None => path.rsplit_once(':').expect("a tag"),
    };
    let accept = "application/vnd.oci.image.index.v1+json, \
         application/vnd.oci.image.manifest.v1+json, \
         application/vnd.docker.distribution.manifest.list.v2+json, \
         application/vnd.docker.distribution.manifest.v2+json";
    let target = format!("/v2/{repository}/manifests/{selector}");
    let address = &gamut.host.registry.address;
    let answer = http::send(address, "GET", &target, &[("Accept", accept)], b"");
    let answer = answer.expect("the lab's registry answers");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{name}: {text}");
    let parsed = serde_json::from_str(&text).expect("JSON");
    (parsed, digest(&answer.body))
}

#[test]
fn what_a_registry_has_is_mounted_and_keeps_its_digest() {
    let Some(gamut) = Gamut::new() else { return };
    let (from, to) = (near(&gamut, "from"), near(&gamut, "to"));
    let (_, name) = from.split_once('/').expect("a host");
    let image = small(&gamut, "mounted");
    let from = gamut.host.registry.push(&image, &format!("{name}:1"));
    gamut.call(&["pull", "-q", &from]).ok();
    gamut.call(&["tag", &from, &format!("{to}:2")]).ok();
    let pushed = gamut.call(&["push", &format!("{to}:2")]).ok();
    assert!(
        pushed
            .err
            .contains(&format!("The push refers to repository [{to}]"))
    );
    assert_eq!(
        pushed.err.matches("Mounted from dist/from-").count(),
        2,
        "{}",
        pushed.err
    );
    let line = pushed.text();
    assert!(
        line.starts_with(&format!("2: digest: {} size: ", image.top.digest)),
        "{line}"
    );
    assert_eq!(document(&gamut, &format!("{to}:2")).1, image.top.digest);
    let again = gamut.call(&["push", &format!("{to}:2")]).ok();
    assert_eq!(
        again.err.matches("Layer already exists").count(),
        2,
        "{}",
        again.err
    );
    let quiet = gamut.call(&["push", "-q", &format!("{to}:2")]).ok();
    assert_eq!(
        (quiet.text(), quiet.err.as_str()),
        (format!("{to}:2").as_str(), "")
    );
    let digests = gamut
        .call(&["image", "inspect", "-f", "{{json .RepoDigests}}", &from])
        .ok();
    let name = format!("{to}@{}", image.top.digest);
    assert!(digests.text().contains(&name), "{}", digests.text());
}

#[test]
fn what_another_registry_lacks_is_packed_again() {
    let Some(gamut) = Gamut::new() else { return };
    for (packing, types, flags, layer_type) in [
        (Compression::Gzip, Types::Oci, &[][..], "v1.tar+gzip"),
        (Compression::Gzip, Types::Docker, &[], "diff.tar.gzip"),
        (Compression::Zstd, Types::Oci, &[], "v1.tar+zstd"),
        (Compression::Plain, Types::Oci, &[], "v1.tar"),
        (
            Compression::Gzip,
            Types::Docker,
            &["--compression", "zstd"],
            "v1.tar+zstd",
        ),
        (
            Compression::Zstd,
            Types::Oci,
            &["--compression-format=gzip"],
            "v1.tar+gzip",
        ),
    ] {
        let what = format!("packed {packing:?} {types:?} {flags:?}");
        let layer = super::run::busybox_with(&["sh", "cat"]);
        let image = ImageBuilder::new()
            .types(types)
            .compression(packing)
            .layer(layer.file("content", 0o644, format!("{what} {}", gamut.marker())))
            .env(&["PATH=/bin"])
            .cmd(&["cat", "/content"])
            .build();
        let (_, name) = near(&gamut, "a")
            .split_once('/')
            .map(|(h, n)| (h.to_owned(), n.to_owned()))
            .expect("a host");
        let from = gamut.host.registry.push(&image, &format!("{name}:1"));
        gamut.call(&["pull", "-q", &from]).ok();
        let to = format!("{}:1", far(&gamut, &layer_type.replace(['.', '+'], "-")));
        let file = gamut.dir().join("digest");
        let file = file.to_str().expect("UTF-8");
        let words = [&["push", "--digestfile", file], flags, &[&from, &to]].concat();
        let pushed = gamut.call(&words).ok();
        assert!(pushed.err.contains(": Pushed\n"), "{what}: {}", pushed.err);
        let (manifest, digest) = document(&gamut, &to);
        assert_eq!(std::fs::read_to_string(file).expect("written"), digest);
        let media_type = manifest["layers"][0]["mediaType"]
            .as_str()
            .unwrap_or_default();
        assert!(media_type.ends_with(layer_type), "{what}: {manifest}");
        assert_eq!(manifest["config"]["digest"], image.id(), "{what}");
        if packing == Compression::Plain {
            assert_eq!(digest, image.top.digest, "a plain layer stays what it is");
        }
        gamut.call(&["rmi", "-f", &from]).ok();
        let told = gamut.call(&["run", "--rm", "--network", "none", &to]).ok();
        assert_eq!(told.text(), format!("{what} {}", gamut.marker()));
        gamut.call(&["rmi", "-f", &to]).ok();
    }
}

#[test]
fn all_tags_go_up_and_come_down() {
    let Some(gamut) = Gamut::new() else { return };
    let repository = near(&gamut, "tags");
    let busybox = gamut.image("busybox");
    gamut.call(&["pull", "-q", &busybox]).ok();
    for tag in ["one", "two"] {
        gamut
            .call(&["tag", &busybox, &format!("{repository}:{tag}")])
            .ok();
    }
    let pushed = gamut.call(&["push", "--all-tags", &repository]).ok();
    assert_eq!(pushed.lines().len(), 2, "{}", pushed.out);
    let tags = gamut
        .call(&["search", "--list-tags", "--format", "{{.Tag}}", &repository])
        .ok();
    // In the registry's own order, which is not everywhere the alphabet's.
    let mut tags = tags.lines();
    tags.sort_unstable();
    assert_eq!(tags, ["one", "two"]);
    for tag in ["one", "two"] {
        gamut.call(&["rmi", &format!("{repository}:{tag}")]).ok();
    }
    gamut.call(&["pull", "-q", "-a", &repository]).ok();
    gamut.run(&[], &["true"]).ok();
    let listed = gamut
        .call(&["images", "--format", "{{.Tag}}", &repository])
        .ok();
    assert_eq!(listed.lines().len(), 2, "{}", listed.out);
    gamut
        .call(&["pull", "-a", &format!("{repository}:one")])
        .refused(1, &["--all-tags"])
        .hinted();
    gamut
        .call(&["push", "-a", &near(&gamut, "nothing")])
        .refused(1, &["no image with a tag"])
        .hinted();
    let (_, name) = repository.split_once('/').expect("a host");
    let found = gamut
        .call(&[
            "search",
            "--limit",
            "1000",
            "--format",
            "{{.Name}}",
            &format!("{}/{name}", gamut.host.registry.address),
        ])
        .ok();
    assert_eq!(found.text(), repository);
}

#[test]
fn a_push_that_cannot_be_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    let busybox = gamut.image("busybox");
    gamut
        .call(&["push", &busybox])
        .refused(1, &["no such image"])
        .hinted();
    gamut.call(&["pull", "-q", &busybox]).ok();
    let nowhere = HostileRegistry::start(Mischief::None, Login::Basic);
    gamut
        .call(&["push", &busybox, &format!("{}/x:1", nowhere.address)])
        .refused(1, &["denied", &nowhere.address])
        .hinted();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let closed = closed.expect("a port").to_string();
    gamut
        .call(&["push", &busybox, &format!("{closed}/x:1")])
        .refused(1, &["refused", &closed])
        .hinted();
    gamut
        .call(&[
            "push",
            &busybox,
            &format!("{closed}/x@sha256:{}", "0".repeat(64)),
        ])
        .refused(1, &["needs a tag"])
        .hinted();
}

#[test]
fn a_host_says_where_registries_are() {
    let Some(gamut) = Gamut::new() else { return };
    let image = small(&gamut, "mirrored");
    let mirror = HostileRegistry::start(Mischief::None, Login::Anyone);
    mirror.shelve(&image, "cache/library/thing:1");
    let broken = HostileRegistry::start(Mischief::WrongManifest, Login::Anyone);
    broken.shelve(&image, "library/thing:1");
    let directory = gamut.dir().join("home/.config/containers");
    std::fs::create_dir_all(&directory).expect("made");
    let text = format!(
        "unqualified-search-registries = [\"quay.io\"]\n\
         [[registry]]\nprefix = \"docker.io\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}/cache\"\n\
         [[registry]]\nlocation = \"blocked.example\"\nblocked = true\n",
        broken.address, mirror.address
    );
    std::fs::write(directory.join("registries.conf"), text).expect("written");
    let pulled = gamut.call(&["pull", "thing:1"]).ok();
    assert!(pulled.err.contains("warning: mirror"), "{}", pulled.err);
    let told = gamut
        .call(&["run", "--rm", "--network", "none", "thing:1"])
        .ok();
    assert_eq!(told.text(), format!("mirrored {}", gamut.marker()));
    for words in [
        &["pull", "blocked.example/x"][..],
        &["push", "thing:1", "blocked.example/x"],
    ] {
        gamut.call(words).refused(1, &["blocked"]).hinted();
    }
    std::fs::write(directory.join("registries.conf"), "registry = [").expect("written");
    gamut
        .call(&["pull", "thing:1"])
        .refused(1, &["registries.conf"])
        .hinted();
    gamut
        .call(&["run", "--rm", "--network", "none", "thing:1"])
        .ok();
}
