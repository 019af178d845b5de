//! The metadata service as the guest's neighbour: bytes of a connection become an answer.

use std::sync::{Arc, Mutex, PoisonError};

use gamut_virtio::net::detour::{REQUEST_BYTES_MAX, Service};

use super::Mmds;
use super::answer::Answer;
use crate::http::{HttpError, Progress, read_request};

/// The MAC address under which it is found; Firecracker's.
pub const MAC: [u8; 6] = [0x06, 0x01, 0x23, 0x45, 0x67, 0x01];
/// HTTP's.
pub const PORT: u16 = 80;

/// Answers the guest from a document that the API changes.
#[derive(Debug)]
pub struct Guest(pub Arc<Mutex<Mmds>>);

impl Service for Guest {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let answer = match read_request(request, REQUEST_BYTES_MAX) {
            Ok(Progress::Whole { request, .. }) => {
                // A thread that panicked has left a whole document: it is replaced in one step.
                let mmds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                mmds.answer(&request)
            }
            Ok(_) if request.len() < REQUEST_BYTES_MAX => return None,
            Ok(_) => Answer::bad_request(HttpError::LongHead),
            Err(error) => Answer::bad_request(error),
        };
        Some(answer.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_answered_when_they_are_a_request_or_never_will_be() {
        let mut mmds = Mmds::new(1000).expect("random numbers");
        mmds.put(json!({"a": "b"})).expect("it fits");
        let mut guest = Guest(Arc::new(Mutex::new(mmds)));
        let mut answer = |bytes: &[u8]| {
            let answer = guest.answer(bytes);
            answer.map(|bytes| String::from_utf8(bytes).expect("text"))
        };
        assert_eq!(answer(b"GET /a HTTP/1.1\r\n"), None);
        let whole = answer(b"GET /a HTTP/1.1\r\n\r\n").expect("an answer");
        assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
        assert!(whole.ends_with("\r\n\r\nb"), "{whole}");
        for bad in [&b"\0\r\n"[..], b"POST / HTTP/1.1\r\n\r\n"] {
            let answer = answer(bad).expect("an answer");
            assert!(
                answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
                "{answer}"
            );
        }
        let endless = format!("GET /{}", "a".repeat(REQUEST_BYTES_MAX));
        let endless = endless.as_bytes();
        assert_eq!(answer(&endless[..REQUEST_BYTES_MAX - 1]), None);
        assert!(answer(&endless[..REQUEST_BYTES_MAX]).is_some());
        let body = "PUT /latest/api/token HTTP/1.1\r\nContent-Length: 4090\r\n\r\n";
        let long = [body.as_bytes(), &[b'x'; REQUEST_BYTES_MAX]].concat();
        assert_eq!(answer(&long[..REQUEST_BYTES_MAX - 1]), None);
        assert!(answer(&long[..REQUEST_BYTES_MAX]).is_some());
    }
}
