//! The files as users have them.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn password(user: &str, secret: &str) -> Credentials {
    Credentials::Password {
        user: user.into(),
        secret: Secret::new(secret),
    }
}

fn with(text: &str) -> (tempfile::TempDir, AuthFiles) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    fs::write(&path, text).unwrap();
    (directory, AuthFiles::new(vec![path]))
}

#[test]
fn finds_entries_by_every_sort_of_key() {
    let (_directory, files) = with(
        r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOmh1YnBhc3M="},
            "https://ghcr.io/v1/":{"username":"u","password":"p:w"},
            "localhost:5000":{"auth":"bDpw"},
            "quay.io":{"auth":"cTox"},
            "quay.io/org":{"auth":"cToy"},
            "azure.io":{"auth":"MDAwOg==","identitytoken":"idt"},
            "raw.io":{"registrytoken":"rt"},
            "empty.io":{}
        }}"#,
    );
    let find = |registry, repository| files.lookup(registry, repository).unwrap();
    assert_eq!(
        find("docker.io", "library/nginx"),
        Some(password("hub", "hubpass"))
    );
    assert_eq!(find("ghcr.io", "a/b"), Some(password("u", "p:w")));
    assert_eq!(find("localhost:5000", "x"), Some(password("l", "p")));
    assert_eq!(find("localhost:5001", "x"), None);
    assert_eq!(find("quay.io", "other/x"), Some(password("q", "1")));
    assert_eq!(find("quay.io", "org/x"), Some(password("q", "2")));
    assert_eq!(find("quay.io", "organic/x"), Some(password("q", "1")));
    assert_eq!(
        find("azure.io", "x"),
        Some(Credentials::Identity(Secret::new("idt")))
    );
    assert_eq!(
        find("raw.io", "x"),
        Some(Credentials::Bearer(Secret::new("rt")))
    );
    assert_eq!(find("empty.io", "x"), None);
    assert_eq!(find("evil-quay.io", "org/x"), None);
}

#[test]
fn a_login_keeps_the_rest_of_the_file() {
    let (directory, files) =
        with(r#"{"psFormat":"x","auths":{"a.io":{"auth":"bDpw"}},"proxies":{"default":{}}}"#);
    let stored = files.store("docker.io", &password("u", "p:w")).unwrap();
    let path = directory.path().join("config.json");
    assert_eq!(stored, Stored::File(path.clone()));
    let text: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(text["psFormat"], "x");
    assert!(text["proxies"]["default"].is_object());
    assert!(text["auths"][DOCKER_HUB_KEY]["auth"].is_string());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        files.lookup("docker.io", "x").unwrap(),
        Some(password("u", "p:w"))
    );
    assert_eq!(files.lookup("a.io", "x").unwrap(), Some(password("l", "p")));
    files.erase("docker.io").unwrap();
    assert_eq!(files.lookup("docker.io", "x").unwrap(), None);
    assert!(matches!(
        files.erase("docker.io"),
        Err(AuthError::NotLoggedIn(_))
    ));
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no leftovers"
    );
}

#[test]
fn a_login_creates_what_is_missing_and_follows_links() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/deep/config.json");
    let files = AuthFiles::new(vec![path.clone()]);
    assert_eq!(files.lookup("a.io", "x").unwrap(), None);
    files.store("a.io", &password("u", "p")).unwrap();
    assert_eq!(files.lookup("a.io", "x").unwrap(), Some(password("u", "p")));

    let link = directory.path().join("config.json");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let linked = AuthFiles::new(vec![link.clone()]);
    linked.store("b.io", &password("v", "q")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(files.lookup("b.io", "x").unwrap(), Some(password("v", "q")));
}

#[test]
fn logins_at_once_do_not_lose_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let files = AuthFiles::new(vec![directory.path().join("config.json")]);
    std::thread::scope(|scope| {
        for at in 0..8 {
            let files = &files;
            scope.spawn(move || {
                files
                    .store(&format!("r{at}.io"), &password("u", "p"))
                    .unwrap()
            });
        }
    });
    for at in 0..8 {
        assert!(
            files.lookup(&format!("r{at}.io"), "x").unwrap().is_some(),
            "r{at}"
        );
    }
}

#[test]
fn malformed_files_are_named_without_their_content() {
    for text in [
        r#"{"auths":{"a.io":{"auth":"geheim!"}}}"#,
        r#"{"auths":{"a.io":{"auth":"Z2VoZWlt"}}}"#,
        r#"{"auths": geheim}"#,
        r#""geheim""#,
        r#"{"credsStore":"../geheim"}"#,
    ] {
        let (_directory, files) = with(text);
        let error = files.lookup("a.io", "x").unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
        let helper = matches!(error, AuthError::HelperName { .. });
        assert!(
            helper || !format!("{error} {error:?}").contains("geheim"),
            "{error}"
        );
    }
}

#[test]
fn the_order_of_the_files() {
    let env = |name: &str| match name {
        "HOME" => Some("/home/u".into()),
        "XDG_RUNTIME_DIR" => Some("/run/user/1".into()),
        _ => None,
    };
    let paths = |env: &dyn Fn(&str) -> Option<OsString>| AuthFiles::from_env(env).paths;
    assert_eq!(
        paths(&env),
        [
            "/home/u/.docker/config.json",
            "/run/user/1/containers/auth.json"
        ]
        .map(PathBuf::from)
    );
    let set = |name: &str| match name {
        "REGISTRY_AUTH_FILE" => Some("/f".into()),
        "DOCKER_CONFIG" => Some("/d".into()),
        _ => env(name),
    };
    assert_eq!(
        paths(&set),
        ["/f", "/d/config.json", "/run/user/1/containers/auth.json"].map(PathBuf::from)
    );
    assert_eq!(paths(&|_| None).len(), 1, "Podman's by the user's number");
}

#[test]
fn secrets_do_not_show() {
    let shown = format!(
        "{:?} {:?}",
        password("u", "geheim"),
        Credentials::Identity(Secret::new("geheim"))
    );
    assert!(!shown.contains("geheim"), "{shown}");
}
