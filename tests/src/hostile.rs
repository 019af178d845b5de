//! A registry in the test's own process: it serves images from memory, asks for a login if told to,
//! and misbehaves in one chosen way.

use crate::http::{Request, read_request};
use crate::image::{Blob, Image};
use crate::listening::Listening;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

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
    /// Every connection that asks for a blob is closed.
    Gone,
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

/// The running server. It takes no more connections when the last clone is gone.
#[derive(Debug, Clone)]
pub struct HostileRegistry {
    /// `127.0.0.1:port` in the namespace of the thread that started it.
    pub address: String,
    shelf: Arc<Mutex<Shelf>>,
    _listening: Arc<Listening>,
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
    /// Bytes of a blob that are given to nobody for now.
    held: HashMap<String, Range<u64>>,
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
            held: HashMap::new(),
        };
        let shelf = Arc::new(Mutex::new(shelf));
        let served = Arc::clone(&shelf);
        let listening = Listening::start(listener, move |stream| {
            let shelf = Arc::clone(&served);
            // A peer that goes away in the middle is what some tests are about.
            thread::spawn(move || drop(serve(&stream, &shelf)));
        });
        Self {
            address,
            shelf,
            _listening: Arc::new(listening),
        }
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

    /// The document with this digest or `repository:tag`.
    pub fn manifest(&self, name: &str) -> Option<Blob> {
        let shelf = self.shelf.lock().expect("no panic while serving");
        shelf.manifests.get(name).cloned()
    }

    /// The blob with this digest.
    pub fn blob(&self, digest: &str) -> Option<Blob> {
        let shelf = self.shelf.lock().expect("no panic while serving");
        shelf.blobs.get(digest).cloned()
    }

    /// Puts a blob on the shelf under its digest, whatever its bytes are.
    pub fn put_blob(&self, blob: Blob) {
        let mut shelf = self.shelf.lock().expect("no panic while serving");
        shelf.blobs.insert(blob.digest.clone(), blob);
    }

    /// Puts a document there under `repository:tag`, or `repository:` and its digest.
    pub fn put_manifest(&self, name: &str, manifest: Blob) {
        let mut shelf = self.shelf.lock().expect("no panic while serving");
        shelf.manifests.insert(name.to_owned(), manifest);
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

    /// Has every request for any of these bytes of a blob wait for [`HostileRegistry::release`].
    pub fn hold(&self, digest: &str, bytes: Range<u64>) {
        let mut shelf = self.shelf.lock().expect("no panic while serving");
        shelf.held.insert(digest.to_owned(), bytes);
    }

    /// Gives what was held.
    pub fn release(&self) {
        self.shelf
            .lock()
            .expect("no panic while serving")
            .held
            .clear();
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
        let mut body = Vec::new();
        let length = request.headers.get("content-length");
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        (&mut reader).take(length).read_to_end(&mut body)?;
        let go_on = if path == "/token" {
            give_token(stream, &request, shelf)?
        } else if !let_in(&request, shelf) {
            challenge(stream, path, shelf)?
        } else if shelf.lock().expect("no panic while serving").mischief == Mischief::TooMany {
            answer(stream, "429 Too Many Requests", "Retry-After: 0\r\n", b"")?
        } else if matches!(request.method.as_str(), "POST" | "PUT") {
            take(stream, &request, body, shelf)?
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

/// Takes a blob in one piece, or a manifest, whose subject it does not look at.
fn take(stream: &TcpStream, request: &Request, body: Vec<u8>, shelf: &Mutex<Shelf>) -> Served {
    let (path, query) = request.target.split_once('?').unwrap_or_default();
    let path = if path.is_empty() {
        request.target.as_str()
    } else {
        path
    };
    if request.method == "POST" {
        let headers = format!("Location: {path}1\r\n");
        return answer(stream, "202 Accepted", &headers, b"");
    }
    let media_type = request.headers.get("content-type");
    let blob = Blob::new(media_type.map_or("", String::as_str), body);
    let mut shelf = shelf.lock().expect("no panic while serving");
    let headers = format!("Docker-Content-Digest: {}\r\n", blob.digest);
    let manifest = path
        .strip_prefix("/v2/")
        .and_then(|rest| rest.split_once("/manifests/"));
    match (manifest, query.strip_prefix("digest=")) {
        (Some((repository, reference)), _) => {
            let name = format!("{repository}:{reference}");
            shelf.manifests.insert(name, blob.clone());
            shelf.manifests.insert(blob.digest.clone(), blob);
        }
        (None, Some(digest)) if digest.replace("%3A", ":") == blob.digest => {
            shelf.blobs.insert(blob.digest.clone(), blob);
        }
        _ => return answer(stream, "400 Bad Request", "", b""),
    }
    drop(shelf);
    answer(stream, "201 Created", &headers, b"")
}

fn give_blob(stream: &TcpStream, request: &Request, digest: &str, shelf: &Mutex<Shelf>) -> Served {
    let range = request.headers.get("range").map(String::as_str);
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (from, to) = range.unwrap_or(("", ""));
    let from: u64 = from.parse().unwrap_or(0);
    // The byte after the last.
    let to: Option<u64> = to.parse().ok().map(|last: u64| last + 1);
    wait_for(shelf, digest, from..to.unwrap_or(u64::MAX));
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
    let ranged = (from > 0 || to.is_some())
        && (from as usize) < bytes.len()
        && mischief != Mischief::DropOnceNoRanges;
    let whole = bytes.len();
    if let Some(to) = to.filter(|_| ranged) {
        bytes.truncate(to as usize);
    }
    let (status, extra) = match ranged {
        true => (
            "206 Partial Content",
            format!(
                "Content-Range: bytes {from}-{}/{whole}\r\n",
                bytes.len() - 1
            ),
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
        Mischief::Gone => Ok(false),
        _ => answer(stream, status, &extra, &rest),
    }
}

/// Waits until none of these bytes is held.
fn wait_for(shelf: &Mutex<Shelf>, digest: &str, bytes: Range<u64>) {
    loop {
        let held = shelf
            .lock()
            .expect("no panic while serving")
            .held
            .get(digest)
            .cloned();
        match held {
            Some(held) if held.start < bytes.end && bytes.start < held.end => {
                thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
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
