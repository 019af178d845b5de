//! CRIU, <https://criu.org>: the program that reads processes out into files and makes them again.
//!
//! It is run as `criu swrk FD`: it takes one request from that packet socket, a message of
//! [`message`], says when it has come to a point where somebody else may have something to do, and
//! answers. When the socket's other end goes, it gives up; a dump lets the processes run again then.

mod error;
pub(super) mod external;
mod log;
pub(super) mod message;

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use prost::Message as _;
use rustix::io::{Errno, FdFlags};
use rustix::process::Pid;

use super::error::OciError;
use message::{Answer, Features, Kind, Request, Version};

pub use error::CriuError;

/// The program, and which one it is.
#[derive(Debug)]
pub(super) struct Criu {
    path: PathBuf,
    /// 40201 is 4.2.1.
    version: u32,
}

/// Whether criu is in PATH. It is not run.
#[must_use]
pub fn is_installed() -> bool {
    in_path().is_some()
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let runs = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("criu"))
        .find(runs)
}

impl Criu {
    /// Finds it.
    pub(super) fn find() -> Result<Criu, CriuError> {
        let path = in_path().ok_or(CriuError::Missing)?;
        let mut found = Criu { path, version: 0 };
        let answer = found.ask_one(Request {
            kind: Kind::Version.into(),
            ..Request::default()
        });
        found.version = match answer? {
            // One from before this question says that it failed.
            Answer {
                version: Some(version),
                ..
            } => number(&version),
            _ => 0,
        };
        // The request for the version is of 3.0.
        found.at_least(30_000, "a checkpoint")?;
        Ok(found)
    }

    pub(super) fn at_least(&self, needed: u32, purpose: &'static str) -> Result<(), CriuError> {
        if self.version < needed {
            let found = self.version;
            return Err(CriuError::Old {
                found,
                needed,
                purpose,
            });
        }
        Ok(())
    }

    pub(super) fn is_at_least(&self, version: u32) -> bool {
        self.version >= version
    }

    /// What of `asked` CRIU and this kernel can do.
    pub(super) fn features(&self, asked: Features) -> Result<Features, CriuError> {
        let answer = self.ask_one(Request {
            kind: Kind::FeatureCheck.into(),
            features: Some(asked),
            ..Request::default()
        })?;
        Ok(answer.features.unwrap_or_default())
    }

    fn ask_one(&self, request: Request) -> Result<Answer, CriuError> {
        let (session, ()) = self.start(Streams::None, &[], || Ok(()))?;
        let answer = session.say(&request).and_then(|()| session.hear());
        session.end()?;
        answer.map(|(answer, _)| answer)
    }

    /// Runs it, with these descriptors under their numbers here. `before` is run in a mount namespace
    /// of its own, which CRIU lives in then, for [`Streams::Ours`]; what it gives is given back.
    pub(super) fn start<T: Send, E: From<CriuError> + Send>(
        &self,
        streams: Streams,
        passed: &[OwnedFd],
        before: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<(Session, T), E> {
        let talk = |errno: Errno| CriuError::Talk(errno.into());
        let (socket, theirs) = gamut_sys::socket::pair().map_err(talk)?;
        let mut command = Command::new(&self.path);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        if streams == Streams::None {
            command.stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        for fd in passed.iter().chain([&theirs]) {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).map_err(talk)?;
        }
        let spawn = move || {
            let given = before()?;
            let spawned = command.spawn();
            let process = spawned.map_err(|source| CriuError::Start {
                path: self.path.clone(),
                source,
            })?;
            Ok::<_, E>((process, given))
        };
        let (process, given) = match streams {
            Streams::None => spawn()?,
            Streams::Ours => apart(spawn)?,
        };
        Ok((Session { process, socket }, given))
    }
}

/// In a thread of its own: what it does to its mount namespace is undone with it.
fn apart<T: Send, E: From<CriuError> + Send>(
    act: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    let run = || {
        gamut_sys::process::unshare(gamut_sys::process::namespace::MOUNT)
            .map_err(|errno| CriuError::Talk(errno.into()))?;
        act()
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn number(version: &Version) -> u32 {
    let part = |n: i32| u32::try_from(n).unwrap_or(0);
    let base = part(version.major) * 10_000 + part(version.minor) * 100;
    match version.git_id {
        // Built on the way to the next release.
        Some(_) => base + 100,
        None => base + part(version.sublevel.unwrap_or(0)),
    }
}

/// What CRIU has for standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    None,
    /// Those of this process, which what is restored gets.
    Ours,
}

/// One that runs, and waits for its request or carries it out.
#[derive(Debug)]
pub(super) struct Session {
    process: Child,
    socket: OwnedFd,
}

/// A point that CRIU has come to; it waits.
#[derive(Debug)]
pub(super) struct Notice {
    /// As `--action-script` has it in criu(8).
    pub(super) name: String,
    /// Of the first process, 0 where there is none.
    pub(super) pid: i32,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Longer than any answer.
const ANSWER_BYTES: usize = 64 << 10;

impl Session {
    pub(super) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(0))
    }

    /// Has a request carried out. What `noticed` refuses ends it.
    pub(super) fn carry_out(
        mut self,
        act: Act<'_>,
        request: &Request,
        mut noticed: impl FnMut(Notice) -> Result<(), OciError>,
    ) -> Result<(), OciError> {
        let done = self.converse(&act, request, &mut noticed);
        let ended = self.end();
        done?;
        let status = ended?;
        // After a pre-dump it would wait for the dump.
        if !status.success() && request.kind != i32::from(Kind::PreDump) {
            return Err(act.failed(&format!("it ended with {status}")).into());
        }
        Ok(())
    }

    fn converse(
        &mut self,
        act: &Act<'_>,
        request: &Request,
        noticed: &mut dyn FnMut(Notice) -> Result<(), OciError>,
    ) -> Result<(), OciError> {
        self.say(request)?;
        loop {
            let (answer, descriptors) = self.hear()?;
            if !answer.success {
                return Err(act.failed(&reason(&answer)).into());
            }
            let Some(notify) = answer.notify else {
                return Ok(());
            };
            noticed(Notice {
                name: notify.script.unwrap_or_default(),
                pid: notify.pid.unwrap_or(0),
                descriptors,
            })?;
            self.say(&Request {
                kind: Kind::Notify.into(),
                notify_success: Some(true),
                ..Request::default()
            })?;
        }
    }

    fn say(&self, request: &Request) -> Result<(), CriuError> {
        let bytes = request.encode_to_vec();
        gamut_sys::socket::send(self.socket.as_fd(), &[&bytes], &[])
            .map_err(|errno| CriuError::Talk(errno.into()))
    }

    fn hear(&self) -> Result<(Answer, Vec<OwnedFd>), CriuError> {
        let mut buffer = vec![0; ANSWER_BYTES];
        let received = gamut_sys::socket::receive(self.socket.as_fd(), &mut buffer);
        let (length, descriptors) = received.map_err(|errno| CriuError::Talk(errno.into()))?;
        if length == 0 {
            return Err(CriuError::Words("nothing: it has ended".into()));
        }
        let answer = Answer::decode(&buffer[..length]);
        let answer = answer.map_err(|error| CriuError::Words(error.to_string()))?;
        Ok((answer, descriptors))
    }

    /// Lets go of it and waits until it has ended.
    fn end(mut self) -> Result<std::process::ExitStatus, CriuError> {
        drop(self.socket);
        self.process.wait().map_err(CriuError::Talk)
    }
}

/// What is asked for, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act<'a> {
    pub(super) name: &'static str,
    /// Where CRIU writes down what it does.
    pub(super) log: &'a Path,
}

impl Act<'_> {
    fn failed(&self, reason: &str) -> CriuError {
        let told = log::failure(self.log);
        CriuError::Failed {
            act: self.name,
            reason: told.unwrap_or_else(|| reason.to_owned()),
            log: self.log.exists().then(|| self.log.to_owned()),
        }
    }
}

fn reason(answer: &Answer) -> String {
    match (&answer.message, answer.errno) {
        (Some(message), _) if !message.is_empty() => message.clone(),
        (_, Some(errno)) if errno != 0 => std::io::Error::from_raw_os_error(errno).to_string(),
        _ => "it does not say why".to_owned(),
    }
}

/// The path as protobuf takes it.
pub(super) fn text(path: impl AsRef<OsStr>) -> Result<String, OciError> {
    let path = path.as_ref();
    path.to_str().map(str::to_owned).ok_or_else(|| {
        OciError::io(
            "give to criu",
            Path::new(path),
            std::io::Error::from(std::io::ErrorKind::InvalidFilename),
        )
    })
}
