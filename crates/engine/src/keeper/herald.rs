//! Telling each line of output to a daemon as well: syslog (RFC 3164, RFC 5424) or systemd-journald
//! (systemd.io/JOURNAL_NATIVE_PROTOCOL). Whoever is told must not hold the workload up: a socket takes what it
//! takes, a stream's backlog has an end, and what is lost is counted.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_plan::cell::StartError;
use gamut_plan::launch;
use gamut_plan::request::{SyslogAddress, SyslogFormat};
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, ipproto};

use super::events::now_ns;

const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where syslog(3) looks, and its forebears did.
const SYSLOG: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// What waits for a stream that is slow.
const MOST_BACKLOG_BYTES: usize = 1 << 20;
const RETRY_AFTER_NS: u64 = 1_000_000_000;
/// RFC 5424, table 2.
const ERROR: u8 = 3;
const INFORMATION: u8 = 6;

/// Whom lines are told to.
#[derive(Debug)]
pub(super) struct Herald {
    form: Form,
    place: Place,
    /// `None`: gone, and tried again from then on.
    socket: Option<OwnedFd>,
    tried_ns: u64,
    backlog: Vec<u8>,
    pub(super) lost: u64,
}

#[derive(Debug)]
enum Form {
    Journal(BTreeMap<String, String>),
    Syslog {
        facility: u8,
        format: SyslogFormat,
        tag: String,
        host: String,
        is_here: bool,
    },
}

#[derive(Debug)]
enum Place {
    Datagrams(PathBuf),
    Stream(PathBuf),
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

impl Herald {
    /// Whoever is to be told is there.
    ///
    /// # Errors
    /// Nobody is.
    pub(super) fn connect(plan: &launch::Herald) -> Result<Self, StartError> {
        let (form, places) = match plan {
            launch::Herald::Journald { fields } => {
                let place = Place::Datagrams(PathBuf::from(JOURNAL));
                (Form::Journal(fields.clone()), vec![place])
            }
            launch::Herald::Syslog {
                address,
                facility,
                format,
                tag,
            } => {
                let places = places(address.as_ref())?;
                let is_here = matches!(places[0], Place::Datagrams(_) | Place::Stream(_));
                let form = Form::Syslog {
                    facility: *facility,
                    format: *format,
                    tag: tag.clone(),
                    host: host(),
                    is_here,
                };
                (form, places)
            }
        };
        let mut why = Errno::NOENT;
        for place in places {
            match place.connect() {
                Ok(socket) => {
                    return Ok(Self {
                        form,
                        place,
                        socket: Some(socket),
                        tried_ns: now_ns(),
                        backlog: Vec::new(),
                        lost: 0,
                    });
                }
                Err(errno) => why = errno,
            }
        }
        Err(nobody(plan, &Error::from(why)))
    }

    /// Tells a line, without its newline.
    pub(super) fn tell(&mut self, is_error: bool, line: &[u8], is_whole: bool) {
        let text = match &self.form {
            Form::Journal(fields) => journal(fields, is_error, line, is_whole),
            Form::Syslog { .. } => self.syslog(is_error, line),
        };
        self.revive();
        let Some(socket) = &self.socket else {
            self.lost += 1;
            return;
        };
        if self.is_stream() {
            if self.backlog.len() + text.len() > MOST_BACKLOG_BYTES {
                self.lost += 1;
            } else {
                self.backlog.extend_from_slice(&text);
            }
            return self.flush();
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let Err(errno) = rustix::net::send(socket, &text, flags) {
            self.lost += 1;
            if !matches!(errno, Errno::AGAIN | Errno::NOBUFS | Errno::MSGSIZE) {
                self.socket = None;
            }
        }
    }

    /// What there is to wait for until it takes more.
    pub(super) fn wants_out(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref()?;
        (!self.backlog.is_empty()).then(|| socket.as_fd())
    }

    /// Sends of the backlog what is taken.
    pub(super) fn flush(&mut self) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while let (Some(socket), false) = (&self.socket, self.backlog.is_empty()) {
            match rustix::net::send(socket, &self.backlog, flags) {
                Ok(length) => drop(self.backlog.drain(..length)),
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.lost += self.backlog.iter().filter(|byte| **byte == b'\n').count() as u64;
                    self.backlog = Vec::new();
                    self.socket = None;
                }
            }
        }
    }

    fn is_stream(&self) -> bool {
        matches!(self.place, Place::Stream(_) | Place::Tcp(_))
    }

    fn revive(&mut self) {
        if self.socket.is_none() && now_ns().saturating_sub(self.tried_ns) > RETRY_AFTER_NS {
            self.tried_ns = now_ns();
            self.socket = self.place.connect().ok();
        }
    }

    fn syslog(&self, is_error: bool, line: &[u8]) -> Vec<u8> {
        let Form::Syslog {
            facility,
            format,
            tag,
            host,
            is_here,
        } = &self.form
        else {
            return Vec::new();
        };
        let severity = if is_error { ERROR } else { INFORMATION };
        let priority = u32::from(*facility) * 8 + u32::from(severity);
        let pid = std::process::id();
        let now = Timestamp::now();
        let short = || now.strftime("%b %e %H:%M:%S").to_string();
        let seconds = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        // Docker's forms (moby, daemon/logger/syslog; srslog).
        let mut text = match format {
            SyslogFormat::Usual if *is_here => format!("<{priority}>{} {tag}[{pid}]: ", short()),
            SyslogFormat::Usual => format!("<{priority}> {seconds} {host} {tag}[{pid}]: "),
            SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", short()),
            SyslogFormat::Rfc5424 => {
                format!("<{priority}>1 {seconds} {host} {tag} {pid} {tag} - ")
            }
            SyslogFormat::Rfc5424Micro => {
                let micro = now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
                format!("<{priority}>1 {micro} {host} {tag} {pid} {tag} - ")
            }
        }
        .into_bytes();
        text.extend_from_slice(line);
        text.push(b'\n');
        text
    }
}

impl Place {
    fn connect(&self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = |family, kind| rustix::net::socket_with(family, kind, flags, None);
        match self {
            Self::Datagrams(path) | Self::Stream(path) => {
                let kind = match self {
                    Self::Datagrams(_) => SocketType::DGRAM,
                    _ => SocketType::STREAM,
                };
                let socket = open(AddressFamily::UNIX, kind)?;
                rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
                Ok(socket)
            }
            Self::Udp(address) => {
                let socket = open(family(address), SocketType::DGRAM)?;
                rustix::net::connect(&socket, address)?;
                Ok(socket)
            }
            Self::Tcp(address) => {
                let kind = SocketType::STREAM;
                let protocol = Some(ipproto::TCP);
                let socket = rustix::net::socket_with(family(address), kind, flags, protocol)?;
                match rustix::net::connect(&socket, address) {
                    Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
                    Err(errno) => Err(errno),
                }
            }
        }
    }
}

fn family(address: &SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

/// Where to try, in order; at least one.
fn places(address: Option<&SyslogAddress>) -> Result<Vec<Place>, StartError> {
    let resolved = |text: &str| {
        let found = text
            .to_socket_addrs()
            .and_then(|mut found| found.next().ok_or_else(|| Error::from(ErrorKind::NotFound)));
        found.map_err(|error| unreachable_at(text, &error))
    };
    Ok(match address {
        None => {
            let both = SYSLOG.iter().flat_map(|path| {
                [
                    Place::Datagrams(PathBuf::from(path)),
                    Place::Stream(PathBuf::from(path)),
                ]
            });
            both.collect()
        }
        Some(SyslogAddress::Unixgram(path)) => vec![Place::Datagrams(path.clone())],
        Some(SyslogAddress::Unix(path)) => vec![Place::Stream(path.clone())],
        Some(SyslogAddress::Udp(text)) => vec![Place::Udp(resolved(text)?)],
        Some(SyslogAddress::Tcp(text)) => {
            let address = resolved(text)?;
            // At the start somebody has to be there; later it may be late.
            let patience = std::time::Duration::from_secs(5);
            std::net::TcpStream::connect_timeout(&address, patience)
                .map_err(|error| unreachable_at(text, &error))?;
            vec![Place::Tcp(address)]
        }
    })
}

fn unreachable_at(place: &str, error: &Error) -> StartError {
    StartError::Step {
        step: format!("reach the log's daemon at {place}"),
        reason: error.to_string(),
        hint: Some("`--log-driver json-file` needs none".into()),
    }
}

fn nobody(plan: &launch::Herald, error: &Error) -> StartError {
    match plan {
        launch::Herald::Journald { .. } => unreachable_at(JOURNAL, error),
        launch::Herald::Syslog { address, .. } => {
            let place = match address {
                Some(SyslogAddress::Unix(path) | SyslogAddress::Unixgram(path)) => path,
                _ => Path::new(SYSLOG[0]),
            };
            unreachable_at(&place.display().to_string(), error)
        }
    }
}

fn host() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    match name.is_empty() {
        true => "-".to_owned(),
        false => name,
    }
}

/// `KEY=VALUE\n` each; what may hold a newline has its length before it.
fn journal(
    fields: &BTreeMap<String, String>,
    is_error: bool,
    line: &[u8],
    is_whole: bool,
) -> Vec<u8> {
    let mut text = Vec::new();
    let mut field = |name: &str, value: &[u8]| {
        text.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            text.push(b'\n');
            text.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            text.push(b'=');
        }
        let _ = text.write_all(value);
        text.push(b'\n');
    };
    for (name, value) in fields {
        field(name, value.as_bytes());
    }
    let severity = if is_error { ERROR } else { INFORMATION };
    field("PRIORITY", severity.to_string().as_bytes());
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ");
    field("SYSLOG_TIMESTAMP", now.to_string().as_bytes());
    if !is_whole {
        field("CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    field("MESSAGE", line);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_entry_is_a_list_of_fields() {
        let fields = BTreeMap::from([("CONTAINER_NAME".to_owned(), "web\nx".to_owned())]);
        let entry = journal(&fields, true, b"text", false);
        assert!(entry.starts_with(b"CONTAINER_NAME\n\x05\0\0\0\0\0\0\0web\nx\nPRIORITY=3\n"));
        assert!(entry.ends_with(b"CONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=text\n"));
    }
}
