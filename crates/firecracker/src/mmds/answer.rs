//! What the guest gets from the metadata service: an HTTP answer to its bytes.

use super::{Accept, Mmds, MmdsError};
use crate::http::{HttpError, Method, Request};
use crate::model::MmdsVersion;

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_FIELDS: [&str; 2] = ["x-metadata-token", "x-aws-ec2-metadata-token"];
const LIFE_FIELDS: [&str; 2] = [
    "x-metadata-token-ttl-seconds",
    "x-aws-ec2-metadata-token-ttl-seconds",
];

/// An answer to a guest: a number, a type and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: &'static str,
    pub content_type: &'static str,
    pub body: String,
    /// A field beside those that are always there.
    pub field: Option<(String, String)>,
}

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

impl Answer {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: body.into(),
            field: None,
        }
    }

    /// To what is no request of ours.
    #[must_use]
    pub fn bad_request(error: HttpError) -> Self {
        Self::text("400 Bad Request", error.to_string())
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {}\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if let Some((name, value)) = &self.field {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        format!("{head}\r\n{}", self.body).into_bytes()
    }
}

impl Mmds {
    /// Answers the guest.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Answer {
        match request.method {
            Method::Get => self.answer_get(request),
            Method::Put => self.answer_put(request),
            Method::Patch | Method::Delete => Answer {
                field: Some(("Allow".to_owned(), "GET, PUT".to_owned())),
                ..Answer::text("405 Method Not Allowed", "Not allowed HTTP method.")
            },
        }
    }

    fn answer_get(&self, request: &Request) -> Answer {
        if self.version == MmdsVersion::V2 {
            match either(request, TOKEN_FIELDS) {
                None => {
                    return Answer::text(
                        "401 Unauthorized",
                        "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the session token.",
                    );
                }
                Some((_, token)) if !self.tokens.is_valid(token) => {
                    return Answer::text("401 Unauthorized", "MMDS token not valid.");
                }
                Some(_) => {}
            }
        }
        let accept = accept(request);
        match self.value(&single_slashes(&request.path), accept) {
            Ok(body) => Answer {
                status: "200 OK",
                content_type: if accept == Accept::Json { JSON } else { TEXT },
                body,
                field: None,
            },
            Err(MmdsError::NotFound) => not_found(request),
            Err(error) => Answer::text("501 Not Implemented", error.to_string()),
        }
    }

    fn answer_put(&self, request: &Request) -> Answer {
        // A proxy has been talked into it.
        if request.field("x-forwarded-for").is_some() {
            let reason = "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For";
            return Answer::text("400 Bad Request", reason);
        }
        if single_slashes(&request.path) != TOKEN_PATH {
            return not_found(request);
        }
        let Some((name, value)) = either(request, LIFE_FIELDS) else {
            return Answer::text(
                "400 Bad Request",
                "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or `X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.",
            );
        };
        let Ok(life_s) = value.parse::<u32>() else {
            let reason =
                format!("Invalid header. Reason: Invalid value. Key:{name}; Value:{value}");
            return Answer::text("400 Bad Request", reason);
        };
        match self.tokens.give(life_s) {
            Some(token) => Answer {
                field: Some((name.to_owned(), life_s.to_string())),
                ..Answer::text("200 OK", token)
            },
            None => Answer::text(
                "400 Bad Request",
                format!(
                    "Invalid time to live value provided for token: {life_s}. Please provide a value between 1 and 21600."
                ),
            ),
        }
    }
}

fn not_found(request: &Request) -> Answer {
    let reason = format!("Resource not found: {}.", request.path);
    Answer::text("404 Not Found", reason)
}

fn either<'a>(request: &'a Request, names: [&'a str; 2]) -> Option<(&'a str, &'a str)> {
    names
        .into_iter()
        .find_map(|name| Some((name, request.field(name)?)))
}

fn accept(request: &Request) -> Accept {
    match request.field("accept") {
        Some(value) if value.contains(JSON) => Accept::Json,
        _ => Accept::Text,
    }
}

/// `//a///b` is `/a/b`.
fn single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    single
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Progress, read_request};
    use crate::mmds::Form;
    use serde_json::json;

    fn ask(mmds: &Mmds, head: &str) -> Answer {
        let bytes = format!("{head}\r\n\r\n");
        match read_request(bytes.as_bytes(), 0) {
            Ok(Progress::Whole { request, .. }) => mmds.answer(&request),
            other => panic!("{other:?}"),
        }
    }

    fn filled(version: MmdsVersion, form: Form) -> Mmds {
        let mut mmds = Mmds::new(1000).expect("random numbers");
        mmds.put(json!({"latest": {"id": "i-1"}})).expect("it fits");
        mmds.configure(version, form, "one");
        mmds
    }

    #[test]
    fn version_1_answers_anybody() {
        let mmds = filled(MmdsVersion::V1, Form::Accepted);
        assert_eq!(ask(&mmds, "GET //latest//id HTTP/1.1").body, "i-1");
        let json = ask(&mmds, "GET /latest HTTP/1.1\r\nAccept: application/json");
        assert_eq!(
            (json.content_type, json.body.as_str()),
            (JSON, r#"{"id":"i-1"}"#)
        );
        let missing = ask(&mmds, "GET /none HTTP/1.1");
        assert_eq!(
            (missing.status, missing.body.as_str()),
            ("404 Not Found", "Resource not found: /none.")
        );
        assert_eq!(
            ask(&mmds, "PATCH / HTTP/1.1").status,
            "405 Method Not Allowed"
        );
    }

    #[test]
    fn version_2_wants_a_token() {
        let mmds = filled(MmdsVersion::V2, Form::Ec2);
        assert_eq!(
            ask(&mmds, "GET /latest HTTP/1.1").status,
            "401 Unauthorized"
        );
        let put = "PUT /latest/api/token HTTP/1.1";
        assert_eq!(ask(&mmds, put).status, "400 Bad Request");
        let proxied = format!("{put}\r\nX-Forwarded-For: a\r\nX-metadata-token-ttl-seconds: 60");
        assert_eq!(ask(&mmds, &proxied).status, "400 Bad Request");
        let long = format!("{put}\r\nX-metadata-token-ttl-seconds: 21601");
        assert_eq!(ask(&mmds, &long).status, "400 Bad Request");
        let given = ask(
            &mmds,
            &format!("{put}\r\nX-aws-ec2-metadata-token-ttl-seconds: 60"),
        );
        assert_eq!(given.status, "200 OK");
        let get = format!(
            "GET /latest HTTP/1.1\r\nAccept: application/json\r\nX-metadata-token: {}",
            given.body
        );
        assert_eq!(ask(&mmds, &get).body, "id");
        assert_eq!(ask(&mmds, &format!("{get}x")).status, "401 Unauthorized");
    }
}
