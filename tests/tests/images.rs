//! Images: pulled from real and from awkward registries, listed, named, removed.

use gamut_tests::hostile::{PASSWORD, USER};
use gamut_tests::{
    Compression, Gamut, HostileRegistry, Image, ImageBuilder, Layer, Login, Mischief,
};

/// A small image that can run: `sh` and a file that says `content`.
fn small(content: &str) -> Image {
    let layer = super::run::busybox_with(&["sh", "cat", "ls", "stat"]);
    ImageBuilder::new()
        .layer(layer)
        .layer(Layer::new().file("content", 0o644, content))
        .env(&["PATH=/bin"])
        .cmd(&["cat", "/content"])
        .build()
}

fn runs(gamut: &Gamut, reference: &str) -> String {
    gamut
        .call(&["run", "--rm", "--network", "none", reference])
        .ok()
        .text()
        .to_owned()
}

#[test]
fn the_entry_for_this_machine_is_chosen() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["pull", &gamut.image("busybox")]).ok();
    gamut.run(&[], &["true"]).ok();
    gamut
        .call(&["pull", &gamut.image("busybox:foreign")])
        .refused(1, &["linux/"])
        .hinted();
    gamut
        .run(&["--platform", "linux/mips64le"], &["true"])
        .code(125);
}

#[test]
fn every_packing_and_every_media_type() {
    let Some(gamut) = Gamut::new() else { return };
    for tag in ["lab", "zstd", "docker", "plain"] {
        let image = gamut.image(&format!("busybox:{tag}"));
        gamut
            .call(&["run", "--rm", "--network", "none", &image, "echo", tag])
            .ok()
            .prints(tag);
    }
}

#[test]
fn a_digest_names_exactly_one_image() {
    let Some(gamut) = Gamut::new() else { return };
    let image = small("by digest");
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    registry.shelve(&image, "small:lab");
    assert_eq!(
        runs(
            &gamut,
            &format!("{}/small@{}", registry.address, image.top.digest)
        ),
        "by digest"
    );
    let other = format!("{}/small@sha256:{}", registry.address, "0".repeat(64));
    gamut.call(&["pull", &other]).refused(1, &["not found"]);
}

#[test]
fn login_by_password_and_by_token() {
    let Some(gamut) = Gamut::new() else { return };
    for login in [Login::Basic, Login::Bearer] {
        let registry = HostileRegistry::start(Mischief::None, login);
        let reference = registry.shelve(&small("let in"), "private/small:lab");
        gamut
            .call(&["pull", &reference])
            .refused(1, &[&registry.address])
            .hinted();
        gamut
            .call_with_input(
                &["login", "-u", USER, "--password-stdin", &registry.address],
                "wrong",
            )
            .code(1);
        gamut
            .call_with_input(
                &["login", "-u", USER, "--password-stdin", &registry.address],
                PASSWORD,
            )
            .ok();
        assert_eq!(runs(&gamut, &reference), "let in", "{login:?}");
        gamut.call(&["logout", &registry.address]).ok();
        gamut.call(&["rmi", &reference]).ok();
        gamut.call(&["pull", &reference]).code(1);
    }
}

#[test]
fn a_token_is_fetched_without_a_login_where_it_is_free() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::AnonymousBearer);
    assert_eq!(
        runs(
            &gamut,
            &registry.shelve(&small("anonymous"), "library/small:lab")
        ),
        "anonymous"
    );
}

#[test]
fn dockers_own_login_is_used() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Basic);
    let reference = registry.shelve(&small("from config.json"), "small:lab");
    let dir = gamut.dir().join("home/.docker");
    std::fs::create_dir_all(&dir).unwrap();
    // base64 of lab:secret
    std::fs::write(
        dir.join("config.json"),
        format!(
            r#"{{"auths":{{"{}":{{"auth":"bGFiOnNlY3JldA=="}}}}}}"#,
            registry.address
        ),
    )
    .unwrap();
    assert_eq!(runs(&gamut, &reference), "from config.json");
}

#[test]
fn a_dropped_connection_is_taken_up_where_it_broke() {
    let Some(gamut) = Gamut::new() else { return };
    for mischief in [
        Mischief::DropOnce,
        Mischief::DropOnceNoRanges,
        Mischief::BusyOnce,
    ] {
        let registry = HostileRegistry::start(mischief, Login::Anyone);
        let image = small(&format!("{mischief:?}"));
        assert_eq!(
            runs(&gamut, &registry.shelve(&image, "small:lab")),
            format!("{mischief:?}")
        );
        if mischief == Mischief::DropOnce {
            let asked = registry.asked(&image.layers()[0].digest);
            assert!(
                asked.len() == 2 && asked[1] > 0,
                "the second request did not resume: {asked:?}"
            );
        }
    }
}

#[test]
fn layers_that_are_here_are_not_fetched_again() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let (one, two) = (small("one"), small("two"));
    runs(&gamut, &registry.shelve(&one, "one:lab"));
    runs(&gamut, &registry.shelve(&two, "two:lab"));
    assert_eq!(one.layers()[0].digest, two.layers()[0].digest);
    assert_eq!(registry.asked(&one.layers()[0].digest).len(), 1);
}

#[test]
fn whiteouts_hide_what_is_below() {
    let Some(gamut) = Gamut::new() else { return };
    let base = super::run::busybox_with(&["sh", "cat", "ls"])
        .dir("a", 0o755)
        .file("a/one", 0o644, "1")
        .file("a/two", 0o644, "2")
        .dir("b", 0o755)
        .file("b/old", 0o644, "o");
    let change = Layer::new()
        .whiteout("a/one")
        .dir("b", 0o700)
        .opaque("b")
        .file("b/new", 0o644, "n");
    // Opaque first or last in its layer: the same.
    let again = Layer::new()
        .dir("a", 0o755)
        .file("a/three", 0o644, "3")
        .opaque("a");
    let image = ImageBuilder::new()
        .layer(base)
        .layer(change)
        .env(&["PATH=/bin"])
        .cmd(&["sh", "-c", "ls -a /a /b"]);
    let registry = &gamut.host.registry;
    let first = registry.push(&image.clone().build(), "whiteout:one");
    assert_eq!(runs(&gamut, &first), "/a:\n.\n..\ntwo\n\n/b:\n.\n..\nnew");
    let second = registry.push(&image.layer(again).build(), "whiteout:two");
    assert_eq!(
        runs(&gamut, &second),
        "/a:\n.\n..\nthree\n\n/b:\n.\n..\nnew"
    );
}

#[test]
fn owners_modes_links_times_and_attributes_arrive() {
    let Some(gamut) = Gamut::new() else { return };
    // cap_net_raw=ep, revision 2 of vfs_cap_data (linux/capability.h)
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = super::run::busybox_with(&["sh", "cat", "ls", "stat", "readlink"])
        .file("setuid", 0o4755, "s")
        .dir("sticky", 0o1777)
        .hardlink("second-name", "setuid")
        .symlink("link", "nowhere/at/all")
        .file_with_xattr("marked", "security.capability", &capability);
    let image = ImageBuilder::new().layer(layer).env(&["PATH=/bin"]).cmd(&[
        "sh",
        "-c",
        "stat -c '%a %h %Y' /setuid /sticky; readlink /link",
    ]);
    let reference = gamut.host.registry.push(&image.build(), "attributes:lab");
    assert_eq!(
        runs(&gamut, &reference).replace("1777 2 ", "1777 * "),
        "4755 2 1700000000\n1777 * 1700000000\nnowhere/at/all"
    );
    let found =
        gamut_tests::host::program("find", &[gamut.dir().to_str().unwrap(), "-name", "marked"]);
    let path = found.lines().next().expect("the unpacked file").to_owned();
    let mut value = [0u8; 64];
    let length =
        rustix::fs::lgetxattr(&path, "security.capability", &mut value[..]).expect("the attribute");
    assert_eq!(value[..length], capability);
}

#[test]
fn images_are_listed_tagged_and_removed() {
    let Some(gamut) = Gamut::new() else { return };
    let reference = gamut.image("busybox");
    gamut.call(&["pull", &reference]).ok();
    let listed = gamut
        .call(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok();
    assert_eq!(listed.text(), reference);
    let id = gamut.call(&["images", "-q"]).ok().text().to_owned();
    assert_eq!(id.len(), 12, "{id}");
    gamut.call(&["tag", &reference, "mine:1"]).ok();
    assert_eq!(gamut.call(&["images", "-q", "mine:1"]).ok().text(), id);
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "none",
            "mine:1",
            "echo",
            "by tag",
        ])
        .ok()
        .prints("by tag");
    let removed = gamut.call(&["rmi", "mine:1"]).ok();
    assert!(
        removed.out.contains("Untagged: ") && !removed.out.contains("Deleted: "),
        "{}",
        removed.told()
    );
    let removed = gamut.call(&["rmi", &reference]).ok();
    assert!(removed.out.contains("Deleted: "), "{}", removed.told());
    assert_eq!(gamut.call(&["images", "-q"]).ok().out, "");
    gamut.call(&["rmi", &reference]).refused(1, &["busybox"]);
}

#[test]
fn removing_an_image_frees_its_disk() {
    let Some(gamut) = Gamut::new() else { return };
    let used = || {
        let text = gamut_tests::host::program("du", &["-sk", gamut.root().to_str().unwrap()]);
        text.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    gamut.call(&["images"]).ok();
    let before = used();
    gamut.call(&["pull", &gamut.image("busybox")]).ok();
    assert!(used() > before + 1000);
    gamut.call(&["rmi", &gamut.image("busybox")]).ok();
    assert!(
        used() < before + 500,
        "{before} KiB before, {} after",
        used()
    );
}

#[test]
fn an_image_in_use_stays() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "user"]);
    gamut
        .call(&["rmi", &gamut.image("busybox")])
        .refused(1, &[&id[..12]])
        .hinted();
    // Forced, the name goes and the container does not notice.
    gamut.call(&["rmi", "-f", &gamut.image("busybox")]).ok();
    assert_eq!(gamut.exec("user", "echo alive"), "alive");
}

#[test]
fn image_inspect_tells_what_is_in_it() {
    let Some(gamut) = Gamut::new() else { return };
    let image = small("inspected");
    let reference = gamut.host.registry.push(&image, "inspected:lab");
    gamut.call(&["pull", &reference]).ok();
    let told = gamut.call(&["image", "inspect", &reference]).ok().json()[0].clone();
    assert_eq!(told["Id"], image.id());
    assert_eq!(
        told["Config"]["Cmd"],
        serde_json::json!(["cat", "/content"])
    );
    assert_eq!(told["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(told["RepoTags"][0], reference.as_str());
    assert_eq!(
        told["RepoDigests"][0],
        format!(
            "{}@{}",
            reference.trim_end_matches(":lab"),
            image.top.digest
        )
    );
    gamut
        .call(&["image", "inspect", "--format", "{{.Os}}", &reference])
        .ok()
        .prints("linux");
    gamut
        .call(&["image", "inspect", "no-such-image"])
        .refused(1, &["no-such-image"]);
}

#[test]
fn q_prints_only_the_name_and_a_second_pull_is_quiet_work() {
    let Some(gamut) = Gamut::new() else { return };
    let reference = gamut.image("busybox");
    let first = gamut.call(&["pull", "-q", &reference]).ok();
    assert_eq!(first.text(), reference);
    let second = gamut.call(&["pull", &reference]).ok();
    assert!(
        second.out.contains("up to date") || second.err.contains("up to date"),
        "{}",
        second.told()
    );
}

#[test]
fn progress_is_told_to_programs_as_json() {
    let Some(gamut) = Gamut::new() else { return };
    let reference = gamut.image("busybox");
    let told = gamut.call(&["pull", "--progress", "json", &reference]).ok();
    let objects: Vec<serde_json::Value> = told
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    let status = |object: &serde_json::Value| object["status"].as_str().unwrap_or("").to_owned();
    let layer = objects
        .iter()
        .find(|one| one["id"].is_string())
        .expect("a layer");
    assert!(layer["progressDetail"].is_object(), "{layer}");
    assert!(objects.iter().any(|one| status(one) == "Pull complete"));
    let digest = objects
        .iter()
        .map(status)
        .find(|text| text.starts_with("Digest: sha256:"));
    assert!(digest.is_some(), "{}", told.told());
    assert_eq!(told.err, "");
    let plain = gamut
        .call(&["pull", "--progress", "plain", &reference])
        .ok();
    assert!(plain.err.contains("Pulling from"), "{}", plain.told());
    gamut
        .call(&["pull", "-q", "--progress", "json", &reference])
        .refused(125, &["--quiet"]);
}

/// Keepers do not work where the caller does.
#[test]
fn directories_may_be_told_from_where_one_stands() {
    let Some(gamut) = Gamut::new() else { return };
    let reference = gamut.image("busybox");
    gamut.call(&["pull", "-q", &reference]).ok();
    let binary = gamut_tests::gamut::binary().display().to_string();
    let here = gamut.dir().display().to_string();
    let script = "cd $1 && exec $2 --root root --runroot run run --rm --network none $3 echo up";
    let told = gamut_tests::host::program("sh", &["-c", script, "sh", &here, &binary, &reference]);
    assert_eq!(told.trim(), "up");
}

#[test]
fn two_pulls_of_the_same_image_at_once() {
    let Some(gamut) = Gamut::new() else { return };
    let reference = gamut.image("busybox");
    let pulls: Vec<_> = (0..4)
        .map(|_| gamut.spawn(&["pull", "-q", &reference]))
        .collect();
    for pull in pulls {
        pull.finish().ok();
    }
    gamut.run(&[], &["true"]).ok();
    assert_eq!(gamut.call(&["images", "-q"]).ok().lines().len(), 1);
}

#[test]
fn compressions_mixed_in_one_image() {
    let Some(gamut) = Gamut::new() else { return };
    let image = ImageBuilder::new()
        .layer(super::run::busybox_with(&["sh", "cat"]))
        .compression(Compression::Zstd)
        .layer(Layer::new().file("z", 0o644, "zstd "))
        .compression(Compression::Plain)
        .layer(Layer::new().file("p", 0o644, "plain"))
        .env(&["PATH=/bin"])
        .cmd(&["cat", "/z", "/p"])
        .build();
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    assert_eq!(
        runs(&gamut, &registry.shelve(&image, "mixed:lab")),
        "zstd plain"
    );
}
