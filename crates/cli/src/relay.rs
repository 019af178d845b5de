//! The streams of an exec'd process. It gets descriptors of its own: the user's where they are
//! pipes, else pipes of ours, never a file or a terminal of the host, which the container could
//! open anew through /proc for more than it was given for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_engine::client::{Client, ClientError, Event};
use gamut_plan::cell::Exit;
use gamut_plan::wire::Reply;
use gamut_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::attached::{Ending, write_all};
use crate::convert::DetachKeys;
use crate::detach::{DetachScanner, Scan};
use crate::error::Failure;
use crate::terminal;

const BUFFER_BYTES: usize = 64 * 1024;

/// The three streams for the process, and our ends of those that are relayed.
#[derive(Debug)]
pub struct Streams {
    pub theirs: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
}

fn failed(errno: Errno) -> Failure {
    Failure::Terminal(errno.into())
}

fn null() -> Result<OwnedFd, Failure> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)
}

/// Whether the workload may have this descriptor itself: a pipe, or the null device.
fn is_harmless(fd: BorrowedFd<'_>) -> bool {
    match rustix::fs::fstat(fd) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => true,
            FileType::CharacterDevice => stat.st_rdev == rustix::fs::makedev(1, 3),
            _ => false,
        },
        Err(_) => false,
    }
}

fn copy(fd: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(failed)
}

impl Streams {
    /// Streams like this process's own; without `stdin` there is no input.
    ///
    /// # Errors
    /// [`Failure::Terminal`].
    pub fn like_ours(stdin: bool) -> Result<Streams, Failure> {
        let own_stdin = std::io::stdin();
        let (their_stdin, our_stdin) = if !stdin {
            (null()?, None)
        } else if is_harmless(own_stdin.as_fd()) {
            (copy(own_stdin.as_fd())?, None)
        } else {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
            gamut_sys::socket::set_nonblocking(&write).map_err(failed)?;
            (read, Some(write))
        };
        let (stdout, our_stdout) = output(std::io::stdout().as_fd())?;
        let (stderr, our_stderr) = output(std::io::stderr().as_fd())?;
        Ok(Streams {
            theirs: [their_stdin, stdout, stderr],
            stdin: our_stdin,
            outputs: [our_stdout, our_stderr],
        })
    }

    /// No input, and output to nowhere: `exec -d`.
    ///
    /// # Errors
    /// [`Failure::Terminal`].
    pub fn nowhere() -> Result<Streams, Failure> {
        Ok(Streams {
            theirs: [null()?, null()?, null()?],
            stdin: None,
            outputs: [None, None],
        })
    }
}

fn output(own: BorrowedFd<'_>) -> Result<(OwnedFd, Option<OwnedFd>), Failure> {
    if is_harmless(own) {
        return Ok((copy(own)?, None));
    }
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    gamut_sys::socket::set_nonblocking(&read).map_err(failed)?;
    Ok((write, Some(read)))
}

/// Relays what is to be relayed until the process has ended; `streams.theirs` is with it by now.
///
/// # Errors
/// The keeper died, or the user's own streams failed.
pub fn run(client: &mut Client, streams: Streams, signals: &OwnedFd) -> Result<Exit, Failure> {
    let Streams {
        theirs,
        mut stdin,
        mut outputs,
    } = streams;
    drop(theirs);
    let mut pending: Vec<u8> = Vec::new();
    let mut input_ended = false;
    loop {
        let own_stdin = std::io::stdin();
        let mut fds = vec![
            PollFd::from_borrowed_fd(client.as_fd(), PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        let none = PollFlags::empty();
        let placeholder = client.as_fd();
        for output in &outputs {
            fds.push(match output {
                Some(fd) => PollFd::new(fd, PollFlags::IN),
                None => PollFd::from_borrowed_fd(placeholder, none),
            });
        }
        match &stdin {
            Some(pipe) if !pending.is_empty() => fds.push(PollFd::new(pipe, PollFlags::OUT)),
            Some(_) => fds.push(PollFd::new(&own_stdin, PollFlags::IN)),
            None => {}
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = |at: usize| ready.get(at).copied().unwrap_or(false);
        if is_ready(1) {
            for number in signal::drain(signals).map_err(failed)? {
                let _ = client.send_signal(number);
            }
        }
        for (index, output) in outputs.iter_mut().enumerate() {
            if output.is_some() && is_ready(2 + index) {
                relay_output(index, output)?;
            }
        }
        if is_ready(4) && !input_ended {
            if pending.is_empty() {
                input_ended = !read_input(&mut pending)?;
            }
            push(&stdin, &mut pending);
        }
        if input_ended && pending.is_empty() {
            stdin = None;
        }
        if is_ready(0)
            && let Some(exit) = on_event(client)?
        {
            for (index, output) in outputs.iter_mut().enumerate() {
                while output.is_some() && relay_output(index, output)? {}
            }
            return Ok(exit);
        }
    }
}

fn on_event(client: &mut Client) -> Result<Option<Exit>, Failure> {
    match client.event().map_err(Failure::engine)? {
        Event::Reply(Reply::Exited { exit }) => Ok(Some(exit)),
        Event::End => Err(Failure::engine(ClientError::Gone)),
        _ => Ok(None),
    }
}

/// Copies one buffer; `false` if there is none now.
fn relay_output(index: usize, output: &mut Option<OwnedFd>) -> Result<bool, Failure> {
    let Some(fd) = output else { return Ok(false) };
    let mut buffer = vec![0u8; BUFFER_BYTES];
    match rustix::io::read(&*fd, &mut buffer) {
        Ok(0) => {
            *output = None;
            Ok(false)
        }
        Ok(length) if index == 0 => {
            write_all(&mut std::io::stdout().lock(), &buffer[..length]).map(|()| true)
        }
        Ok(length) => write_all(&mut std::io::stderr().lock(), &buffer[..length]).map(|()| true),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(_) => {
            *output = None;
            Ok(false)
        }
    }
}

/// Reads our standard input; `false` at its end.
fn read_input(pending: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut buffer = vec![0u8; BUFFER_BYTES];
    match rustix::io::read(std::io::stdin(), &mut buffer) {
        Ok(0) => Ok(false),
        Ok(length) => {
            pending.extend_from_slice(&buffer[..length]);
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(true),
        Err(_) => Ok(false),
    }
}

fn push(pipe: &Option<OwnedFd>, pending: &mut Vec<u8>) {
    let Some(pipe) = pipe else {
        return pending.clear();
    };
    match rustix::io::write(pipe, pending) {
        Ok(length) => drop(pending.drain(..length)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        // The process reads no more.
        Err(_) => pending.clear(),
    }
}

/// Joins the user's terminal to the master of the process's own.
///
/// # Errors
/// The keeper died, or the user's own streams failed.
pub fn run_terminal(
    client: &mut Client,
    master: &OwnedFd,
    stdin: bool,
    keys: Option<&DetachKeys>,
    signals: &OwnedFd,
) -> Result<Ending, Failure> {
    let own_stdin = std::io::stdin();
    let raw = stdin && terminal::is_terminal(&own_stdin);
    let _raw = if raw {
        Some(terminal::RawMode::enter(&own_stdin).map_err(Failure::Terminal)?)
    } else {
        None
    };
    let mut scanner = keys.filter(|_| stdin).map(DetachScanner::new);
    let mut input_open = stdin;
    let mut output_open = true;
    resize(client, master);
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(client.as_fd(), PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        let wanted = if output_open {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        fds.push(PollFd::new(master, wanted));
        if input_open {
            fds.push(PollFd::new(&own_stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = |at: usize| ready.get(at).copied().unwrap_or(false);
        if is_ready(1) {
            for number in signal::drain(signals).map_err(failed)? {
                const SIGWINCH: i32 = 28;
                if number == SIGWINCH {
                    resize(client, master);
                } else {
                    let _ = client.send_signal(number);
                }
            }
        }
        if is_ready(2) && output_open {
            output_open = copy_from(master)?;
        }
        if is_ready(3) {
            let mut typed = Vec::new();
            input_open = read_input(&mut typed)?;
            let (bytes, detach) = match scanner.as_mut().map(|s| s.scan(&typed)) {
                None => (typed, false),
                Some(Scan::Pass(bytes)) => (bytes, false),
                Some(Scan::Detach(bytes)) => (bytes, true),
            };
            write_to(master, &bytes);
            if detach {
                return Ok(Ending::Detached);
            }
        }
        if is_ready(0)
            && let Some(exit) = on_event(client)?
        {
            // A terminal keeps what was written until it is read or closed.
            while output_open && has_output(master) {
                output_open = copy_from(master)?;
            }
            return Ok(Ending::Exited(exit));
        }
    }
}

/// What is no terminal leads to one in a machine, of which the keeper knows.
fn resize(client: &Client, master: &OwnedFd) {
    let size = terminal::window_size(std::io::stdout())
        .or_else(|| terminal::window_size(std::io::stdin()));
    if let Some(size) = size {
        let here = rustix::termios::Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        if rustix::termios::tcsetwinsize(master, here) == Err(Errno::NOTTY) {
            let _ = client.send_resize(size.rows, size.columns);
        }
    }
}

fn has_output(master: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(master, PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    matches!(poll(&mut fds, Some(&now)), Ok(1)) && fds[0].revents().contains(PollFlags::IN)
}

/// Copies one buffer of the terminal's output; `false` when its other side is closed.
fn copy_from(master: &OwnedFd) -> Result<bool, Failure> {
    let mut buffer = vec![0u8; BUFFER_BYTES];
    match rustix::io::read(master, &mut buffer) {
        Ok(0) => Ok(false),
        Ok(length) => write_all(&mut std::io::stdout().lock(), &buffer[..length]).map(|()| true),
        Err(Errno::AGAIN | Errno::INTR) => Ok(true),
        Err(_) => Ok(false),
    }
}

fn write_to(master: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(master, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
