//! A small HTTP server that does whatever a test wants done to a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gamut_registry::{Client, Options, Patience, Timeouts};
use gamut_spec::image::{Descriptor, MediaType};
use gamut_spec::{Digest, Reference};
use sha2::{Digest as _, Sha256};

/// What the client asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first byte of the range that was asked for.
    pub(crate) fn start(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Proper,
    /// The connection is closed after this many bytes of the body.
    CutAt(usize),
    /// In chunks, without a length.
    Chunked,
    /// In chunks, the body again and again.
    Endless,
    /// In chunks of one byte with a wait before each, this long.
    Dripping(Duration),
}

/// What the server does.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ending: Ending,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
            ending: Ending::Proper,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn ending(mut self, ending: Ending) -> Reply {
        self.ending = ending;
        self
    }

    /// The rest of `blob` from `start` on, as a server that knows ranges sends it.
    pub(crate) fn part(blob: &[u8], start: usize) -> Reply {
        let (last, total) = (blob.len() - 1, blob.len());
        Reply::new(206, &blob[start..])
            .header("Content-Range", format!("bytes {start}-{last}/{total}"))
    }

    fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let chunked = matches!(
            self.ending,
            Ending::Chunked | Ending::Endless | Ending::Dripping(_)
        );
        write!(
            stream,
            "HTTP/1.1 {} X\r\nConnection: close\r\n",
            self.status
        )?;
        for (name, value) in &self.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        if chunked {
            write!(stream, "Transfer-Encoding: chunked\r\n\r\n")?;
        } else {
            write!(stream, "Content-Length: {}\r\n\r\n", self.body.len())?;
        }
        let chunk = |stream: &mut TcpStream| {
            write!(stream, "{:x}\r\n", self.body.len())?;
            stream.write_all(&self.body)?;
            stream.write_all(b"\r\n")
        };
        match self.ending {
            Ending::Proper => stream.write_all(&self.body),
            Ending::CutAt(at) => stream.write_all(&self.body[..at.min(self.body.len())]),
            Ending::Chunked => {
                if !self.body.is_empty() {
                    chunk(stream)?;
                }
                stream.write_all(b"0\r\n\r\n")
            }
            Ending::Dripping(wait) => {
                for byte in &self.body {
                    std::thread::sleep(wait);
                    stream.write_all(b"1\r\n")?;
                    stream.write_all(&[*byte])?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")
            }
            // The client hangs up.
            Ending::Endless => loop {
                chunk(stream)?;
            },
        }
    }
}

/// A server on a port of its own; its threads end with the test's process.
pub(crate) struct Server {
    pub(crate) authority: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `handle` gets each request and how many of the same target came before it.
    pub(crate) fn start(handle: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, handle) = (asked.clone(), Arc::new(handle));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, handle) = (log.clone(), handle.clone());
                std::thread::spawn(move || serve(stream, &log, &*handle));
            }
        });
        Server { authority, asked }
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.authority).parse().unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.authority)
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    handle: &(dyn Fn(&Asked, usize) -> Reply + Send + Sync),
) {
    // A TLS handshake is not HTTP: the client is to find out that TLS is not spoken here.
    let mut first = [0];
    if stream.peek(&mut first).is_err() || !first[0].is_ascii_uppercase() {
        return;
    }
    let Some(asked) = read_request(&stream) else {
        return;
    };
    let before = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|a| a.target == asked.target).count();
        log.push(asked.clone());
        before
    };
    let _ = handle(&asked, before).send(&mut stream);
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut asked = Asked {
        method,
        target,
        headers,
        body: String::new(),
    };
    let length = asked.header("content-length").map(|l| l.parse().unwrap());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

/// A client that does not wait long between attempts.
pub(crate) fn options() -> Options {
    Options {
        patience: Patience {
            retries: 3,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(4),
            longest_asked: Duration::from_secs(5),
        },
        timeouts: Timeouts {
            idle: Duration::from_secs(20),
            ..Timeouts::default()
        },
        certificates: Vec::new(),
        ..Options::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(options())
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::Sha256(Sha256::digest(bytes).into())
}

pub(crate) fn descriptor_of(bytes: &[u8], media_type: MediaType) -> Descriptor {
    Descriptor::new(media_type, digest_of(bytes), bytes.len() as u64)
}

/// Bytes that differ everywhere, so that a slip by one shows.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// A manifest of one empty layer.
pub(crate) fn manifest() -> String {
    let descriptor = |media_type: &str| {
        let digest = digest_of(b"");
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":0}}"#)
    };
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        MediaType::OciManifest,
        descriptor(MediaType::OciConfig.as_str()),
        descriptor("application/vnd.oci.image.layer.v1.tar+gzip"),
    )
}
