//! Blobs and documents on their way up, to registries that are forgetful, busy or particular.

use std::sync::{Arc, Mutex};

use gamut_registry::{Client, Mounted, Options, RegistryError, Subject};
use gamut_spec::image::{Compression, MediaType};
use gamut_spec::{Fault, Kind};

use crate::server::{Asked, Reply, Server, client, descriptor_of, digest_of, options};

/// A registry that takes one blob, in whatever pieces.
#[derive(Default)]
struct Taken {
    bytes: String,
    whole: bool,
}

/// What a registry does before it does what it should. `None`: it does that.
type Whim = fn(&Asked, usize, &mut Taken) -> Option<Reply>;

fn registry(whim: Whim) -> (Server, Arc<Mutex<Taken>>) {
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let shelf = taken.clone();
    let server = Server::start(move |asked, before| {
        let taken = &mut *shelf.lock().unwrap();
        whim(asked, before, taken).unwrap_or_else(|| take(asked, taken))
    });
    (server, taken)
}

fn take(asked: &Asked, taken: &mut Taken) -> Reply {
    let located = |status| Reply::new(status, "").header("Location", "/v2/a/blobs/uploads/1?s=x");
    match asked.method.as_str() {
        "HEAD" => Reply::new(if taken.whole { 200 } else { 404 }, ""),
        "POST" => {
            taken.bytes.clear();
            located(202)
        }
        "GET" => {
            let last = taken.bytes.len().saturating_sub(1);
            located(204).header("Range", format!("0-{last}"))
        }
        "PATCH" => {
            let start = asked.header("content-range").unwrap().split('-').next();
            if start.unwrap() != taken.bytes.len().to_string() {
                return Reply::new(416, "");
            }
            taken.bytes += &asked.body;
            located(202)
        }
        "PUT" => {
            taken.bytes += &asked.body;
            let right = digest_of(taken.bytes.as_bytes()).to_string();
            let named = asked
                .target
                .replace("%3A", ":")
                .ends_with(&format!("digest={right}"));
            taken.whole = named;
            Reply::new(if named { 201 } else { 400 }, "")
        }
        other => panic!("{other}"),
    }
}

fn text(length: usize) -> String {
    (0..length)
        .map(|n| char::from(b'a' + (n * n % 23) as u8))
        .collect()
}

fn push(server: &Server, text: &str) -> Result<(), RegistryError> {
    let client = Client::new(Options {
        chunk_bytes: 1000,
        ..options()
    });
    let descriptor = descriptor_of(text.as_bytes(), MediaType::OciLayer(Compression::None));
    client.push_blob(&server.reference("a"), &descriptor, &text.as_bytes())
}

fn methods(server: &Server) -> Vec<String> {
    server
        .asked()
        .into_iter()
        .map(|asked| asked.method)
        .collect()
}

#[test]
fn a_short_blob_goes_up_at_once_and_a_long_one_in_chunks() {
    let (server, taken) = registry(|_, _, _| None);
    push(&server, &text(1000)).unwrap();
    assert_eq!(taken.lock().unwrap().bytes, text(1000));
    assert_eq!(methods(&server), ["POST", "PUT"]);
    let (server, taken) = registry(|_, _, _| None);
    push(&server, &text(2500)).unwrap();
    assert_eq!(taken.lock().unwrap().bytes, text(2500));
    assert_eq!(methods(&server), ["POST", "PATCH", "PATCH", "PATCH", "PUT"]);
    push(&server, "").unwrap();
}

#[test]
fn an_upload_goes_on_where_the_registry_has_it() {
    let (server, taken) = registry(|asked, _, taken| {
        // Half of the second chunk comes in, then something breaks.
        let breaks = asked.method == "PATCH" && taken.bytes.len() == 1000;
        breaks.then(|| {
            taken.bytes += &asked.body[..500];
            Reply::new(503, "")
        })
    });
    push(&server, &text(2500)).unwrap();
    assert_eq!(taken.lock().unwrap().bytes, text(2500));
    assert_eq!(
        methods(&server),
        ["POST", "PATCH", "PATCH", "GET", "PATCH", "PUT"]
    );
}

#[test]
fn a_forgotten_upload_is_begun_anew() {
    let (server, taken) = registry(|asked, before, taken| {
        let forgets = taken.bytes.len() == 2000 && before < 3;
        match asked.method.as_str() {
            "PATCH" if forgets => Some(Reply::new(404, "")),
            "GET" => Some(Reply::new(404, "")),
            _ => None,
        }
    });
    push(&server, &text(2500)).unwrap();
    assert_eq!(taken.lock().unwrap().bytes, text(2500));
}

#[test]
fn a_registry_without_chunks_gets_it_in_one_piece() {
    let (server, taken) =
        registry(|asked, _, _| (asked.method == "PATCH").then(|| Reply::new(405, "")));
    push(&server, &text(2500)).unwrap();
    assert_eq!(taken.lock().unwrap().bytes, text(2500));
    assert_eq!(methods(&server), ["POST", "PATCH", "POST", "PUT"]);
}

#[test]
fn the_registry_may_want_longer_chunks() {
    let (server, taken) = registry(|asked, _, taken| {
        (asked.method == "POST").then(|| take(asked, taken).header("OCI-Chunk-Min-Length", "2000"))
    });
    push(&server, &text(2500)).unwrap();
    assert_eq!(taken.lock().unwrap().bytes, text(2500));
    assert_eq!(methods(&server), ["POST", "PATCH", "PATCH", "PUT"]);
}

#[test]
fn what_is_denied_or_fails_for_good_is_said() {
    let (server, _) =
        registry(|_, _, _| Some(Reply::new(403, r#"{"errors":[{"message":"read only"}]}"#)));
    let error = push(&server, &text(10)).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("read only"), "{error}");
    let (server, _) = registry(|_, _, _| Some(Reply::new(503, "")));
    let error = push(&server, &text(10)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(server.asked().len(), 4, "as often as it is patient");
    let (server, _) = registry(|asked, _, _| (asked.method == "POST").then(|| Reply::new(202, "")));
    let error = push(&server, &text(10)).unwrap_err();
    assert!(matches!(error, RegistryError::Malformed { .. }), "{error}");
}

#[test]
fn an_upload_elsewhere_gets_no_credentials() {
    let elsewhere = Arc::new(registry(|_, _, _| None));
    let there = elsewhere.0.url("/up?x=1");
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        None => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"r\""),
        Some(_) => Reply::new(202, "").header("Location", there.clone()),
    });
    let client = crate::auth::client_with(&server, "user", "secret");
    let text = text(100);
    let descriptor = descriptor_of(text.as_bytes(), MediaType::OciConfig);
    client
        .push_blob(&server.reference("a"), &descriptor, &text.as_bytes())
        .unwrap();
    let sent = elsewhere.0.asked();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].header("authorization"), None);
    assert!(sent[0].target.starts_with("/up?x=1&digest=sha256"));
}

#[test]
fn a_blob_is_mounted_or_the_upload_taken_back() {
    let digest = digest_of(b"x");
    let server = Server::start(|asked, _| match asked.method.as_str() {
        "POST" if asked.target.contains("from=org%2Fbase") => Reply::new(201, ""),
        "POST" if asked.target.contains("from=denied") => Reply::new(403, ""),
        "POST" => Reply::new(202, "").header("Location", "/v2/a/blobs/uploads/7"),
        _ => Reply::new(204, ""),
    });
    let mount = |from| client().mount_blob(&server.reference("a"), &digest, from);
    assert_eq!(mount("org/base").unwrap(), Mounted::Yes);
    assert_eq!(mount("denied").unwrap(), Mounted::No);
    assert_eq!(server.asked().len(), 2);
    assert_eq!(mount("other").unwrap(), Mounted::No);
    let last = server.asked().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.target.as_str()),
        ("DELETE", "/v2/a/blobs/uploads/7")
    );
}

#[test]
fn a_token_for_mounting_is_for_both_repositories() {
    let tokens = Server::start(|_, _| Reply::new(200, r#"{"token":"t"}"#));
    let realm = tokens.url("/token");
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        None => Reply::new(401, "").header(
            "WWW-Authenticate",
            format!(r#"Bearer realm="{realm}",scope="repository:a:pull,push""#),
        ),
        Some(_) => Reply::new(201, ""),
    });
    let digest = digest_of(b"x");
    let mounted = client().mount_blob(&server.reference("a"), &digest, "b");
    assert_eq!(mounted.unwrap(), Mounted::Yes);
    let asked = tokens.asked().pop().unwrap().target;
    assert!(asked.contains("repository%3Aa%3Apull%2Cpush"), "{asked}");
    assert!(asked.contains("repository%3Ab%3Apull"), "{asked}");
}

#[test]
fn a_document_is_put_and_its_digest_compared() {
    let server = Server::start(|asked, _| {
        let reply = Reply::new(201, "");
        match asked.target.as_str() {
            "/v2/a/manifests/noted" => reply.header("OCI-Subject", "sha256:00"),
            "/v2/a/manifests/wrong" => {
                reply.header("Docker-Content-Digest", digest_of(b"other").to_string())
            }
            _ => reply.header(
                "Docker-Content-Digest",
                digest_of(asked.body.as_bytes()).to_string(),
            ),
        }
    });
    let put = |name: &str| {
        client().push_manifest(&server.reference(name), &MediaType::OciManifest, b"{}")
    };
    assert_eq!(put("a:1").unwrap().subject, Subject::Ignored);
    assert_eq!(put("a:noted").unwrap().subject, Subject::Noted);
    let error = put("a:wrong").unwrap_err();
    assert!(matches!(error, RegistryError::Misfiled { .. }), "{error}");
    let sent = &server.asked()[0];
    assert_eq!(
        sent.header("content-type"),
        Some(MediaType::OciManifest.as_str())
    );
    assert_eq!(sent.body, "{}");
}
