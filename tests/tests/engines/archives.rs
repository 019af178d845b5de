//! Images that others save are loaded here, and those that are saved here others load: the ids are
//! equal. Here, gamut is no engine's runtime, but one beside them.

use gamut_tests::Engine;

/// gamut with a root of the test's own.
fn gamut(name: &str) -> Option<Engine> {
    let gamut = Engine::new(
        "gamut --root /peers/@/root --runroot /run/@",
        &format!("archives-{name}"),
    )?;
    gamut.at_end("system reset --force");
    Some(gamut)
}

const FORMATS: [(&str, &str); 6] = [
    (
        "docker save -o /peers/@/docker.tar localhost/bb",
        "docker.tar",
    ),
    (
        "podman save -q -o /peers/@/podman.tar localhost/bb",
        "podman.tar",
    ),
    (
        "podman save -q --format oci-archive -o /peers/@/oci.tar localhost/bb",
        "oci.tar",
    ),
    (
        "podman save -q --format oci-dir -o /peers/@/oci localhost/bb",
        "oci",
    ),
    (
        "podman save -q --format docker-dir --compress -o /peers/@/dir localhost/bb",
        "dir",
    ),
    (
        "skopeo copy -q docker-archive:/peers/bb.tar docker-archive:/peers/@/skopeo.tar:localhost/bb:latest",
        "skopeo.tar",
    ),
];

#[test]
fn what_others_save_is_loaded() {
    let Some(gamut) = gamut("load") else { return };
    gamut.file("here", "");
    let id = |engine: &str| {
        let line = format!("{engine} image inspect --format '{{{{.Id}}}}' localhost/bb");
        let id = gamut.beside(&line).ok().text().to_owned();
        id.trim_start_matches("sha256:").to_owned()
    };
    for (save, file) in FORMATS {
        let saved = gamut.beside(save);
        if saved.code == 127 {
            gamut_tests::skip::skipped(&format!("cannot be run here: {save}"));
            continue;
        }
        saved.ok();
        let wanted = match file {
            "docker.tar" => id("docker"),
            _ => id("podman"),
        };
        let loaded = gamut.says(&format!("load -q -i /peers/@/{file}"));
        assert!(loaded.starts_with("Loaded image"), "{file}: {loaded}");
        let ids = gamut.says("images -q --no-trunc");
        assert_eq!(ids, format!("sha256:{wanted}"), "{file}");
        gamut.says(&format!("rmi -f {wanted}"));
    }
}

#[test]
fn what_is_saved_here_others_load() {
    let Some(gamut) = gamut("save") else { return };
    gamut.says("load -q -i /peers/bb.tar");
    gamut.says("tag localhost/bb localhost/@:1");
    let id = gamut.says("image inspect --format '{{.Id}}' localhost/@:1");
    let hex = id.trim_start_matches("sha256:");
    for (format, file) in [
        ("docker-archive", "a.tar"),
        ("oci-archive", "b.tar"),
        ("oci-dir", "c"),
        ("docker-dir", "d"),
    ] {
        gamut.says(&format!(
            "save --format {format} -o /peers/@/{file} localhost/@:1"
        ));
        gamut
            .beside(&format!("podman load -q -i /peers/@/{file}"))
            .ok();
        let found = gamut.beside(&format!(
            "podman image inspect --format '{{{{.Id}}}}' {hex}"
        ));
        assert_eq!(found.ok().text(), hex, "podman, {format}");
        if format == "docker-archive" {
            gamut
                .beside(&format!("docker load -q -i /peers/@/{file}"))
                .ok();
            let found = gamut.beside("docker image inspect --format '{{.Id}}' localhost/@:1");
            assert_eq!(found.ok().text(), id, "docker");
            gamut.beside("docker rmi localhost/@:1").ok();
        }
    }
    gamut.beside("podman untag localhost/@:1 localhost/@:1");
}

/// Layers that take something away, and a configuration that says how to run.
const CHANGE: &str = "rm -r /etc/group; mkdir -p /made/deep; echo hi >/made/deep/f; ln /made/deep/f /made/g; chmod 4711 /made/g";
const LOOK: &str = "sh -c 'stat -c \"%n %a %h\" /made/g; cat /made/deep/f; ls /etc/passwd; test -e /etc/group || echo gone; echo $A'";
const SEEN: &str = "/made/g 4711 2\nhi\n/etc/passwd\ngone\nb";

#[test]
fn what_is_committed_and_saved_here_others_run() {
    let Some(gamut) = gamut("run") else { return };
    gamut.says("load -q -i /peers/bb.tar");
    gamut.says(&format!(
        "run --name changed --network none localhost/bb sh -c '{CHANGE}'"
    ));
    gamut.says("commit -q -c 'ENV A=b' changed localhost/@:1");
    let id = gamut.says("image inspect --format '{{.Id}}' localhost/@:1");
    let own = "gamut --root /peers/@/root --runroot /run/@";
    for engine in ["podman", "docker"] {
        let load = format!("{own} save localhost/@:1 | {engine} load -q");
        gamut.beside(&load).ok();
        let inspect = format!("{engine} image inspect --format '{{{{.Id}}}}' localhost/@:1");
        let there = gamut.beside(&inspect).ok().text().to_owned();
        assert_eq!(
            there.trim_start_matches("sha256:"),
            id.trim_start_matches("sha256:"),
            "{engine}"
        );
        let run = format!("{engine} run --rm --network none localhost/@:1 {LOOK}");
        assert_eq!(gamut.beside(&run).ok().text(), SEEN, "{engine}");
        let remove = format!("{engine} rmi -f localhost/@:1");
        gamut.beside(&remove).ok();
    }
    gamut.says("save --format oci-dir -o /peers/@/layout localhost/@:1");
    for to in [
        "dir:/peers/@/dir",
        "docker-archive:/peers/@/again.tar:localhost/@:2",
    ] {
        let copy = format!("skopeo copy -q oci:/peers/@/layout {to}");
        gamut.beside(&copy).ok();
    }
    gamut.says("load -q -i /peers/@/dir");
    gamut.says("load -q -i /peers/@/again.tar");
    let again = gamut.says("image inspect --format '{{.Id}}' localhost/@:2");
    let run = format!("run --rm --network none {again} {LOOK}");
    assert_eq!(gamut.says(&run), SEEN);
}

#[test]
fn what_others_commit_and_save_is_run() {
    let Some(gamut) = gamut("ran") else { return };
    gamut.file("here", "");
    let own = "gamut --root /peers/@/root --runroot /run/@";
    for engine in ["podman", "docker"] {
        let remove = format!("{engine} rm -f @; {engine} rmi -f localhost/@:1");
        let run = format!("{engine} run --name @ --network none localhost/bb sh -c '{CHANGE}'");
        let commit = format!("{engine} commit -c 'ENV A=b' @ localhost/@:1");
        gamut.beside(&remove);
        gamut.beside(&run).ok();
        gamut.beside(&commit).ok();
        let load = format!("{engine} save localhost/@:1 | {own} load -q");
        let loaded = gamut.beside(&load).ok().text().to_owned();
        assert_eq!(loaded, "Loaded image: localhost/archives-ran:1", "{engine}");
        let run = format!("run --rm --network none localhost/@:1 {LOOK}");
        assert_eq!(gamut.says(&run), SEEN, "{engine}");
        gamut.says("rmi -f localhost/@:1");
        gamut.beside(&remove);
    }
}
