//! A connection to systemd: over a message bus, or by systemd's own socket where there is no bus.
//! D-Bus specification, "Authentication Protocol", "Server Addresses".
//!
//! It is a client for a handful of calls. The libraries that there are bring an executor and
//! derive macros along (zbus), bind to libdbus (dbus), or have had no release since 2023 (rustbus).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Bus;
use super::error::SystemdError;
use super::message::{self, Call, Message, Value};

/// How long systemd may take for an answer or a job; runc's.
const PATIENCE: Duration = Duration::from_secs(30);
/// An answer of the authentication is longer only if somebody plays with us.
const LONGEST_LINE: u64 = 4096;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: BufReader<UnixStream>,
    address: String,
    serial: u32,
    /// Jobs that ended, by path, with what became of them.
    ended: Vec<(String, String)>,
    deadline: Instant,
}

/// Whether who answers is a bus, with which one registers, or systemd itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Bus,
    Systemd,
}

impl Connection {
    pub(super) fn open(bus: Bus) -> Result<Self, SystemdError> {
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(SystemdError::NotBooted);
        }
        let mut tried = Vec::new();
        for (address, peer) in addresses(bus) {
            match socket_address(&address).and_then(|at| UnixStream::connect_addr(&at)) {
                Ok(socket) => return Self::begin(socket, address, peer),
                Err(error) => tried.push(format!("{address}: {error}")),
            }
        }
        let tried = match tried.is_empty() {
            true => "no address is known".to_owned(),
            false => tried.join("; "),
        };
        Err(SystemdError::NoBus { bus, tried })
    }

    fn begin(socket: UnixStream, address: String, peer: Peer) -> Result<Self, SystemdError> {
        let mut connection = Connection {
            socket: BufReader::new(socket),
            address,
            serial: 0,
            ended: Vec::new(),
            deadline: Instant::now() + PATIENCE,
        };
        connection.authenticate()?;
        if peer == Peer::Bus {
            connection.call_bus("Hello", &[])?;
            let signals = "type='signal',sender='org.freedesktop.systemd1',\
                           interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            connection.call_bus("AddMatch", &[Value::text(signals)])?;
        }
        Ok(connection)
    }

    /// Who we are the other side reads off the socket: the number that we could tell is another in
    /// its user namespace.
    fn authenticate(&mut self) -> Result<(), SystemdError> {
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut answer = self.line()?;
        if answer.trim_end() == "DATA" {
            answer = self.line()?;
        }
        match answer.starts_with("OK ") {
            true => Ok(()),
            false => Err(SystemdError::Authentication {
                address: self.address.clone(),
                answer: answer.trim_end().escape_default().to_string(),
            }),
        }
    }

    fn line(&mut self) -> Result<String, SystemdError> {
        self.limit_wait()?;
        let mut line = Vec::new();
        let read = (&mut self.socket).take(LONGEST_LINE);
        { read }
            .read_until(b'\n', &mut line)
            .map_err(|error| self.failed(error))?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn call_bus(&mut self, member: &str, body: &[Value]) -> Result<Message, SystemdError> {
        let call = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            body,
        };
        self.call(&call, "speak to", "the bus")
    }

    /// Calls a method and waits for the answer; `act` and `unit` are for the error.
    pub(super) fn call(
        &mut self,
        call: &Call<'_>,
        act: &'static str,
        unit: &str,
    ) -> Result<Message, SystemdError> {
        self.serial += 1;
        self.deadline = Instant::now() + PATIENCE;
        self.write(&call.to_bytes(self.serial))?;
        loop {
            let message = self.receive()?;
            if message.answers != Some(self.serial) {
                self.note(&message)?;
                continue;
            }
            match message.kind {
                message::RETURN => return Ok(message),
                message::ERROR => {
                    let reason = message.values().ok().and_then(|v| v.into_iter().next());
                    return Err(SystemdError::Refused {
                        act,
                        unit: unit.to_owned(),
                        reason: match reason {
                            Some(Value::Text(text)) => text,
                            _ => message.error.clone(),
                        },
                        name: message.error,
                    });
                }
                _ => {}
            }
        }
    }

    /// Waits until a job has ended; gives its result, `done` if all is well.
    pub(super) fn wait(&mut self, job: &str) -> Result<String, SystemdError> {
        self.deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.ended.iter().position(|(path, _)| path == job) {
                return Ok(self.ended.swap_remove(at).1);
            }
            let message = self.receive()?;
            self.note(&message)?;
        }
    }

    fn note(&mut self, message: &Message) -> Result<(), SystemdError> {
        if message.kind != message::SIGNAL
            || message.member != "JobRemoved"
            || message.signature != "uoss"
        {
            return Ok(());
        }
        let mut values = message.values()?.into_iter().skip(1);
        if let (Some(Value::Path(job)), Some(_), Some(Value::Text(result))) =
            (values.next(), values.next(), values.next())
        {
            self.ended.push((job, result));
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Message, SystemdError> {
        let mut bytes = vec![0; message::FIXED];
        self.read(&mut bytes)?;
        let mut fixed = [0; message::FIXED];
        fixed.copy_from_slice(&bytes);
        bytes.resize(message::length(&fixed)?, 0);
        self.read(&mut bytes[message::FIXED..])?;
        Message::parse(&bytes)
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), SystemdError> {
        self.limit_wait()?;
        let read = self.socket.read_exact(into);
        read.map_err(|error| self.failed(error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SystemdError> {
        let written = self.socket.get_mut().write_all(bytes);
        written.map_err(|error| self.failed(error))
    }

    /// Nothing is waited for past the deadline, however it comes in pieces.
    fn limit_wait(&self) -> Result<(), SystemdError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A timeout of nothing would be none.
        let left = left.max(Duration::from_millis(1));
        let socket = self.socket.get_ref();
        let set = socket.set_read_timeout(Some(left));
        set.and_then(|()| socket.set_write_timeout(Some(left)))
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, source: std::io::Error) -> SystemdError {
        let source = match source.kind() {
            std::io::ErrorKind::WouldBlock => std::io::ErrorKind::TimedOut.into(),
            _ => source,
        };
        SystemdError::Connection {
            address: self.address.clone(),
            source,
        }
    }
}

/// Where to find systemd, the best way first.
fn addresses(bus: Bus) -> Vec<(String, Peer)> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (given, directory, socket) = match bus {
        Bus::System => (
            variable("DBUS_SYSTEM_BUS_ADDRESS"),
            Some("/run".to_owned()),
            "dbus/system_bus_socket",
        ),
        Bus::User => (
            variable("DBUS_SESSION_BUS_ADDRESS"),
            variable("XDG_RUNTIME_DIR"),
            "bus",
        ),
    };
    let given = given.unwrap_or_default();
    let listed = given.split(';').filter(|address| !address.is_empty());
    let mut all: Vec<_> = listed
        .map(|address| (address.to_owned(), Peer::Bus))
        .collect();
    let below = |directory: &String, name: &str| format!("unix:path={directory}/{name}");
    if all.is_empty() {
        all.extend(directory.iter().map(|dir| (below(dir, socket), Peer::Bus)));
    }
    let own = directory.iter();
    all.extend(own.map(|dir| (below(dir, "systemd/private"), Peer::Systemd)));
    all
}

/// `unix:path=/run/bus,guid=…` or `unix:abstract=name`; bytes may be written as `%` and two digits.
fn socket_address(address: &str) -> std::io::Result<SocketAddr> {
    let unknown = || {
        let words = "only unix:path= and unix:abstract= are known";
        std::io::Error::new(std::io::ErrorKind::Unsupported, words)
    };
    let pairs = address.strip_prefix("unix:").ok_or_else(unknown)?;
    let pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
    for (key, value) in pairs {
        let plain = unescaped(value).ok_or_else(unknown)?;
        match key {
            "path" => {
                use std::os::unix::ffi::OsStrExt;
                return SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(&plain));
            }
            "abstract" => return SocketAddr::from_abstract_name(plain),
            _ => {}
        }
    }
    Err(unknown())
}

fn unescaped(value: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        plain.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sockets_are_read() {
        let path = |text: &str| {
            let address = socket_address(text).ok()?;
            address
                .as_pathname()
                .map(|p| p.to_string_lossy().into_owned())
        };
        assert_eq!(path("unix:path=/run/bus").as_deref(), Some("/run/bus"));
        assert_eq!(
            path("unix:path=/run/user/10%200,guid=ab").as_deref(),
            Some("/run/user/10 0")
        );
        let hidden = socket_address("unix:abstract=/tmp/x").unwrap();
        assert_eq!(hidden.as_abstract_name(), Some(&b"/tmp/x"[..]));
        for bad in [
            "tcp:host=a",
            "unix:path=/a%2",
            "unix:path=/a%zz",
            "unix:",
            "",
        ] {
            assert!(socket_address(bad).is_err(), "{bad}");
        }
    }
}
