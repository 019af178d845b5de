//! Challenges, tokens, logins and credential helpers.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use gamut_registry::auth::{AuthError, AuthFiles, AuthSource, Credentials, Secret, Stored};
use gamut_registry::{Client, Identity, Options, RegistryError};
use gamut_spec::image::{Compression, MediaType};
use gamut_spec::{Fault, Kind};

use crate::server::{Asked, Reply, Server, client, descriptor_of, manifest, options};

pub(crate) fn password(user: &str, secret: &str) -> Credentials {
    Credentials::Password {
        user: user.into(),
        secret: Secret::new(secret),
    }
}

fn client_as(server: &Server, credentials: Credentials) -> Client {
    Client::new(Options {
        auth: AuthSource::Given {
            registry: server.authority.clone(),
            credentials,
        },
        ..options()
    })
}

pub(crate) fn client_with(server: &Server, user: &str, secret: &str) -> Client {
    client_as(server, password(user, secret))
}

/// A token server that counts: the n-th token is `token-n`.
fn token_server(check: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Server {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |asked, _| {
        if !check(asked) {
            return Reply::new(401, r#"{"details":"incorrect username or password"}"#);
        }
        let count = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        Reply::new(
            200,
            format!(r#"{{"token":"token-{count}","expires_in":300}}"#),
        )
    })
}

/// A registry that wants the bearer token `accepted`.
fn bearer_registry(realm: String, accepted: &'static str) -> Server {
    Server::start(move |asked, _| {
        if asked.header("authorization") == Some(&format!("Bearer {accepted}")) {
            return Reply::new(200, manifest());
        }
        Reply::new(401, "").header(
            "WWW-Authenticate",
            format!(r#"Bearer realm="{realm}",service="r.io",scope="repository:a:pull""#),
        )
    })
}

#[test]
fn a_token_is_fetched_shown_and_kept() {
    let tokens = token_server(|_| true);
    let registry = bearer_registry(tokens.url("/token"), "token-1");
    let client = client();
    client.manifest(&registry.reference("a")).unwrap();
    client.manifest(&registry.reference("a:2")).unwrap();
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "the token is kept");
    assert_eq!(asked[0].method, "GET");
    assert_eq!(
        asked[0].target,
        "/token?service=r.io&scope=repository%3Aa%3Apull"
    );
    assert_eq!(asked[0].header("authorization"), None, "anonymous");
    assert_eq!(
        registry.asked().len(),
        3,
        "the second time it is shown unasked"
    );
}

#[test]
fn an_expired_token_is_fetched_again() {
    let tokens = token_server(|_| true);
    let realm = tokens.url("/token");
    // The registry takes each token for two requests.
    let uses = std::sync::Mutex::new(std::collections::HashMap::<String, u32>::new());
    let registry = Server::start(move |asked, _| {
        if let Some(shown) = asked.header("authorization") {
            let mut uses = uses.lock().unwrap();
            let used = uses.entry(shown.to_owned()).or_default();
            *used += 1;
            if *used <= 2 {
                return Reply::new(200, manifest());
            }
        }
        Reply::new(401, "").header("WWW-Authenticate", format!("Bearer realm=\"{realm}\""))
    });
    let client = client();
    for _ in 0..5 {
        client.manifest(&registry.reference("a")).unwrap();
    }
    assert_eq!(tokens.asked().len(), 3);
}

#[test]
fn many_threads_share_one_token() {
    let tokens = token_server(|_| true);
    let registry = bearer_registry(tokens.url("/token"), "token-1");
    let client = client();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.manifest(&registry.reference("a")).unwrap());
        }
    });
    assert_eq!(tokens.asked().len(), 1);
}

#[test]
fn a_password_goes_to_the_token_server_only() {
    // dXNlcjpwOnc= is `user:p:w`.
    let tokens = token_server(|asked| asked.header("authorization") == Some("Basic dXNlcjpwOnc="));
    let registry = bearer_registry(tokens.url("/token"), "token-1");
    let reference = registry.reference("a");
    client_with(&registry, "user", "p:w")
        .manifest(&reference)
        .unwrap();
    assert!(tokens.asked()[0].target.ends_with("&account=user"));
    let leaked = |asked: &Asked| {
        asked
            .header("authorization")
            .is_some_and(|value| value.starts_with("Basic"))
    };
    assert!(!registry.asked().iter().any(leaked));

    let error = client_with(&registry, "user", "geheim")
        .manifest(&reference)
        .unwrap_err();
    assert!(
        matches!(
            &error,
            RegistryError::Denied {
                identity: Identity::Known,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("incorrect username"), "{error}");
    assert!(!format!("{error} {error:?}").contains("geheim"));
}

#[test]
fn an_identity_token_is_exchanged() {
    let tokens = token_server(|asked| asked.method == "POST");
    let registry = bearer_registry(tokens.url("/token"), "token-1");
    client_as(&registry, Credentials::Identity(Secret::new("re fresh")))
        .manifest(&registry.reference("a"))
        .unwrap();
    let form = &tokens.asked()[0].body;
    assert!(form.contains("grant_type=refresh_token"), "{form}");
    assert!(form.contains("refresh_token=re%20fresh"), "{form}");
    assert!(form.contains("service=r.io"), "{form}");
}

#[test]
fn a_given_bearer_token_is_shown_as_it_is() {
    let registry = bearer_registry("http://127.0.0.1:1/none".into(), "mine");
    client_as(&registry, Credentials::Bearer(Secret::new("mine")))
        .manifest(&registry.reference("a"))
        .unwrap();
}

#[test]
fn denials_say_whom_to_log_in_to() {
    let tokens = token_server(|_| true);
    let registry = bearer_registry(tokens.url("/token"), "another");
    let error = client().manifest(&registry.reference("a")).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let login = format!("gamut login {}", registry.authority);
    assert!(error.hint().unwrap().contains(&login), "{:?}", error.hint());
    assert_eq!(registry.asked().len(), 2, "no third time");

    let forbidden = Server::start(|_, _| Reply::new(403, ""));
    let error = client().manifest(&forbidden.reference("a")).unwrap_err();
    assert!(
        matches!(
            error,
            RegistryError::Denied {
                identity: Identity::Anonymous,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn other_registries_do_not_see_the_credentials() {
    let registry = Server::start(|asked, _| match asked.header("authorization") {
        None => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x"),
        Some(_) => Reply::new(200, manifest()),
    });
    let other =
        Server::start(|_, _| Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x"));
    let client = client_with(&registry, "user", "password");
    client.manifest(&registry.reference("a")).unwrap();
    client.manifest(&other.reference("a")).unwrap_err();
    assert!(
        other
            .asked()
            .iter()
            .all(|a| a.header("authorization").is_none())
    );
}

#[test]
fn malformed_tokens_are_not_sent() {
    for answer in ["<html>", r#"{"token":"a\r\nHost: evil"}"#, r#"{"token":7}"#] {
        let tokens = Server::start(move |_, _| Reply::new(200, answer));
        let registry = bearer_registry(tokens.url("/token"), "x");
        let error = client().manifest(&registry.reference("a")).unwrap_err();
        assert!(matches!(error, RegistryError::Malformed { .. }), "{error}");
        assert!(!error.to_string().contains("evil"), "{error}");
    }
}

#[test]
fn a_broken_token_server_is_not_a_missing_image() {
    let tokens = Server::start(|_, before| Reply::new(if before == 0 { 503 } else { 404 }, ""));
    let registry = bearer_registry(tokens.url("/token"), "x");
    let error = client().manifest(&registry.reference("a")).unwrap_err();
    assert!(
        matches!(error, RegistryError::Unexpected { status: 404, .. }),
        "{error}"
    );
    assert_eq!(tokens.asked().len(), 2, "the 503 was tried again");
}

#[test]
fn a_login_is_tried_before_it_is_kept() {
    let tokens = token_server(|asked| asked.header("authorization") == Some("Basic dTpw"));
    let registry = bearer_registry(tokens.url("/token"), "token-1");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let files = AuthFiles::new(vec![path.clone()]);
    let client = client();

    let error = client
        .login(&registry.authority, &password("u", "geheim"), &files)
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::LoginRefused { .. }),
        "{error}"
    );
    assert!(!path.exists(), "nothing is kept");

    let stored = client
        .login(&registry.authority, &password("u", "p"), &files)
        .unwrap();
    assert_eq!(stored, Stored::File(path));
    let found = files.lookup(&registry.authority, "any").unwrap();
    assert_eq!(found, Some(password("u", "p")));
    let asked = registry.asked();
    assert!(asked.iter().all(|asked| asked.target == "/v2/"));

    // And the kept one is used.
    let client = Client::new(Options {
        auth: AuthSource::Files(files.clone()),
        ..options()
    });
    client.manifest(&registry.reference("a")).unwrap_err();
    assert!(
        tokens.asked().last().unwrap().header("authorization") == Some("Basic dTpw"),
        "the stored password was shown"
    );
    files.erase(&registry.authority).unwrap();
    assert!(matches!(
        files.erase(&registry.authority),
        Err(AuthError::NotLoggedIn(_))
    ));
}

#[test]
fn nothing_shows_a_secret() {
    let registry = Server::start(|asked, _| match asked.header("authorization") {
        None => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x"),
        Some(_) => Reply::new(200, "12345"),
    });
    let client = client_with(&registry, "user", "geheim");
    let descriptor = descriptor_of(b"12345", MediaType::OciLayer(Compression::None));
    let mut reader = client
        .blob(&registry.reference("a"), &descriptor, 0)
        .unwrap();
    reader.read_to_end(&mut Vec::new()).unwrap();
    let shown = format!("{client:?} {reader:?}");
    assert!(!shown.contains("geheim"), "{shown}");
    // dXNlcjpnZWhlaW0= is `user:geheim`.
    assert!(!shown.contains("dXNlcjpnZWhlaW0"), "{shown}");
}

/// Where [`helpers_are_spoken_to`] keeps its files when it runs again with a search path of its own.
const HELPER_DIRECTORY: &str = "GAMUT_TEST_HELPER_DIRECTORY";

#[test]
fn helpers_are_spoken_to() {
    if let Some(directory) = std::env::var_os(HELPER_DIRECTORY) {
        return speak_to_helpers(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("docker-credential-test");
    // Keeps what it is given in a file named by the server, which has no slash in this test.
    let script = r#"#!/bin/sh
cd "$GAMUT_TEST_HELPER_DIRECTORY" || exit 1
case $1 in
store) cat > stored ;;
erase) read -r server; rm -f stored ;;
get)
    read -r server
    case $server in
    broken*) echo "out of order"; exit 3 ;;
    odd*) echo '{"Secret": ["geheim"]}'; exit 0 ;;
    esac
    [ -f stored ] || { echo "credentials not found in native keychain"; exit 1; }
    cat stored ;;
esac
"#;
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        directory.path().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "auth::helpers_are_spoken_to", "--nocapture"])
        .env("PATH", path)
        .env(HELPER_DIRECTORY, directory.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn speak_to_helpers(directory: &Path) {
    let config = directory.join("config.json");
    std::fs::write(
        &config,
        r#"{"credsStore":"test","credHelpers":{"gone.io":"gamut-gone"}}"#,
    )
    .unwrap();
    let files = AuthFiles::new(vec![config.clone()]);
    assert_eq!(files.lookup("a.io", "x").unwrap(), None);
    let stored = files.store("a.io", &password("u", "geheim")).unwrap();
    assert_eq!(stored, Stored::Helper("docker-credential-test".into()));
    let kept = std::fs::read_to_string(&config).unwrap();
    assert!(kept.contains("a.io") && !kept.contains("geheim"), "{kept}");
    let found = files.lookup("a.io", "x").unwrap();
    assert_eq!(found, Some(password("u", "geheim")));
    files.erase("a.io").unwrap();
    assert_eq!(files.lookup("a.io", "x").unwrap(), None);

    let token = Credentials::Identity(Secret::new("t"));
    files.store("a.io", &token).unwrap();
    assert_eq!(files.lookup("a.io", "x").unwrap(), Some(token));

    let error = files.lookup("broken.io", "x").unwrap_err();
    assert!(error.to_string().contains("out of order"), "{error}");
    let error = files.lookup("odd.io", "x").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
    let error = files.lookup("gone.io", "x").unwrap_err();
    assert!(matches!(error, AuthError::HelperMissing { .. }), "{error}");
    assert_eq!(error.kind(), Kind::HostLacks);
}
