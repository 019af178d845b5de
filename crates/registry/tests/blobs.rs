//! Blobs over connections that break, and from registries that lie about them.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use gamut_registry::{Client, Content, Options, RegistryError, Relay, Sent, Timeouts};
use gamut_spec::image::{Compression, MediaType};

use crate::server::{Asked, Ending, Reply, Server, client, descriptor_of, noise, options};

const SIZE: usize = 400_000;

/// Reads the blob of `server` from `start` on.
fn read(server: &Server, blob: &[u8], start: u64) -> Result<Vec<u8>, RegistryError> {
    let descriptor = descriptor_of(blob, MediaType::OciLayer(Compression::None));
    let mut reader = client().blob(&server.reference("a"), &descriptor, start)?;
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.downcast::<RegistryError>().unwrap()),
    }
}

fn serve(
    reply: impl Fn(&Asked, usize, &[u8]) -> Reply + Send + Sync + 'static,
) -> (Server, Vec<u8>) {
    let blob = noise(SIZE);
    let served = blob.clone();
    let server = Server::start(move |asked, before| reply(asked, before, &served));
    (server, blob)
}

#[test]
fn a_dropped_connection_is_taken_up_where_it_broke() {
    // Each connection brings a fifth of the blob: more drops than retries, but each with progress.
    let (server, blob) = serve(|asked, _, blob| match asked.start() {
        None => Reply::new(200, blob).ending(Ending::CutAt(SIZE / 5)),
        Some(start) => Reply::part(blob, start).ending(Ending::CutAt(SIZE / 5)),
    });
    assert_eq!(read(&server, &blob, 0).unwrap(), blob);
    let starts: Vec<_> = server.asked().iter().map(Asked::start).collect();
    let expected = [None, Some(1), Some(2), Some(3), Some(4)].map(|n| n.map(|n| n * SIZE / 5));
    assert_eq!(starts, expected);
}

#[test]
fn a_transfer_may_begin_in_the_midst() {
    let (server, blob) = serve(|asked, _, blob| Reply::part(blob, asked.start().unwrap()));
    assert_eq!(read(&server, &blob, 1000).unwrap(), &blob[1000..]);
    assert_eq!(read(&server, &blob, SIZE as u64).unwrap(), b"");
    assert_eq!(server.asked().len(), 1, "nothing is asked for at the end");
    let error = read(&server, &blob, SIZE as u64 + 1).unwrap_err();
    assert!(matches!(error, RegistryError::BadStart { .. }), "{error}");
}

#[test]
fn a_server_that_ignores_ranges_is_read_past() {
    let (server, blob) = serve(|_, before, blob| {
        let whole = Reply::new(200, blob);
        match before {
            0 => whole.ending(Ending::CutAt(SIZE / 2)),
            // It breaks once more before it is back where it was.
            1 => whole.ending(Ending::CutAt(SIZE / 4)),
            _ => whole.ending(Ending::Chunked),
        }
    });
    assert_eq!(read(&server, &blob, 0).unwrap(), blob);
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn no_progress_is_not_repeated_for_ever() {
    let (server, blob) = serve(|asked, _, blob| match asked.start() {
        None => Reply::new(200, blob).ending(Ending::CutAt(SIZE / 2)),
        // A byte at a time is no progress either.
        Some(start) => Reply::part(blob, start).ending(Ending::CutAt(1)),
    });
    let error = read(&server, &blob, 0).unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { .. }),
        "{error}"
    );
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_registry_that_restarts_midway_is_waited_for() {
    let (server, blob) = serve(|asked, before, blob| match (asked.start(), before) {
        (None, _) => Reply::new(200, blob).ending(Ending::CutAt(SIZE / 2)),
        (Some(_), 1) => Reply::new(503, ""),
        (Some(_), 2) => Reply::new(429, "").header("Retry-After", "0"),
        (Some(start), _) => Reply::part(blob, start),
    });
    assert_eq!(read(&server, &blob, 0).unwrap(), blob);
}

#[test]
fn an_endless_body_ends_at_the_size() {
    let (server, blob) = serve(|_, _, blob| Reply::new(200, blob).ending(Ending::Endless));
    let error = read(&server, &blob, 0).unwrap_err();
    assert!(
        matches!(error, RegistryError::WrongLength { got: Sent::MoreThan(n), .. } if n == SIZE as u64),
        "{error}"
    );
}

#[test]
fn a_wrong_length_is_refused() {
    for wrong in [SIZE - 1, SIZE + 1] {
        let (server, blob) = serve(move |_, _, _| Reply::new(200, noise(wrong)));
        let error = read(&server, &blob, 0).unwrap_err();
        assert!(
            matches!(error, RegistryError::WrongLength { got: Sent::Exactly(n), .. } if n == wrong as u64),
            "{error}"
        );
        assert_eq!(server.asked().len(), 1, "what is wrong stays wrong");
    }
}

#[test]
fn a_body_that_ends_early_is_an_error() {
    let (server, blob) = serve(|asked, _, blob| match asked.start() {
        None => Reply::new(200, &blob[..SIZE / 2]).ending(Ending::Chunked),
        Some(_) => Reply::new(416, "").header("Content-Range", format!("bytes */{}", SIZE / 2)),
    });
    let error = read(&server, &blob, 0).unwrap_err();
    assert!(
        matches!(error, RegistryError::WrongLength { got: Sent::Exactly(n), .. } if n == SIZE as u64 / 2),
        "{error}"
    );
}

#[test]
fn a_range_that_was_not_asked_for_is_refused() {
    let (server, blob) = serve(|asked, _, blob| match asked.start() {
        None => Reply::new(200, blob).ending(Ending::CutAt(SIZE / 2)),
        Some(start) => Reply::part(blob, start + 1),
    });
    let error = read(&server, &blob, 0).unwrap_err();
    assert!(matches!(error, RegistryError::Malformed { .. }), "{error}");
    let (server, blob) = serve(|asked, _, blob| {
        Reply::part(blob, asked.start().unwrap()).header("Content-Range", "nonsense")
    });
    // The first of two headers counts; it is sound.
    assert_eq!(read(&server, &blob, 7).unwrap(), &blob[7..]);
}

#[test]
fn a_missing_blob_is_named() {
    let (server, blob) = serve(|_, _, _| Reply::new(404, ""));
    let error = read(&server, &blob, 0).unwrap_err();
    assert!(
        matches!(error, RegistryError::BlobUnknown { .. }),
        "{error}"
    );
}

#[test]
fn a_redirect_is_followed_without_credentials_even_on_resumption() {
    let blob = noise(SIZE);
    let served = blob.clone();
    let network = Arc::new(Server::start(move |asked, before| {
        if asked.header("authorization").is_some() {
            return Reply::new(400, "credentials leaked");
        }
        match (asked.start(), before) {
            (None, _) => Reply::new(200, served.as_slice()).ending(Ending::CutAt(SIZE / 2)),
            (Some(start), _) => Reply::part(&served, start),
        }
    }));
    let target = network.url("/cdn/blob?signature=geheim");
    let registry = Server::start(move |asked, _| match asked.header("authorization") {
        None => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"r\""),
        Some(_) => Reply::new(307, "").header("Location", target.as_str()),
    });
    let descriptor = descriptor_of(&blob, MediaType::OciLayer(Compression::None));
    let client = crate::auth::client_with(&registry, "user", "password");
    let mut bytes = Vec::new();
    client
        .blob(&registry.reference("a"), &descriptor, 0)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, blob);
    assert_eq!(network.asked().len(), 2);
    let registry_asked = registry.asked();
    assert_eq!(
        registry_asked.len(),
        3,
        "a challenge, then known credentials twice"
    );
}

#[test]
fn redirects_have_an_end_and_errors_no_signatures() {
    let (server, blob) =
        serve(|_, _, _| Reply::new(307, "").header("Location", "/v2/again?signature=geheim"));
    let error = read(&server, &blob, 0).unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
    assert!(
        !format!("{error} {error:?}").contains("geheim"),
        "{error:?}"
    );
    let (server, blob) = serve(|_, _, _| Reply::new(307, "").header("Location", "ftp://x/"));
    let error = read(&server, &blob, 0).unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
}

#[test]
fn readers_work_in_parallel() {
    let (server, blob) = serve(|asked, before, blob| match asked.start() {
        None if before % 2 == 0 => Reply::new(200, blob).ending(Ending::CutAt(SIZE / 3)),
        None => Reply::new(200, blob),
        Some(start) => Reply::part(blob, start),
    });
    let client = client();
    let descriptor = descriptor_of(&blob, MediaType::OciLayer(Compression::None));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut bytes = Vec::new();
                client
                    .blob(&server.reference("a"), &descriptor, 0)
                    .unwrap()
                    .read_to_end(&mut bytes)
                    .unwrap();
                assert!(bytes == blob);
            });
        }
    });
}

/// Slow-loris: each byte comes in time, the blob never would.
#[test]
fn a_blob_that_drips_is_given_up() {
    let (server, blob) = serve(|_, _, blob| {
        Reply::new(200, blob).ending(Ending::Dripping(Duration::from_millis(1)))
    });
    let client = Client::new(Options {
        timeouts: Timeouts {
            stall: Duration::from_millis(100),
            ..options().timeouts
        },
        ..options()
    });
    let descriptor = descriptor_of(&blob, MediaType::OciLayer(Compression::None));
    let mut reader = client.blob(&server.reference("a"), &descriptor, 0).unwrap();
    let mut bytes = Vec::new();
    let error = reader.read_to_end(&mut bytes).unwrap_err();
    let error = RegistryError::within(&error).unwrap().to_string();
    assert!(error.contains("in time"), "{error}");
    assert!(blob.starts_with(&bytes), "what came is right");
    let error = client.manifest(&server.reference("a")).unwrap_err();
    assert!(error.to_string().contains("in time"), "{error}");
}

#[test]
fn a_relayed_blob_is_never_whole_unless_it_is_right() {
    let (server, blob) = serve(|asked, _, blob| match asked.target.contains("/lies/") {
        true => {
            let mut wrong = blob.to_vec();
            wrong[SIZE / 2] ^= 1;
            Reply::new(200, wrong)
        }
        false => Reply::new(200, blob),
    });
    let descriptor = descriptor_of(&blob, MediaType::OciLayer(Compression::None));
    let (client, truth, lies) = (client(), server.reference("a"), server.reference("lies"));
    let relay = Relay::new(&client, &truth, &descriptor);
    let read = |relay: &Relay<'_>, offset| {
        let mut bytes = Vec::new();
        let result = relay.read_from(offset).unwrap().read_to_end(&mut bytes);
        (bytes, result)
    };
    assert_eq!(read(&relay, 0).0, blob);
    assert_eq!(
        read(&relay, 1000).0,
        &blob[1000..],
        "from its beginning again"
    );
    let mut piece = vec![0; 5000];
    let relay = Relay::new(&client, &truth, &descriptor);
    relay.read_from(0).unwrap().read_exact(&mut piece).unwrap();
    let asked = server.asked().len();
    assert_eq!(read(&relay, 5000).0, &blob[5000..]);
    assert_eq!(server.asked().len(), asked, "one piece follows the other");
    let (bytes, result) = read(&Relay::new(&client, &lies, &descriptor), 0);
    assert!(bytes.len() < SIZE, "the last bytes are held back");
    let error = result.unwrap_err();
    let error = RegistryError::within(&error).unwrap();
    assert!(
        matches!(error, RegistryError::WrongDigest { .. }),
        "{error}"
    );
}
