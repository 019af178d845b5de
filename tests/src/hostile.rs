//! A registry in the test's own process: it serves images from memory, asks for a login if told to,
//! and misbehaves in one chosen way.

use crate::http::{Request, read_request};
use crate::image::{Blob, Image};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the registry does wrong with layers and configs (never with manifests, unless it says so).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    None,
    /// The first answer for each blob ends half-way; a `Range` request for the rest is honoured.
    DropOnce,
    /// Every answer ends half-way, of what was asked.
    DropAlways,
    /// As `DropOnce`, and ranges are ignored: the whole blob comes again with status 200.
    DropOnceNoRanges,
    /// One bit of each blob is not what its digest says. The length is right.
    WrongBytes,
    /// A blob never ends: no length, and zeros for as long as somebody reads.
    Endless,
    /// Status 503 to the first request for each blob.
    BusyOnce,
    /// Status 429 to everything, with `Retry-After: 0`.
    TooMany,
    /// The manifest has other bytes than its digest header and a by-digest request say.
    WrongManifest,
}

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Anyone,
    /// RFC 7617, user `lab`, password `secret`.
    Basic,
    /// The distribution specification's token flow; the token is had with the same user and password.
    Bearer,
    /// The token flow as public registries have it: the token is had by anyone who asks.
    AnonymousBearer,
}

pub const USER: &str = "lab";
pub const PASSWORD: &str = "secret";
const TOKEN: &str = "a-token-of-the-lab";

/// The running server. It stops serving when the value and its last connection are gone.
#[derive(Debug, Clone)]
pub struct HostileRegistry {
    /// `127.0.0.1:port` in the namespace of the thread that started it.
    pub address: String,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    mischief: Mischief,
    login: Login,
    address: String,
    /// By `repository:tag` and by digest.
    manifests: HashMap<String, Blob>,
    blobs: HashMap<String, Blob>,
    /// How often each blob was asked for, and from which byte on.
    asked: HashMap<String, Vec<u64>>,
}

impl HostileRegistry {
    pub fn start(mischief: Mischief, login: Login) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shelf = Shelf {
            mischief,
            login,
            address: address.clone(),
            manifests: HashMap::new(),
            blobs: HashMap::new(),
            asked: HashMap::new(),
        };
        let registry = Self {
            address,
            shelf: Arc::new(Mutex::new(shelf)),
        };
        let shelf = Arc::clone(&registry.shelf);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&shelf);
                // A peer that goes away in the middle is what some tests are about.
                thread::spawn(move || drop(serve(&stream, &shelf)));
            }
        });
        registry
    }

    /// Puts an image on the shelf under `repository:tag`; returns its full reference.
    pub fn shelve(&self, image: &Image, name: &str) -> String {
        let mut shelf = self.shelf.lock().expect("no panic while serving");
        shelf.manifests.insert(name.to_owned(), image.top.clone());
        for manifest in image.manifests.iter().chain([&image.top]) {
            shelf
                .manifests
                .insert(manifest.digest.clone(), manifest.clone());
        }
        for blob in &image.blobs {
            shelf.blobs.insert(blob.digest.clone(), blob.clone());
        }
        format!("{}/{name}", self.address)
    }

    /// From which byte on each request for this blob asked for it.
    pub fn asked(&self, digest: &str) -> Vec<u64> {
        self.shelf
            .lock()
            .expect("no panic while serving")
            .asked
            .get(digest)
            .cloned()
            .unwrap_or_default()
    }

    /// Behaves differently from now on.
    pub fn turn(&self, mischief: Mischief) {
        self.shelf.lock().expect("no panic while serving").mischief = mischief;
    }
}

/// Whether the connection can carry another request.
type Served = io::Result<bool>;

fn serve(stream: &TcpStream, shelf: &Mutex<Shelf>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let (path, _) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let go_on = if path == "/token" {
            give_token(stream, &request, shelf)?
        } else if !let_in(&request, shelf) {
            challenge(stream, path, shelf)?
        } else if shelf.lock().expect("no panic while serving").mischief == Mischief::TooMany {
            answer(stream, "429 Too Many Requests", "Retry-After: 0\r\n", b"")?
        } else if path == "/v2/" {
            answer(stream, "200 OK", "", b"{}")?
        } else if let Some((repository, reference)) = path
            .strip_prefix("/v2/")
            .and_then(|rest| rest.split_once("/manifests/"))
        {
            give_manifest(stream, &request, repository, reference, shelf)?
        } else if let Some((_, digest)) = path.split_once("/blobs/") {
            give_blob(stream, &request, digest, shelf)?
        } else {
            answer(stream, "404 Not Found", "", b"")?
        };
        if !go_on {
            return Ok(());
        }
    }
    Ok(())
}

fn basic(request: &Request) -> bool {
    let expected = format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))
    );
    request.headers.get("authorization") == Some(&expected)
}

fn let_in(request: &Request, shelf: &Mutex<Shelf>) -> bool {
    match shelf.lock().expect("no panic while serving").login {
        Login::Anyone => true,
        Login::Basic => basic(request),
        Login::Bearer | Login::AnonymousBearer => request
            .headers
            .get("authorization")
            .is_some_and(|value| value == &format!("Bearer {TOKEN}")),
    }
}

fn challenge(stream: &TcpStream, path: &str, shelf: &Mutex<Shelf>) -> Served {
    let (login, address) = {
        let shelf = shelf.lock().expect("no panic while serving");
        (shelf.login, shelf.address.clone())
    };
    let repository = path
        .trim_start_matches("/v2/")
        .split("/manifests/")
        .next()
        .unwrap_or_default();
    let how = match login {
        Login::Basic => "Basic realm=\"lab\"".to_owned(),
        _ => format!(
            "Bearer realm=\"http://{address}/token\",service=\"lab\",scope=\"repository:{repository}:pull\""
        ),
    };
    let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    answer(
        stream,
        "401 Unauthorized",
        &format!("WWW-Authenticate: {how}\r\nContent-Type: application/json\r\n"),
        body,
    )
}

fn give_token(stream: &TcpStream, request: &Request, shelf: &Mutex<Shelf>) -> Served {
    let open = shelf.lock().expect("no panic while serving").login == Login::AnonymousBearer;
    if !open && !basic(request) {
        return answer(
            stream,
            "401 Unauthorized",
            "",
            br#"{"details":"incorrect username or password"}"#,
        );
    }
    let body = format!(r#"{{"token":"{TOKEN}","expires_in":300}}"#);
    answer(
        stream,
        "200 OK",
        "Content-Type: application/json\r\n",
        body.as_bytes(),
    )
}

fn give_manifest(
    stream: &TcpStream,
    request: &Request,
    repository: &str,
    reference: &str,
    shelf: &Mutex<Shelf>,
) -> Served {
    let (found, mischief) = {
        let shelf = shelf.lock().expect("no panic while serving");
        let named = shelf.manifests.get(&format!("{repository}:{reference}"));
        (
            named.or_else(|| shelf.manifests.get(reference)).cloned(),
            shelf.mischief,
        )
    };
    let Some(manifest) = found else {
        return answer(
            stream,
            "404 Not Found",
            "Content-Type: application/json\r\n",
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        );
    };
    let mut bytes = manifest.bytes.to_vec();
    if mischief == Mischief::WrongManifest {
        bytes.push(b' ');
    }
    let headers = format!(
        "Content-Type: {}\r\nDocker-Content-Digest: {}\r\n",
        manifest.media_type, manifest.digest
    );
    match request.method.as_str() {
        "HEAD" => head(stream, &headers, bytes.len()),
        _ => answer(stream, "200 OK", &headers, &bytes),
    }
}

fn give_blob(stream: &TcpStream, request: &Request, digest: &str, shelf: &Mutex<Shelf>) -> Served {
    let from: u64 = request
        .headers
        .get("range")
        .and_then(|range| {
            range
                .trim_start_matches("bytes=")
                .split('-')
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let (blob, mischief, first) = {
        let mut shelf = shelf.lock().expect("no panic while serving");
        let asked = shelf.asked.entry(digest.to_owned()).or_default();
        asked.push(from);
        let first = asked.len() == 1;
        (shelf.blobs.get(digest).cloned(), shelf.mischief, first)
    };
    let Some(blob) = blob else {
        return answer(stream, "404 Not Found", "", b"");
    };
    let mut bytes = blob.bytes.to_vec();
    if request.method == "HEAD" {
        return head(stream, "", bytes.len());
    }
    let ranged =
        from > 0 && (from as usize) < bytes.len() && mischief != Mischief::DropOnceNoRanges;
    let whole = bytes.len();
    let (status, extra) = match ranged {
        true => (
            "206 Partial Content",
            format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1),
        ),
        false => (
            "200 OK",
            "Content-Type: application/octet-stream\r\n".to_owned(),
        ),
    };
    let rest = if ranged {
        bytes.split_off(from as usize)
    } else {
        std::mem::take(&mut bytes)
    };
    match mischief {
        Mischief::BusyOnce if first => {
            answer(stream, "503 Service Unavailable", "Retry-After: 0\r\n", b"")
        }
        Mischief::DropOnce | Mischief::DropOnceNoRanges if first => {
            half(stream, status, &extra, &rest)
        }
        Mischief::DropAlways => half(stream, status, &extra, &rest),
        Mischief::WrongBytes => {
            let mut wrong = rest;
            let middle = wrong.len() / 2;
            wrong[middle] ^= 1;
            answer(stream, status, &extra, &wrong)
        }
        Mischief::Endless => endless(stream),
        _ => answer(stream, status, &extra, &rest),
    }
}

fn head(mut stream: &TcpStream, headers: &str, length: usize) -> Served {
    stream.write_all(
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n").as_bytes(),
    )?;
    Ok(true)
}

fn answer(mut stream: &TcpStream, status: &str, headers: &str, body: &[u8]) -> Served {
    stream.write_all(
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    )?;
    stream.write_all(body)?;
    Ok(true)
}

/// Promises all of `body`, sends half of it, hangs up.
fn half(mut stream: &TcpStream, status: &str, headers: &str, body: &[u8]) -> Served {
    stream.write_all(
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    )?;
    stream.write_all(&body[..body.len() / 2])?;
    Ok(false)
}

fn endless(mut stream: &TcpStream) -> Served {
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    loop {
        stream.write_all(&[0; 65536])?;
    }
}
