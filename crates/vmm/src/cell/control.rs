//! Asking the agent: one request, one answer, and a limit of time for both.

use std::os::fd::OwnedFd;
use std::time::Duration;

use gamut_plan::cell::{CellError, StartError};
use gamut_plan::frame::{self, Frames};
use gamut_plan::guest::{GuestReply, GuestRequest, Hello, VERSION};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use serde::de::DeserializeOwned;

/// How long a machine may take until its agent says hello. Where processors are emulated that is seconds.
pub(super) const BOOT: Duration = Duration::from_secs(120);
/// How long the start of a process may take, with its mounts.
pub(super) const START: Duration = Duration::from_secs(60);
/// How long anything else may take.
pub(super) const REQUEST: Duration = Duration::from_secs(10);

const BUFFER_BYTES: usize = 16 << 10;

/// The machine does not answer any more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dead(String);

impl Dead {
    pub(super) fn at_start(self) -> StartError {
        StartError::Step {
            step: "start the machine".into(),
            reason: self.0,
            hint: None,
        }
    }

    pub(super) fn now(self) -> CellError {
        CellError::Refused {
            act: "ask the machine".into(),
            reason: self.0,
            hint: Some("`gamut stop` ends what is left of it".into()),
        }
    }
}

/// The connection to a machine's agent.
#[derive(Debug)]
pub(super) struct Control {
    socket: OwnedFd,
    frames: Frames,
    dead: Option<Dead>,
}

pub(super) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A pair of connected stream sockets.
pub(super) fn sockets() -> Result<(OwnedFd, OwnedFd), StartError> {
    let kind = SocketType::STREAM;
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(|errno| failed_call("make a socket pair", errno))
}

pub(super) fn failed_call(step: &str, errno: Errno) -> StartError {
    StartError::Step {
        step: step.into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: None,
    }
}

/// A machine that is not what it is to be.
pub(super) fn failed_setup(error: CellError) -> StartError {
    match error {
        CellError::NoProcess => StartError::Step {
            step: "set up the machine".into(),
            reason: error.to_string(),
            hint: None,
        },
        CellError::Refused { act, reason, hint } => StartError::Step {
            step: format!("{act} in the machine"),
            reason,
            hint,
        },
    }
}

/// Why it died is more than that it did.
pub(super) fn with_last_words(error: StartError, words: Option<String>) -> StartError {
    match (error, words) {
        (StartError::Step { step, reason, hint }, Some(words)) => StartError::Step {
            step,
            reason: format!("{reason}; {words}"),
            hint,
        },
        (error, _) => error,
    }
}

impl Control {
    /// Our end, and the one for the monitor.
    pub(super) fn pair() -> Result<(Self, OwnedFd), StartError> {
        let (socket, theirs) = sockets()?;
        gamut_sys::socket::set_nonblocking(&socket)
            .map_err(|errno| failed_call("make a socket pair", errno))?;
        let control = Control {
            socket,
            frames: Frames::default(),
            dead: None,
        };
        Ok((control, theirs))
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    /// Waits for the agent's first words.
    pub(super) fn hello(&mut self, patience: Duration) -> Result<(), StartError> {
        let until_ns = now_ns().saturating_add(patience.as_nanos() as u64);
        let heard = self.hear::<Hello>(until_ns);
        let hello = self.known(heard).map_err(Dead::at_start)?;
        if hello.version != VERSION {
            return Err(StartError::Step {
                step: "start the machine".into(),
                reason: format!(
                    "its agent speaks version {} of their language, and not {VERSION}",
                    hello.version
                ),
                hint: Some("the programs `gamut` and `gamut-agent` belong to each other".into()),
            });
        }
        Ok(())
    }

    /// Sends a request and waits for its answer.
    pub(super) fn ask(
        &mut self,
        request: &GuestRequest,
        patience: Duration,
    ) -> Result<GuestReply, Dead> {
        if let Some(dead) = &self.dead {
            return Err(dead.clone());
        }
        let until_ns = now_ns().saturating_add(patience.as_nanos() as u64);
        let answered = self
            .say(request, until_ns)
            .and_then(|()| self.hear(until_ns));
        self.known(answered)
    }

    /// Has the machine end its workload and write everything back; one that cannot any more is fine.
    pub(super) fn shut_down(&mut self) -> Result<(), Dead> {
        let asked = self.ask(&GuestRequest::Shutdown, REQUEST);
        self.dead = Some(Dead("it was shut down".into()));
        asked.map(drop)
    }

    /// An answer that is none to what was asked.
    pub(super) fn nonsense(&mut self) -> Dead {
        let dead = Dead("it answers what it was not asked".into());
        self.dead = Some(dead.clone());
        dead
    }

    fn known<T>(&mut self, result: Result<T, Dead>) -> Result<T, Dead> {
        if let Err(dead) = &result {
            self.dead = Some(dead.clone());
        }
        result
    }

    fn say(&self, request: &GuestRequest, until_ns: u64) -> Result<(), Dead> {
        let frame = frame::encode(request).map_err(|error| Dead(error.to_string()))?;
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(length) => rest = &rest[length..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, until_ns)?,
                Err(_) => return Err(ended()),
            }
        }
        Ok(())
    }

    fn hear<T: DeserializeOwned>(&mut self, until_ns: u64) -> Result<T, Dead> {
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            let taken = self.frames.take::<T>();
            if let Some(message) = taken.map_err(|error| Dead(error.to_string()))? {
                return Ok(message);
            }
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => return Err(ended()),
                Ok(length) => self.frames.push(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, until_ns)?,
                Err(_) => return Err(ended()),
            }
        }
    }

    fn wait(&self, flags: PollFlags, until_ns: u64) -> Result<(), Dead> {
        let left_ns = until_ns.saturating_sub(now_ns());
        if left_ns == 0 {
            return Err(Dead("it does not answer".into()));
        }
        let timeout = Timespec {
            tv_sec: (left_ns / 1_000_000_000) as i64,
            tv_nsec: (left_ns % 1_000_000_000) as i64,
        };
        match poll(&mut [PollFd::new(&self.socket, flags)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Dead(std::io::Error::from(errno).to_string())),
        }
    }
}

fn ended() -> Dead {
    Dead("it has ended".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(bytes: &[u8]) -> (Control, OwnedFd) {
        let (control, theirs) = Control::pair().unwrap();
        rustix::io::write(&theirs, bytes).unwrap();
        (control, theirs)
    }

    #[test]
    fn an_answer_comes_back() {
        let frame = frame::encode(&GuestReply::Done).unwrap();
        let (mut control, theirs) = says(&frame);
        assert_eq!(
            control.ask(&GuestRequest::Stats, REQUEST),
            Ok(GuestReply::Done)
        );
        let mut frames = Frames::default();
        let mut buffer = [0; 256];
        let length = rustix::io::read(&theirs, &mut buffer).unwrap();
        frames.push(&buffer[..length]);
        assert_eq!(frames.take().unwrap(), Some(GuestRequest::Stats));
    }

    #[test]
    fn the_dead_are_not_asked_again() {
        let (mut control, theirs) = says(b"");
        let moment = Duration::from_millis(1);
        let silent = control.ask(&GuestRequest::Stats, moment).unwrap_err();
        assert_eq!(silent, Dead("it does not answer".into()));
        // Late: nobody knows what it is an answer to.
        rustix::io::write(&theirs, &frame::encode(&GuestReply::Done).unwrap()).unwrap();
        assert_eq!(control.ask(&GuestRequest::Stats, REQUEST), Err(silent));
    }

    #[test]
    fn an_end_and_nonsense_are_deaths() {
        let (mut control, theirs) = says(b"");
        drop(theirs);
        assert_eq!(control.ask(&GuestRequest::Thaw, REQUEST), Err(ended()));
        let (mut control, _theirs) = says(&[3, 0, 0, 0, b'a', b'b', b'c']);
        assert!(control.ask(&GuestRequest::Thaw, REQUEST).is_err());
        let (mut control, _theirs) = says(&[0xff; 64]);
        assert!(control.ask(&GuestRequest::Thaw, REQUEST).is_err());
        assert!(control.is_dead());
    }

    #[test]
    fn another_version_is_refused() {
        let hello = Hello {
            version: VERSION + 1,
            kernel: "6.1".into(),
            up_ns: 1,
        };
        let (mut control, _theirs) = says(&frame::encode(&hello).unwrap());
        let error = control.hello(REQUEST).unwrap_err();
        assert!(matches!(error, StartError::Step { hint: Some(_), .. }));
    }
}
