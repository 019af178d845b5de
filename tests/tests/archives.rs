//! Images as files: saved and loaded in every form, imported, and refused when they are not what they
//! say. That docker, podman and skopeo read and write the same is in `engines::archives`.

use super::drivers::{LOOK, layered};
use gamut_tests::host::program;
use gamut_tests::{Gamut, Layer};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A private name for one of the lab's images, and its id.
fn tagged(gamut: &Gamut, name: &str) -> String {
    let image = gamut.image("busybox");
    gamut.call(&["pull", "-q", &image]).ok();
    gamut.call(&["tag", &image, name]).ok();
    id(gamut, name)
}

fn id(gamut: &Gamut, name: &str) -> String {
    let format = ["image", "inspect", "--format", "{{.Id}}", name];
    gamut.call(&format).ok().text().to_owned()
}

fn forget_all(gamut: &Gamut) {
    let listed = gamut.call(&["images", "-q"]).ok();
    for id in listed.lines() {
        gamut.call(&["rmi", "-f", id]);
    }
    assert_eq!(gamut.call(&["images", "-q"]).ok().out, "");
}

fn path(gamut: &Gamut, name: &str) -> (PathBuf, String) {
    let path = gamut.dir().join(name);
    let text = path.to_string_lossy().into_owned();
    (path, text)
}

/// Names and contents.
type Files<'n> = Vec<(&'n str, Vec<u8>)>;

/// An archive with these files, in this order.
fn archive(path: &Path, files: &[(&str, Vec<u8>)]) {
    let layer = files.iter().fold(Layer::new(), |layer, (name, content)| {
        layer.file(name, 0o644, content)
    });
    std::fs::write(path, layer.into_tar()).expect("written");
}

fn digest(bytes: &[u8]) -> String {
    gamut_tests::image::digest(bytes)
}

#[test]
fn every_form_brings_the_same_image_back() {
    let Some(gamut) = Gamut::new() else { return };
    let before = tagged(&gamut, "saved:1");
    for format in ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] {
        let (file, text) = path(&gamut, format);
        gamut
            .call(&["save", "--format", format, "-o", &text, "saved:1"])
            .ok();
        assert_eq!(file.is_dir(), format.ends_with("dir"), "{format}");
        forget_all(&gamut);
        let loaded = gamut.call(&["load", "-q", "-i", &text]).ok();
        // `dir:` has no place for a name.
        let name = match format {
            "docker-dir" => {
                loaded.prints(&format!("Loaded image ID: {before}"));
                before.as_str()
            }
            _ => {
                loaded.prints("Loaded image: saved:1");
                "saved:1"
            }
        };
        assert_eq!(id(&gamut, name), before, "{format}");
        let run = ["run", "--rm", "--network", "none", name, "echo", format];
        gamut.call(&run).ok().prints(format);
        gamut.call(&["tag", name, "saved:1"]).ok();
    }
}

#[test]
fn every_driver_saves_the_same_archive_and_loads_it() {
    let mut saved: Option<(Vec<u8>, String)> = None;
    for gamut in super::drivers::each() {
        let reference = gamut.host.registry.push(&layered().build(), "archives:lab");
        let (file, text) = path(&gamut, "saved.tar");
        let words = ["run", "--rm", "--network", "none", &reference, "sh", "-c"];
        let look = |gamut: &Gamut| {
            let told = gamut.call(&[&words[..], &[LOOK]].concat()).ok();
            told.text().to_owned()
        };
        // What another driver's store gave, where nothing was pulled.
        if let Some((bytes, seen)) = &saved {
            std::fs::write(&file, bytes).expect("written");
            gamut.call(&["load", "-q", "-i", &text]).ok();
            assert_eq!(look(&gamut), *seen);
            gamut.call(&["save", "-o", &text, &reference]).ok();
            assert!(std::fs::read(&file).expect("read") == *bytes, "as loaded");
            gamut.call(&["rmi", "-f", &reference]).ok();
        }
        gamut.call(&["pull", "-q", &reference]).ok();
        gamut.call(&["save", "-o", &text, &reference]).ok();
        let bytes = std::fs::read(&file).expect("read");
        match &saved {
            Some((before, _)) => assert!(bytes == *before, "as pulled"),
            None => saved = Some((bytes, look(&gamut))),
        }
    }
}

#[test]
fn streams_plain_and_compressed_and_nothing_on_a_terminal() {
    let Some(gamut) = Gamut::new() else { return };
    let before = tagged(&gamut, "saved:1");
    let (_, text) = path(&gamut, "saved.tar");
    let own = format!(
        "{} --root {} --runroot {}",
        gamut_tests::gamut::binary().display(),
        gamut.root().display(),
        gamut.runroot().display()
    );
    program("sh", &["-c", &format!("{own} save saved:1 > {text}")]);
    for packer in ["cat", "gzip -c", "zstd -qc"] {
        forget_all(&gamut);
        if program("sh", &["-c", &format!("command -v {packer} || true")]).is_empty() {
            gamut_tests::skip::skipped(&format!("there is no {packer}"));
            continue;
        }
        let line = format!("{packer} < {text} | {own} load -q");
        assert_eq!(program("sh", &["-c", &line]), "Loaded image: saved:1\n");
        assert_eq!(id(&gamut, "saved:1"), before, "{packer}");
    }
    for words in [&["save", "saved:1"][..], &["load"], &["import", "-"]] {
        let mut terminal = gamut.terminal(words);
        terminal.expect("terminal");
        assert_eq!(terminal.wait(), 1, "{words:?}");
    }
}

#[test]
fn several_images_share_layers_and_are_the_same_archive_every_time() {
    let Some(gamut) = Gamut::new() else { return };
    tagged(&gamut, "saved:1");
    gamut.call(&["tag", "saved:1", "saved:2"]).ok();
    gamut.call(&["tag", "saved:1", "other:1"]).ok();
    let (one, two) = (path(&gamut, "1.tar"), path(&gamut, "2.tar"));
    // A name without a tag is all of its tags.
    gamut.call(&["save", "-o", &one.1, "saved", "other:1"]).ok();
    gamut.call(&["save", "-o", &two.1, "saved", "other:1"]).ok();
    let (one_bytes, two_bytes) = (std::fs::read(one.0), std::fs::read(two.0));
    assert!(one_bytes.expect("read") == two_bytes.expect("read"));
    let members = program("tar", &["tf", &one.1]);
    assert_eq!(members.matches("blobs/sha256/").count(), 1 + 4, "{members}");
    forget_all(&gamut);
    let loaded = gamut.call(&["load", "-q", "-i", &one.1]).ok();
    let mut names = loaded.lines();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "Loaded image: other:1",
            "Loaded image: saved:1",
            "Loaded image: saved:2"
        ]
    );
}

#[test]
fn a_platform_that_is_not_there_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    tagged(&gamut, "saved:1");
    let (file, text) = path(&gamut, "saved.tar");
    gamut
        .call(&["save", "--platform", "linux/s390x", "-o", &text, "saved:1"])
        .refused(1, &["linux/s390x"])
        .hinted();
    assert!(!file.exists(), "half an archive is left");
    gamut.call(&["save", "-o", &text, "saved:1"]).ok();
    gamut
        .call(&["load", "--platform", "linux/s390x", "-i", &text])
        .refused(1, &["linux/s390x"])
        .hinted();
    gamut
        .call(&["save", "-o", &text, "no-such-image"])
        .refused(1, &["no-such-image"]);
    assert!(file.exists(), "an archive was taken away");
}

#[test]
fn an_old_archive_of_dockers_with_links_is_loaded() {
    let Some(gamut) = Gamut::new() else { return };
    let layer = super::run::busybox_with(&["sh", "cat"])
        .file("said", 0o644, "old\n")
        .into_tar();
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Cmd": ["/bin/cat", "/said"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!([{
        "Config": "c.json", "RepoTags": ["old:1"], "Layers": ["b/layer.tar"],
    }]);
    let (file, text) = path(&gamut, "old.tar");
    let tar = Layer::new()
        .file("a/layer.tar", 0o644, &layer)
        .symlink("b/layer.tar", "../a/layer.tar")
        .file("c.json", 0o644, &config)
        .file("manifest.json", 0o644, manifest.to_string());
    std::fs::write(&file, tar.into_tar()).expect("written");
    gamut
        .call(&["load", "-q", "-i", &text])
        .ok()
        .prints("Loaded image: old:1");
    assert_eq!(id(&gamut, "old:1"), digest(&config));
    gamut
        .call(&["run", "--rm", "--network", "none", "old:1"])
        .ok()
        .prints("old");
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[test]
fn hostile_and_damaged_archives_are_refused_and_leave_nothing() {
    let Some(gamut) = Gamut::new() else { return };
    let config = |diff_ids: &[String]| -> Vec<u8> {
        let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
        let config = json!({"architecture": architecture(), "os": "linux", "rootfs": rootfs});
        config.to_string().into_bytes()
    };
    let manifest = |config: &str, layers: &[&str]| -> Vec<u8> {
        let image = json!({"Config": config, "RepoTags": ["evil:1"], "Layers": layers});
        Value::Array(vec![image]).to_string().into_bytes()
    };
    let layer = Layer::new().file("f", 0o644, "x").into_tar();
    let right = digest(&layer);
    let escape = Layer::new().file("../../escaped", 0o644, "x").into_tar();
    let cases: Vec<(&str, Files<'_>, &str)> = vec![
        ("nothing", vec![("readme", b"x".to_vec())], "manifest.json"),
        (
            "a path out of it",
            vec![("manifest.json", manifest("/etc/passwd", &[]))],
            "etc/passwd",
        ),
        (
            "no layer",
            vec![
                ("c", config(std::slice::from_ref(&right))),
                ("manifest.json", manifest("c", &["gone"])),
            ],
            "gone",
        ),
        (
            "another layer",
            vec![
                ("c", config(std::slice::from_ref(&right))),
                ("l", Layer::new().file("f", 0o644, "y").into_tar()),
                ("manifest.json", manifest("c", &["l"])),
            ],
            "digest",
        ),
        (
            "more layers than the configuration has",
            vec![
                ("c", config(&[])),
                ("l", layer.clone()),
                ("manifest.json", manifest("c", &["l"])),
            ],
            "layers",
        ),
        (
            "a layer that leads out",
            vec![
                ("c", config(&[digest(&escape)])),
                ("l", escape),
                ("manifest.json", manifest("c", &["l"])),
            ],
            "..",
        ),
        (
            "no JSON",
            vec![("manifest.json", b"[".to_vec())],
            "malformed",
        ),
        (
            "a huge manifest",
            vec![("manifest.json", vec![b' '; 5 << 20])],
            "more than",
        ),
        (
            "a layout whose blob is another",
            vec![
                ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
                ("index.json", layout_index(&right)),
                (
                    &*Box::leak(format!("blobs/sha256/{}", &right[7..]).into_boxed_str()),
                    b"{}".to_vec(),
                ),
            ],
            "digest",
        ),
    ];
    for (what, files, word) in cases {
        let (file, text) = path(&gamut, "evil.tar");
        archive(&file, &files);
        let refused = gamut.call(&["load", "-q", "-i", &text]).refused(1, &[word]);
        assert_eq!(refused.out, "", "{what}");
        // The same by a stream, which is kept first.
        let mut running = gamut.spawn_with(&["load", "-q"], std::process::Stdio::piped());
        let mut input = running.child.stdin.take().expect("piped");
        let bytes = std::fs::read(&file).expect("read");
        let writer = std::thread::spawn(move || {
            // It may be refused before all of it is read.
            let _ = input.write_all(&bytes);
        });
        running.finish().refused(1, &[word]);
        writer.join().expect("it ends");
        assert_eq!(gamut.call(&["images", "-q"]).ok().out, "", "{what}");
        assert!(!gamut.dir().join("escaped").exists());
    }
    let left = program("find", &[&gamut.root().to_string_lossy(), "-name", "tmp-*"]);
    assert_eq!(left, "");
}

fn layout_index(digest: &str) -> Vec<u8> {
    let entry = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 2,
    });
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    index.to_string().into_bytes()
}

#[test]
fn a_layout_with_several_platforms_gives_the_one_for_this_machine() {
    let Some(gamut) = Gamut::new() else { return };
    let before = tagged(&gamut, "saved:1");
    let (file, text) = path(&gamut, "layout");
    gamut
        .call(&["save", "--format", "oci-dir", "-o", &text, "saved:1"])
        .ok();
    let index = std::fs::read(file.join("index.json")).expect("read");
    let mut index: Value = serde_json::from_slice(&index).expect("JSON");
    let mut entry = index["manifests"][0].clone();
    entry
        .as_object_mut()
        .expect("an object")
        .remove("annotations");
    entry["platform"] = json!({"os": "linux", "architecture": architecture()});
    // One whose blobs are not there, as when only one platform was copied.
    let mut other = entry.clone();
    other["platform"]["architecture"] = "s390x".into();
    other["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    index["manifests"] = json!([other, entry]);
    std::fs::write(file.join("index.json"), index.to_string()).expect("written");
    forget_all(&gamut);
    gamut
        .call(&["load", "-q", "-i", &text])
        .ok()
        .prints(&format!("Loaded image ID: {before}"));
}

#[test]
fn a_root_file_system_is_imported() {
    let Some(gamut) = Gamut::new() else { return };
    let tar = super::run::busybox_with(&["sh", "cat"]).file("said", 0o644, "imported\n");
    let (file, text) = path(&gamut, "root.tar");
    std::fs::write(&file, tar.into_tar()).expect("written");
    let message = ["-m", "by hand", "-c", "CMD [\"/bin/cat\", \"/said\"]"];
    let changes = ["-c", "ENV A=b", "--change", "ENV C=$A", "-c", "LABEL k=v"];
    let import = [&["import"], &message[..], &changes, &[&text, "made:1"]].concat();
    let made = gamut.call(&import).ok().text().to_owned();
    assert_eq!(id(&gamut, "made:1"), made);
    gamut
        .call(&["run", "--rm", "--network", "none", "made:1"])
        .ok()
        .prints("imported");
    let all = gamut.call(&["image", "inspect", "made:1"]).ok().json();
    assert_eq!(all[0]["Comment"], "by hand");
    assert_eq!(all[0]["Config"]["Env"], json!(["A=b", "C=b"]));
    assert_eq!(all[0]["Config"]["Labels"]["k"], "v");
    // The same tar, compressed and on standard input, has the same layer.
    let own = format!(
        "gzip -c {text} | {} --root {} --runroot {} import --platform linux/arm64 - made:2",
        gamut_tests::gamut::binary().display(),
        gamut.root().display(),
        gamut.runroot().display()
    );
    program("sh", &["-c", &own]);
    let other = gamut.call(&["image", "inspect", "made:2"]).ok().json();
    assert_eq!(all[0]["RootFS"], other[0]["RootFS"]);
    assert_eq!(other[0]["Architecture"], "arm64");
    gamut
        .call(&["import", "-c", "RUN true", &text])
        .refused(1, &["RUN"])
        .hinted();
    gamut.call(&["import", "/no/such/file"]).code(1);
    std::fs::write(&file, "no tar at all".repeat(100)).expect("written");
    gamut.call(&["import", &text]).refused(1, &["archive"]);
}

#[test]
fn a_root_file_system_is_imported_from_a_url() {
    let Some(gamut) = Gamut::new() else { return };
    let tar = Layer::new().file("f", 0o644, "x").into_tar();
    let address = serve_once(vec![
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_vec(),
        [
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                tar.len()
            )
            .into_bytes(),
            tar,
        ]
        .concat(),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    ]);
    let url = format!("http://{address}/root.tar");
    gamut.call(&["import", &url, "from-url:1"]).ok();
    gamut.call(&["import", &url]).refused(1, &["root.tar"]);
}

/// A server that gives these answers, one for each connection.
fn serve_once(answers: Vec<Vec<u8>>) -> std::net::SocketAddr {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(&answer);
        }
    });
    address
}

#[test]
fn names_are_given_and_taken() {
    let Some(gamut) = Gamut::new() else { return };
    let id = tagged(&gamut, "a:1");
    gamut.call(&["tag", "a:1", "b:1", "c"]).ok();
    gamut.call(&["untag", "a:1", "b:1", "c:latest"]).ok();
    let all = gamut.call(&["image", "inspect", &id]).ok().json();
    let tags = all[0]["RepoTags"].as_array().expect("a list");
    assert!(tags.contains(&"a:1".into()) && !tags.contains(&"b:1".into()));
    gamut
        .call(&["untag", "a:1", "nobodys:1"])
        .refused(1, &["nobodys"]);
    gamut.call(&["untag", &id]).ok();
    let all = gamut.call(&["image", "inspect", &id]).ok().json();
    assert_eq!(all[0]["RepoTags"], json!([]));
    gamut
        .call(&["run", "--rm", "--network", "none", &id, "echo", "still"])
        .ok()
        .prints("still");
}
