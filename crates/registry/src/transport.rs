//! One HTTP exchange: connection, proxy, TLS, and the reason when there is none.
//!
//! Nothing here knows registries: redirects are not followed, statuses are not judged, nothing is
//! tried twice.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{HeaderName, HeaderValue, Request, Response};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::error::{Cause, RegistryError};
use crate::proxy::{ProxySettings, without_credentials};
use crate::tls::{Authorities, Trust};
use crate::url::Url;

/// How long to wait for what. None of them bounds the transfer of a whole blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a name to become addresses.
    pub resolve: Duration,
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For the next bytes to come or go.
    pub idle: Duration,
    /// For a blob's next 16 KiB to come, and for a document to come as a whole: who sends byte by byte
    /// is never idle.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            resolve: Duration::from_secs(20),
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(120),
        }
    }
}

/// Bytes that are to be sent, as often as it takes.
pub trait Content: Sync {
    /// Those from `offset` on. Fewer than were promised are an error to the registry.
    fn read_from(&self, offset: u64) -> io::Result<Box<dyn io::Read + '_>>;
}

/// Bytes in memory.
impl Content for &[u8] {
    fn read_from(&self, offset: u64) -> io::Result<Box<dyn io::Read + '_>> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.len());
        Ok(Box::new(&self[start..]))
    }
}

/// The method of a request, and what is sent with it.
#[derive(Clone, Copy)]
pub(crate) enum Outgoing<'a> {
    Get,
    Head,
    Delete,
    /// POST of `application/x-www-form-urlencoded`.
    Form(&'a str),
    /// POST of nothing.
    Post,
    Put(Part<'a>),
    Patch(Part<'a>),
}

/// A piece of a content.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) content: &'a dyn Content,
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u64,
}

impl Outgoing<'_> {
    /// Nothing changes by it, so it may be asked of whomever a redirect names.
    pub(crate) fn only_asks(&self) -> bool {
        matches!(self, Outgoing::Get | Outgoing::Head)
    }

    fn method(&self) -> &'static str {
        match self {
            Outgoing::Get => "GET",
            Outgoing::Head => "HEAD",
            Outgoing::Delete => "DELETE",
            Outgoing::Form(_) | Outgoing::Post => "POST",
            Outgoing::Put(_) => "PUT",
            Outgoing::Patch(_) => "PATCH",
        }
    }
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method())
    }
}

/// Header lines of a request.
pub(crate) type Headers<'a> = &'a [(HeaderName, HeaderValue)];

/// Keeps connections, apart by whom they trust and which proxy they go through.
pub(crate) struct Transport {
    authorities: Authorities,
    proxies: ProxySettings,
    timeouts: Timeouts,
    user_agent: String,
    agents: Mutex<HashMap<(String, Option<String>), Agent>>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("proxies", &self.proxies)
            .field("timeouts", &self.timeouts)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(proxies: ProxySettings, timeouts: Timeouts, user_agent: String) -> Transport {
        Transport {
            authorities: Authorities::new(),
            proxies,
            timeouts,
            user_agent,
            agents: Mutex::default(),
        }
    }

    /// One request and its answer.
    pub(crate) fn exchange(
        &self,
        url: &Url,
        trust: &Trust,
        headers: Headers,
        outgoing: &Outgoing<'_>,
    ) -> Result<Response<Body>, RegistryError> {
        let proxy = self.proxies.for_url(url);
        let unreachable = |cause| RegistryError::Unreachable {
            host: url.authority(),
            proxy: proxy.map(|proxy| without_credentials(proxy).to_owned()),
            cause,
        };
        let agent = self.agent(trust, proxy).map_err(unreachable)?;
        let mut request = Request::builder()
            .uri(url.request_target())
            .method(outgoing.method());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let (answer, broken) = match outgoing {
            Outgoing::Get | Outgoing::Head | Outgoing::Delete => {
                (request.body(()).map(|request| agent.run(request)), None)
            }
            Outgoing::Form(form) => {
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                (request.body(*form).map(|request| agent.run(request)), None)
            }
            Outgoing::Post => {
                let nothing: &[u8] = &[];
                (
                    request.body(nothing).map(|request| agent.run(request)),
                    None,
                )
            }
            Outgoing::Put(part) | Outgoing::Patch(part) => {
                let mut piece = Piece::open(part);
                let answer = request
                    .header("content-length", part.length)
                    .body(SendBody::from_reader(&mut piece))
                    .map(|request| agent.run(request));
                (answer, piece.broken)
            }
        };
        if let Some(source) = broken {
            // What is relayed has a registry's own faults.
            return Err(match source.downcast::<RegistryError>() {
                Ok(error) => error,
                Err(source) => RegistryError::Content(source),
            });
        }
        let answer = answer.map_err(|_| unreachable(Cause::Protocol("a bad URL".into())))?;
        answer.map_err(|error| unreachable(self.cause(error)))
    }

    /// Why reading an answer's body broke off.
    pub(crate) fn broken(&self, url: &Url, error: io::Error) -> RegistryError {
        RegistryError::Unreachable {
            host: url.authority(),
            proxy: None,
            cause: self.cause(ureq::Error::from(error)),
        }
    }

    fn agent(&self, trust: &Trust, proxy: Option<&str>) -> Result<Agent, Cause> {
        let key = (trust.key().to_owned(), proxy.map(str::to_owned));
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let proxy = proxy
            .map(Proxy::new)
            .transpose()
            .map_err(|_| Cause::Proxy("its URL is malformed".into()))?;
        let config: Config = Agent::config_builder()
            .tls_config(self.authorities.config(trust))
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(&self.user_agent)
            .timeout_resolve(Some(self.timeouts.resolve))
            .timeout_connect(Some(self.timeouts.connect))
            .timeout_per_read(Some(self.timeouts.idle))
            .timeout_per_write(Some(self.timeouts.idle))
            // Headers that come byte by byte would else keep within the idle time for ever.
            .timeout_recv_response(Some(self.timeouts.idle * 4))
            .max_idle_connections_per_host(8)
            .build();
        let agent = Agent::from(config);
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    fn cause(&self, error: ureq::Error) -> Cause {
        match error {
            ureq::Error::Io(error) => self.io_cause(error),
            ureq::Error::HostNotFound => Cause::UnknownHost,
            ureq::Error::Timeout(_) => Cause::Timeout,
            ureq::Error::Rustls(error) => self.tls_cause(&error),
            ureq::Error::Tls(reason) => Cause::Tls(reason.into()),
            ureq::Error::ConnectProxyFailed(reason) => Cause::Proxy(crate::error::quoted(&reason)),
            ureq::Error::ConnectionFailed => Cause::Dropped,
            other => Cause::Protocol(crate::error::quoted(&other.to_string())),
        }
    }

    fn io_cause(&self, error: io::Error) -> Cause {
        if let Some(tls) = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>())
        {
            return self.tls_cause(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Cause::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Cause::Timeout,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Cause::Dropped,
            // The standard library has no kind for what getaddrinfo says.
            _ if error.to_string().starts_with("failed to lookup address") => Cause::UnknownHost,
            _ => Cause::Io(error),
        }
    }

    fn tls_cause(&self, error: &rustls::Error) -> Cause {
        match error {
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
                Cause::PlainHttp
            }
            rustls::Error::InvalidCertificate(_) if self.authorities.system().is_empty() => {
                Cause::NoAuthorities
            }
            rustls::Error::InvalidCertificate(reason) => Cause::Certificate(reason.to_string()),
            other => Cause::Tls(other.to_string()),
        }
    }
}

/// A part as it is being sent, and what was wrong with it if it could not be read.
struct Piece<'a> {
    stream: Option<io::Take<Box<dyn io::Read + 'a>>>,
    broken: Option<io::Error>,
}

impl<'a> Piece<'a> {
    fn open(part: &Part<'a>) -> Piece<'a> {
        match part.content.read_from(part.offset) {
            Ok(stream) => Piece {
                stream: Some(io::Read::take(stream, part.length)),
                broken: None,
            },
            Err(error) => Piece {
                stream: None,
                broken: Some(error),
            },
        }
    }
}

impl io::Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::UnexpectedEof)?;
        let read = match stream.read(buffer) {
            Ok(0) if stream.limit() > 0 && !buffer.is_empty() => {
                Err(io::Error::other("it is shorter than it should be"))
            }
            other => other,
        };
        read.map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.broken = Some(error);
            told
        })
    }
}

impl Transport {
    /// How long the next piece of a blob may take.
    pub(crate) fn stall(&self) -> Duration {
        self.timeouts.stall
    }

    /// Reads a body of at most `limit` bytes; `Ok(None)`: it is longer.
    pub(crate) fn read_bounded(&self, body: Body, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let mut stream = io::Read::take(body.into_reader(), limit.saturating_add(1));
        let mut piece = [0; 16 << 10];
        loop {
            match io::Read::read(&mut stream, &mut piece)? {
                0 => return Ok((bytes.len() as u64 <= limit).then_some(bytes)),
                count => bytes.extend_from_slice(&piece[..count]),
            }
            if begun.elapsed() > self.timeouts.stall {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_causes_apart() {
        let transport = Transport::new(ProxySettings::default(), Timeouts::default(), "t".into());
        let cause = |kind: io::ErrorKind| transport.io_cause(kind.into());
        assert!(matches!(
            cause(io::ErrorKind::ConnectionRefused),
            Cause::Refused
        ));
        assert!(matches!(
            cause(io::ErrorKind::UnexpectedEof),
            Cause::Dropped
        ));
        let lookup = io::Error::other("failed to lookup address information: no");
        assert!(matches!(transport.io_cause(lookup), Cause::UnknownHost));
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, plain);
        assert!(matches!(transport.io_cause(wrapped), Cause::PlainHttp));
    }

    #[test]
    fn a_malformed_proxy_is_an_error_without_its_password() {
        let proxies = ProxySettings::from_env(|name| {
            (name == "HTTPS_PROXY").then(|| "gopher://u:geheim@p".to_owned())
        });
        let transport = Transport::new(proxies, Timeouts::default(), "t".into());
        let url = Url::parse("https://r.io/").unwrap();
        let error = transport
            .exchange(&url, &Trust::Anyone, &[], &Outgoing::Get)
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
        assert!(error.to_string().contains("`p`"), "{error}");
    }

    #[test]
    fn a_proxy_is_asked_for_a_tunnel() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = listener.local_addr().unwrap();
        let played = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heads = Vec::new();
            for answer in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 204 X\r\n\r\n"] {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                heads.push(String::from_utf8(head).unwrap());
            }
            heads
        });
        let proxies = ProxySettings::from_env(|name| {
            (name == "HTTP_PROXY").then(|| format!("http://user:pass@{proxy}"))
        });
        let transport = Transport::new(proxies, Timeouts::default(), "t".into());
        // A name that only the proxy could resolve.
        let url = Url::parse("http://registry.invalid:5000/v2/").unwrap();
        let response = transport
            .exchange(&url, &Trust::System, &[], &Outgoing::Get)
            .unwrap();
        assert_eq!(response.status(), 204);
        let heads = played.join().unwrap();
        assert!(
            heads[0].starts_with("CONNECT registry.invalid:5000 "),
            "{}",
            heads[0]
        );
        assert!(heads[0].contains("Proxy-Authorization: Basic dXNlcjpwYXNz"));
        assert!(heads[1].starts_with("GET /v2/ "), "{}", heads[1]);
        assert!(!heads[1].to_lowercase().contains("proxy-authorization"));
    }
}
