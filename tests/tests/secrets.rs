//! Secrets: `secret` and `--secret`.

use gamut_tests::Gamut;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const WORD: &str = "a-word-that-nothing-tells";

/// Makes one of standard input; its id.
#[track_caller]
fn make(gamut: &Gamut, name: &str, data: &str) -> String {
    let made = gamut.call_with_input(&["secret", "create", name, "-"], data);
    made.ok().text().to_owned()
}

/// Files below a directory that have the word in them.
fn telling(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            telling(&path, found);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes
                .windows(WORD.len())
                .any(|part| part == WORD.as_bytes())
            {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
}

#[test]
fn they_are_made_listed_told_of_and_removed() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.call(&["secret", "ls"]).ok().text(),
        "ID        NAME      DRIVER    CREATED   UPDATED"
    );
    let id = make(&gamut, "key", WORD);
    assert!(
        id.len() == 25 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    gamut
        .call(&["secret", "create", "key", "-"])
        .refused(1, &["1 to 512000 bytes"]);
    gamut
        .call_with_input(&["secret", "create", "key", "-"], "other")
        .refused(1, &["key exists already"])
        .hinted();
    gamut
        .call_with_input(&["secret", "create", "a/b", "-"], "x")
        .refused(1, &["a/b"])
        .hinted();
    let file = gamut.dir().join("home/file");
    fs::write(&file, "of a file").unwrap();
    let file = file.to_string_lossy().into_owned();
    gamut
        .call(&["secret", "create", "-l", "of=me", "more", &file])
        .ok();
    gamut
        .call(&["secret", "create", "--env", "home", "HOME"])
        .ok();
    gamut
        .call(&["secret", "create", "--env", "none", "NO_SUCH_VARIABLE"])
        .refused(1, &["NO_SUCH_VARIABLE"])
        .hinted();
    let names = |flags: &[&str]| {
        let words = [&["secret", "ls", "--format", "{{.Name}}"], flags].concat();
        gamut.call(&words).ok().text().to_owned()
    };
    assert_eq!(names(&[]), "home\nkey\nmore");
    assert_eq!(names(&["-f", "label=of=me"]), "more");
    assert_eq!(names(&["-f", "name=ke"]), "key");
    assert!(gamut.call(&["secret", "ls", "-q"]).ok().out.contains(&id));
    let told = gamut.call(&["secret", "inspect", "key"]).ok();
    assert!(!told.out.contains(WORD), "{}", told.told());
    let told = told.json()[0].clone();
    assert_eq!(
        (told["ID"].as_str(), told["Spec"]["Name"].as_str()),
        (Some(id.as_str()), Some("key"))
    );
    let shown = gamut.call(&[
        "secret",
        "inspect",
        "--showsecret",
        "-f",
        "{{.SecretData}}",
        &id[..9],
    ]);
    assert_eq!(shown.ok().text(), WORD);
    assert_eq!(gamut.call(&["secret", "exists", "key"]).code, 0);
    assert_eq!(gamut.call(&["secret", "exists", "other"]).code, 1);
    // What takes its place has another id.
    let new = gamut
        .call_with_input(&["secret", "create", "--replace", "key", "-"], "new")
        .ok();
    assert_ne!(new.text(), id);
    gamut
        .call(&["secret", "rm", "other"])
        .refused(1, &["other"])
        .hinted();
    gamut.call(&["secret", "rm", "-i", "other"]).ok();
    assert_eq!(gamut.call(&["secret", "rm", "key"]).ok().text(), new.text());
    gamut.call(&["secret", "rm", "-a"]).ok();
    assert_eq!(names(&[]), "");
    let left = fs::read_dir(gamut.root().join("secrets")).unwrap();
    assert_eq!(left.count(), 0, "something is left of them");
}

#[test]
fn a_container_finds_them_and_nobody_else() {
    let Some(gamut) = Gamut::new() else { return };
    make(&gamut, "key", WORD);
    let show = "cat /run/secrets/key; stat -c ' %a %u:%g' /run/secrets/key; echo x 2>/dev/null >/run/secrets/key || echo refused";
    let shown = gamut.inside(&["--secret", "key", "--user", "33"], show);
    assert_eq!(shown, format!("{WORD} 444 0:0\nrefused"));
    let flags = [
        "--secret",
        "source=key,target=/etc/k,uid=33,gid=34,mode=0400",
        "--secret",
        "key,type=env,target=WORD",
    ];
    let script = "echo $WORD; stat -c '%a %u:%g' /etc/k; ls /run/secrets 2>/dev/null | wc -l";
    assert_eq!(
        gamut.inside(&flags, script),
        format!("{WORD}\n400 33:34\n0")
    );
    let id = gamut.idle(&[&["--name", "box", "--env", "WORD=plain"], &flags[..]].concat());
    // Who comes later finds it, too.
    assert_eq!(
        gamut.exec("box", "echo $WORD; cat /etc/k"),
        format!("{WORD}\n{WORD}")
    );
    for words in [
        &["inspect", "box"][..],
        &[
            "run",
            "--dry-run",
            "--secret",
            "key,type=env",
            &gamut.image("busybox"),
            "true",
        ],
        &["explain", "box"],
        &["events", "--since", "1h", "--until", "0s"],
    ] {
        let said = gamut.call(words).ok();
        assert!(!said.out.contains(WORD), "{}", said.told());
    }
    gamut.call(&["commit", "box", "copy:1"]).ok();
    let image = gamut.call(&[
        "run",
        "--rm",
        "--network",
        "none",
        "copy:1",
        "sh",
        "-c",
        "env; cat /etc/k",
    ]);
    assert!(!image.out.contains(WORD), "{}", image.told());
    // It keeps what it was given when the secret has gone, and at its next start.
    gamut.call(&["secret", "rm", "key"]).ok();
    gamut.call(&["restart", "-t", "0", "box"]).ok();
    assert_eq!(
        gamut.exec("box", "echo $WORD; cat /etc/k"),
        format!("{WORD}\n{WORD}")
    );
    // On disk it is in its two copies, which root alone comes to, and nowhere else.
    let mut found = Vec::new();
    telling(gamut.root(), &mut found);
    telling(gamut.runroot(), &mut found);
    let own = gamut.root().join("containers").join(&id).join("secrets");
    assert!(
        found.len() == 2 && found.iter().all(|path| Path::new(path).starts_with(&own)),
        "{found:#?}"
    );
    assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
    gamut.call(&["rm", "-f", "box"]).ok();
    gamut.call(&["rmi", "copy:1"]).ok();
}

#[test]
fn what_cannot_be_given_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&["--secret", "key"], &["true"])
        .refused(125, &["no such secret: key"])
        .hinted();
    for wrong in ["key,mode=9", "key,kind=x", "key,type=env,uid=1"] {
        gamut
            .run(&["--secret", wrong], &["true"])
            .refused(125, &[wrong])
            .hinted();
    }
    make(&gamut, "raw", "a\0b");
    gamut
        .run(&["--secret", "raw,type=env"], &["true"])
        .refused(125, &["raw"])
        .hinted();
    gamut.assert_untouched();
    assert_eq!(
        gamut.inside(&["--secret", "raw"], "wc -c </run/secrets/raw"),
        "3"
    );
}
