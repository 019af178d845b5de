//! The ground the other tests stand on: if these fail, the rest says nothing about the engine.

use gamut_tests::host::{Company, Host, ip};
use gamut_tests::world::{HOST4, HOST6, WHOAMI, WORLD4, WORLD6, ask, talk};
use gamut_tests::{
    HostileRegistry, ImageBuilder, Layer, Login, Mischief, World, census, http, skip, whoami,
};

/// A host, where this machine can give one.
fn host() -> Option<Host> {
    if !rustix::process::geteuid().is_root() {
        skip::skipped("needs root");
        return None;
    }
    Some(Host::enter(Company::Welcome).expect("a host for the test"))
}

fn small() -> gamut_tests::Image {
    ImageBuilder::new()
        .layer(Layer::new().file("hello", 0o644, "hello"))
        .build()
}

#[test]
fn a_host_is_empty_but_for_loopback() {
    let Some(_host) = host() else { return };
    assert_eq!(census::links(), ["lo"]);
    assert!(census::rules().is_empty());
    ip("link add kept-inside type veth");
    assert_eq!(census::links().len(), 3);
}

#[test]
fn the_labs_registry_is_reached_from_a_host() {
    let Some(host) = host() else { return };
    let answer = http::get(&host.registry.address, "/v2/busybox/tags/list").unwrap();
    assert_eq!(answer.status, 200);
    for tag in ["lab", "zstd", "docker", "plain", "foreign"] {
        assert!(
            String::from_utf8_lossy(&answer.body).contains(&format!("\"{tag}\"")),
            "no busybox:{tag}"
        );
    }
    host.registry.push(&small(), "ground/small:lab");
    // Without it, this registry gives nobody an OCI manifest.
    let accept = ("Accept", "application/vnd.oci.image.manifest.v1+json");
    let manifest = http::send(
        &host.registry.address,
        "GET",
        "/v2/ground/small/manifests/lab",
        &[accept],
        &[],
    );
    assert_eq!(manifest.unwrap().status, 200);
}

#[test]
fn the_neighbour_sees_the_host_and_is_seen() {
    let Some(_host) = host() else { return };
    let world = World::new();
    for (address, own) in [(WORLD4, HOST4), (WORLD6, HOST6)] {
        let target = std::net::SocketAddr::new(address.parse().unwrap(), WHOAMI);
        assert_eq!(talk(target, "hello").unwrap().trim(), own);
        assert_eq!(ask(target, "hello").unwrap().trim(), own);
    }
    let _whoami = whoami::serve(6060).unwrap();
    assert_eq!(world.talk(HOST4, 6060, "hello").unwrap().trim(), WORLD4);
    assert_eq!(world.ask(HOST6, 6060).unwrap().trim(), WORLD6);
    assert!(world.talk(HOST4, 6061, "hello").is_err());
}

#[test]
fn a_hostile_registry_does_what_it_is_told() {
    let registry = HostileRegistry::start(Mischief::DropOnce, Login::Anyone);
    let image = small();
    registry.shelve(&image, "small:lab");
    let layer = &image.layers()[0];
    let path = format!("/v2/small/blobs/{}", layer.digest);
    assert!(
        http::get(&registry.address, &path).is_err(),
        "the first answer is whole"
    );
    let half = layer.bytes.len() / 2;
    let rest = http::send(
        &registry.address,
        "GET",
        &path,
        &[("Range", &format!("bytes={half}-"))],
        &[],
    )
    .unwrap();
    assert_eq!(
        (rest.status, rest.body.as_slice()),
        (206, &layer.bytes[half..])
    );
    assert_eq!(registry.asked(&layer.digest), [0, half as u64]);
    registry.turn(Mischief::WrongBytes);
    let wrong = http::get(&registry.address, &path).unwrap();
    assert_ne!(gamut_tests::image::digest(&wrong.body), layer.digest);
}

#[test]
fn a_hostile_registry_lets_in_whom_it_should() {
    for login in [Login::Basic, Login::Bearer, Login::AnonymousBearer] {
        let registry = HostileRegistry::start(Mischief::None, login);
        let refused = http::get(&registry.address, "/v2/").unwrap();
        assert_eq!(refused.status, 401);
        let how = &refused.headers["www-authenticate"];
        // base64 of lab:secret
        let basic = "Basic bGFiOnNlY3JldA==";
        let let_in = if how.starts_with("Basic") {
            http::send(
                &registry.address,
                "GET",
                "/v2/",
                &[("Authorization", basic)],
                &[],
            )
            .unwrap()
        } else {
            let token = http::send(
                &registry.address,
                "GET",
                "/token?service=lab",
                &[("Authorization", basic)],
                &[],
            )
            .unwrap();
            let token: serde_json::Value = serde_json::from_slice(&token.body).unwrap();
            let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
            http::send(
                &registry.address,
                "GET",
                "/v2/",
                &[("Authorization", &bearer)],
                &[],
            )
            .unwrap()
        };
        assert_eq!(let_in.status, 200, "{login:?}");
    }
}

#[test]
fn a_layout_reads_back_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let image = small();
    let index = gamut_tests::Image::index(gamut_tests::Types::Oci, &[("linux/amd64", &image)]);
    gamut_tests::image::write_layout(
        dir.path(),
        &[("one:lab", image.clone()), ("many:lab", index)],
    )
    .unwrap();
    let read = gamut_tests::image::read_layout(dir.path()).unwrap();
    assert_eq!(
        read.iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["one:lab", "many:lab"]
    );
    assert_eq!(read[0].1.top.digest, image.top.digest);
    assert_eq!(read[1].1.manifests[0].digest, image.top.digest);
    assert_eq!(read[1].1.blobs.len(), image.blobs.len());
}
