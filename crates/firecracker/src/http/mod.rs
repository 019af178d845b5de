//! HTTP/1.1 as far as Firecracker's API needs it: [`read_request`] takes bytes, and [`Response`] gives some.
//! The server over a Unix socket is [`server`].
//!
//! The heads are httparse's; what it leaves to others, lengths and bodies, is here. Bodies have a
//! `Content-Length`: Firecracker knows no chunked ones, and so no client sends any.

pub mod server;

use std::fmt;

/// The longest head of a request.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// The most header fields.
const FIELDS_MAX: usize = 64;
/// The longest body, if nobody has said otherwise; Firecracker's `HTTP_MAX_PAYLOAD_SIZE`.
pub const BODY_BYTES_MAX: usize = 51_200;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Patch,
    Delete,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        })
    }
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Absolute, without scheme and host.
    pub path: String,
    /// Names in small letters.
    pub fields: Vec<(String, String)>,
    /// `None`: there was none, or an empty one.
    pub body: Option<Vec<u8>>,
    /// Whether the client wants the connection closed after the answer.
    pub connection: Connection,
}

impl Request {
    /// The first field of this name, which is in small letters.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    KeepAlive,
    Close,
}

/// How far a request has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is here, and so many bytes long.
    Whole { request: Request, length: usize },
    /// The rest of the head is missing.
    Head,
    /// The rest of the body is missing, and the client may wait for a word before it sends it.
    Body(Expectation),
}

/// `Expect`; RFC 9110, 10.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    None,
    Continue,
}

/// Why bytes are no request of ours. The words are those of Firecracker's server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("Invalid request.")]
    Malformed,
    #[error("The request's head is longer than {HEAD_BYTES_MAX} bytes, or has too many headers.")]
    LongHead,
    #[error("Invalid HTTP Method: {0}")]
    Method(String),
    #[error("Invalid URI: {0}")]
    Path(String),
    #[error("Invalid header. Reason: Invalid value. Key:{name}; Value:{value}")]
    FieldValue { name: String, value: String },
    #[error("Invalid header. Reason: Unsupported value. Key:{name}; Value:{value}")]
    FieldUnsupported { name: String, value: String },
    #[error(
        "Request payload with size {size} is larger than the limit of {limit} allowed by server."
    )]
    LongBody { size: usize, limit: usize },
}

/// Reads a request at the beginning of `bytes`, whose body may have `body_bytes_max`.
///
/// # Errors
/// That it can never be one, whatever follows.
pub fn read_request(bytes: &[u8], body_bytes_max: usize) -> Result<Progress, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => {
            return Ok(Progress::Head);
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HttpError::LongHead),
        Err(_) => return Err(HttpError::Malformed),
    };
    let method = method(head.method.unwrap_or_default())?;
    let path = path(head.path.unwrap_or_default())?;
    let mut named = Vec::with_capacity(head.headers.len());
    for field in head.headers.iter() {
        let name = field.name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(field.value).trim().to_owned();
        named.push((name, value));
    }
    let body_bytes = body_length(&named, body_bytes_max)?;
    let mut request = Request {
        method,
        path,
        connection: connection(&named, head.version),
        fields: named,
        body: None,
    };
    // Both are bounded: it cannot overflow.
    let length = head_bytes + body_bytes;
    let Some(body) = bytes.get(head_bytes..length) else {
        return Ok(Progress::Body(expectation(&request)));
    };
    if !body.is_empty() {
        request.body = Some(body.to_vec());
    }
    Ok(Progress::Whole { request, length })
}

fn method(word: &str) -> Result<Method, HttpError> {
    Ok(match word {
        "GET" => Method::Get,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        other => return Err(HttpError::Method(other.to_owned())),
    })
}

/// The path of a request's target: `/a/b`, or `http://host/a/b`.
fn path(target: &str) -> Result<String, HttpError> {
    let path = match target.strip_prefix("http://") {
        Some(rest) => match rest.find('/') {
            Some(slash) => &rest[slash..],
            None => "/",
        },
        None => target,
    };
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(HttpError::Path(target.to_owned()))
    }
}

/// The length of the body; RFC 9112, 6.3. Two lengths that differ are how requests are smuggled.
fn body_length(fields: &[(String, String)], limit: usize) -> Result<usize, HttpError> {
    let mut length = None;
    for (name, value) in fields {
        let invalid = || HttpError::FieldValue {
            name: "Content-Length".to_owned(),
            value: value.clone(),
        };
        match name.as_str() {
            "content-length" => {
                if !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(invalid());
                }
                let this: usize = value.parse().map_err(|_| invalid())?;
                if length.is_some_and(|length| length != this) {
                    return Err(invalid());
                }
                length = Some(this);
            }
            "transfer-encoding" if !value.eq_ignore_ascii_case("identity") => {
                return Err(HttpError::FieldUnsupported {
                    name: "Transfer-Encoding".to_owned(),
                    value: value.clone(),
                });
            }
            _ => {}
        }
    }
    let size = length.unwrap_or(0);
    if size > limit {
        return Err(HttpError::LongBody { size, limit });
    }
    Ok(size)
}

fn connection(fields: &[(String, String)], minor_version: Option<u8>) -> Connection {
    let word = fields.iter().find(|(name, _)| name == "connection");
    match word.map(|(_, value)| value.to_ascii_lowercase()).as_deref() {
        Some("close") => Connection::Close,
        Some("keep-alive") => Connection::KeepAlive,
        _ if minor_version == Some(0) => Connection::Close,
        _ => Connection::KeepAlive,
    }
}

fn expectation(request: &Request) -> Expectation {
    match request.field("expect") {
        Some(value) if value.eq_ignore_ascii_case("100-continue") => Expectation::Continue,
        _ => Expectation::None,
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: Status,
    /// JSON.
    pub body: Option<String>,
    pub endpoint: Endpoint,
}

/// Whether what was asked for will be gone one day: it is answered with a field `Deprecation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Current,
    Deprecated,
}

/// Its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    NoContent,
    BadRequest,
    PayloadTooLarge,
    ServiceUnavailable,
}

impl Status {
    /// Its number and its words.
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NoContent => "204 No Content",
            Self::BadRequest => "400 Bad Request",
            Self::PayloadTooLarge => "413 Payload Too Large",
            Self::ServiceUnavailable => "503 Service Unavailable",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.line())
    }
}

impl Response {
    /// Success without a body.
    #[must_use]
    pub fn no_content() -> Self {
        Self {
            status: Status::NoContent,
            body: None,
            endpoint: Endpoint::Current,
        }
    }

    /// Success with a document.
    #[must_use]
    pub fn ok(body: String) -> Self {
        Self {
            status: Status::Ok,
            body: Some(body),
            endpoint: Endpoint::Current,
        }
    }

    /// Failure, in Firecracker's form.
    #[must_use]
    pub fn fault(status: Status, message: &str) -> Self {
        let body = serde_json::json!({ "fault_message": message });
        Self {
            status,
            body: Some(body.to_string()),
            endpoint: Endpoint::Current,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self, connection: Connection) -> Vec<u8> {
        let connection = match connection {
            Connection::KeepAlive => "keep-alive",
            Connection::Close => "close",
        };
        let mut text = format!(
            "HTTP/1.1 {}\r\nServer: Firecracker API\r\nConnection: {connection}\r\n",
            self.status
        );
        if self.endpoint == Endpoint::Deprecated {
            text.push_str("Deprecation: true\r\n");
        }
        if let Some(body) = &self.body {
            let length = body.len();
            text.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        } else {
            text.push_str("\r\n");
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> (Request, usize) {
        match read_request(bytes, 100) {
            Ok(Progress::Whole { request, length }) => (request, length),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_comes_in_pieces() {
        let bytes = b"PUT /actions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbodyGET";
        for cut in 0..62 {
            let progress = read_request(&bytes[..cut], 100).expect("no error yet");
            assert!(!matches!(progress, Progress::Whole { .. }), "{cut}");
        }
        let (request, length) = whole(bytes);
        assert_eq!(length, bytes.len() - 3);
        assert_eq!(
            (request.method, request.path.as_str()),
            (Method::Put, "/actions")
        );
        assert_eq!(request.body.as_deref(), Some(&b"body"[..]));
        assert_eq!(request.field("host"), Some("localhost"));
        assert_eq!(request.connection, Connection::KeepAlive);
    }

    #[test]
    fn a_client_may_wait_before_its_body() {
        let head = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
        let waits = Ok(Progress::Body(Expectation::Continue));
        assert_eq!(read_request(head, 100), waits);
    }

    #[test]
    fn a_path_may_come_with_a_host() {
        let (request, _) = whole(b"GET http://localhost/vm/config HTTP/1.1\r\n\r\n");
        assert_eq!(request.path, "/vm/config");
        let (request, _) = whole(b"GET http://localhost HTTP/1.0\r\n\r\n");
        assert_eq!(
            (request.path.as_str(), request.connection),
            ("/", Connection::Close)
        );
        let error = read_request(b"GET vm HTTP/1.1\r\n\r\n", 100);
        assert_eq!(error, Err(HttpError::Path("vm".to_owned())));
    }

    #[test]
    fn what_cannot_be_a_request_is_refused_at_once() {
        let refused = |bytes: &str| read_request(bytes.as_bytes(), 100).expect_err(bytes);
        assert_eq!(
            refused("PUT / HTTP/1.1\r\nContent-Length: 101\r\n\r\n"),
            HttpError::LongBody {
                size: 101,
                limit: 100
            }
        );
        for lengths in [
            "1\r\nContent-Length: 2",
            "-1",
            "+1",
            "99999999999999999999999",
        ] {
            let text = format!("PUT / HTTP/1.1\r\nContent-Length: {lengths}\r\n\r\n");
            assert!(
                matches!(refused(&text), HttpError::FieldValue { .. }),
                "{lengths}"
            );
        }
        assert!(matches!(
            refused("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            HttpError::FieldUnsupported { .. }
        ));
        assert_eq!(
            refused("POST / HTTP/1.1\r\n\r\n"),
            HttpError::Method("POST".to_owned())
        );
        assert_eq!(refused("\0\0\0 "), HttpError::Malformed);
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(refused(&long), HttpError::LongHead);
        assert_eq!(refused(&long[..long.len() - 4]), HttpError::LongHead);
    }

    #[test]
    fn answers_are_firecrackers() {
        let bytes = Response::fault(Status::BadRequest, "no \"way\"").to_bytes(Connection::Close);
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\nServer: Firecracker API\r\n"));
        assert!(
            text.ends_with("\r\n\r\n{\"fault_message\":\"no \\\"way\\\"\"}"),
            "{text}"
        );
        let bytes = Response::no_content().to_bytes(Connection::KeepAlive);
        assert!(bytes.ends_with(b"Connection: keep-alive\r\n\r\n"));
    }
}
