//! The side that makes calls: one at a time, each answered before the next.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use prost::Message;

use super::frame;
use crate::message::rpc::{Request, Response, Status};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a ttrpc server.
#[derive(Debug)]
pub struct Caller {
    socket: UnixStream,
    /// A client's streams are odd.
    stream: u32,
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection is of no use any more; the same call may work on a new one.
    #[error("containerd cannot be reached: {0}")]
    Connection(#[from] std::io::Error),
    /// The server has answered so.
    #[error("containerd refused: {}", .0.message)]
    Refused(Status),
}

impl Caller {
    /// `address`: a path, `unix://` before it or not.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(address: &str) -> Result<Caller, CallError> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        Ok(Caller { socket, stream: 1 })
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(
        &mut self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, CallError> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_ns: i64::try_from(TIMEOUT.as_nanos()).unwrap_or(0),
        };
        let stream = self.stream;
        self.stream = self.stream.wrapping_add(2);
        let data = request.encode_to_vec();
        self.socket
            .write_all(&frame::encode(stream, frame::kind::REQUEST, &data))?;
        let mut received = Vec::new();
        let mut buffer = [0u8; 1 << 10];
        loop {
            match frame::take(&mut received) {
                Ok(Some(frame)) if frame.stream == stream => {
                    let response = Response::decode(&*frame.data)
                        .map_err(|error| std::io::Error::other(error.to_string()))?;
                    return match response.status {
                        Some(status) if status.code != 0 => Err(CallError::Refused(status)),
                        _ => Ok(response.payload),
                    };
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(frame::TooLong) => {
                    return Err(std::io::Error::from(std::io::ErrorKind::InvalidData).into());
                }
            }
            let count = self.socket.read(&mut buffer)?;
            if count == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            received.extend(&buffer[..count]);
        }
    }
}
