//! The QEMU Machine Protocol (QEMU's `docs/interop/qmp-spec.rst`): JSON, a line each way.
//!
//! QEMU greets; `qmp_capabilities` opens the talk; a command is answered by `return` or `error`, and between
//! those come events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use serde::Deserialize;
use serde_json::Value;

use super::QemuError;

/// The longest line that is taken.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What QEMU says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Greeting,
    Return,
    Error(String),
    /// The guest is down, and QEMU will end.
    Shutdown(String),
    /// Any other event.
    Event,
}

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    /// An empty `return` is there, too.
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Complaint>,
    event: Option<String>,
    data: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    desc: String,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
    bytes: Vec<u8>,
}

impl Control {
    /// # Errors
    /// `EBADF` only.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Errno> {
        gamut_sys::socket::set_nonblocking(&socket)?;
        Ok(Self {
            socket,
            bytes: Vec::new(),
        })
    }

    pub(super) fn events(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next line that has come.
    pub(super) fn next(&mut self) -> Result<Option<Word>, QemuError> {
        loop {
            if let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return parse(&line).map(Some).ok_or(QemuError::Language);
            }
            if self.bytes.len() > LINE_BYTES_MAX {
                return Err(QemuError::Language);
            }
            let mut piece = [0; 4096];
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut piece)) {
                // Its end is told by the process.
                Ok(0) | Err(Errno::AGAIN | Errno::CONNRESET) => return Ok(None),
                Ok(length) => self.bytes.extend_from_slice(&piece[..length]),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says a command, which is a short line: it fits, because each waits for the answer of the last.
    pub(super) fn say(&self, command: &str, arguments: &Value) -> Result<(), QemuError> {
        let mut line = serde_json::json!({ "execute": command });
        if !arguments.is_null() {
            line["arguments"] = arguments.clone();
        }
        let line = format!("{line}\n");
        match gamut_sys::socket::send(self.socket.as_fd(), &[line.as_bytes()], &[]) {
            // Its end is told by the process.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn parse(line: &[u8]) -> Option<Word> {
    let line: Line = serde_json::from_slice(line).ok()?;
    if line.greeting.is_some() {
        return Some(Word::Greeting);
    }
    if let Some(complaint) = line.error {
        return Some(Word::Error(complaint.desc));
    }
    match line.event.as_deref() {
        Some("SHUTDOWN") => {
            let reason = line.data.as_ref().and_then(|data| data["reason"].as_str());
            Some(Word::Shutdown(reason.unwrap_or_default().to_owned()))
        }
        Some(_) => Some(Word::Event),
        None => line.answer.map(|_| Word::Return),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn lines_are_words_even_in_pieces() {
        let (mut qemu, ours) = UnixStream::pair().expect("sockets");
        let mut control = Control::new(ours.into()).expect("a connection");
        let greeting = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}"#;
        let (first, second) = greeting.split_at(20);
        qemu.write_all(first.as_bytes()).expect("said");
        assert_eq!(control.next().expect("a part"), None);
        write!(qemu, "{second}\r\n{{\"return\": {{}}}}\r\n").expect("said");
        assert_eq!(control.next().expect("a line"), Some(Word::Greeting));
        assert_eq!(control.next().expect("a line"), Some(Word::Return));
        let event = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        write!(qemu, "{event}\n{{\"event\": \"STOP\"}}\n").expect("said");
        let shutdown = control.next().expect("a line");
        assert_eq!(shutdown, Some(Word::Shutdown("guest-reset".to_owned())));
        assert_eq!(control.next().expect("a line"), Some(Word::Event));
        control.say("stop", &Value::Null).expect("said");
        let mut said = [0; 20];
        qemu.read_exact(&mut said[..19]).expect("a line");
        assert_eq!(&said[..19], b"{\"execute\":\"stop\"}\n");
        writeln!(qemu, "{{}}").expect("said");
        assert!(control.next().is_err());
    }
}
