//! Where a process's streams come from and go to: FIFOs of containerd's, a file (`file://`), or a program
//! that logs (`binary://`). `docs/runtime-v2.md` of containerd has the rules.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use gamut_sys::socket::set_nonblocking;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::ShimError;
use crate::pump::{Flow, Pump};
use crate::reaper::Reaper;

/// The three names of a request, each empty for none.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

/// Streams that are ready to be copied.
#[derive(Debug, Default)]
pub struct Streams {
    pub pumps: Vec<Pump>,
    /// A writer of the input FIFO: while there is one, a client that goes does not end the input. Dropped by
    /// `CloseIO`.
    pub input_held: Option<OwnedFd>,
}

/// Whose streams these are.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    pub namespace: &'a str,
    pub container: &'a str,
    /// User and group that own the pipes.
    pub pipe_owner: (u32, u32),
}

/// Opens a path without ever waiting.
fn open(path: &str, flags: OFlags) -> Result<OwnedFd, ShimError> {
    rustix::fs::open(
        path,
        flags | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )
    .map_err(|errno| ShimError::file(path, errno))
}

/// Opens where output goes. A FIFO is opened for both, so that it neither waits for a reader nor breaks when
/// its reader goes: containerd may be restarted while the container writes.
fn open_output(name: &str) -> Result<OwnedFd, ShimError> {
    match name.split_once("://") {
        None | Some(("fifo", _)) => {
            let path = name.strip_prefix("fifo://").unwrap_or(name);
            let kind = rustix::fs::stat(path).map_err(|errno| ShimError::file(path, errno))?;
            if rustix::fs::FileType::from_raw_mode(kind.st_mode) == rustix::fs::FileType::Fifo {
                open(path, OFlags::RDWR)
            } else {
                open(path, OFlags::WRONLY | OFlags::APPEND)
            }
        }
        Some(("file", path)) => {
            if let Some(parent) = Path::new(path).parent() {
                std::fs::create_dir_all(parent)
                    .map_err(|source| ShimError::file(parent, source))?;
            }
            open(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
        }
        Some(_) => Err(ShimError::Output(name.to_owned())),
    }
}

/// Opens the input FIFO and a writer that keeps it from ending.
fn open_input(name: &str) -> Result<(OwnedFd, OwnedFd), ShimError> {
    let reader = open(name, OFlags::RDONLY)?;
    let writer = open(name, OFlags::WRONLY)?;
    Ok((reader, writer))
}

fn pipe(whose: Whose<'_>) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let (uid, gid) = whose.pipe_owner;
    if (uid, gid) != (0, 0) {
        for end in [&reader, &writer] {
            let uid = rustix::fs::Uid::from_raw(uid);
            let gid = rustix::fs::Gid::from_raw(gid);
            rustix::fs::fchown(end, Some(uid), Some(gid))?;
        }
    }
    Ok((reader, writer))
}

/// Opens the streams of a process without a terminal, and the pipes that it gets.
///
/// # Errors
/// A FIFO that is not there; a place of a kind that is not known.
pub fn pipes(
    reaper: &Reaper,
    whose: Whose<'_>,
    names: &Names,
) -> Result<(Streams, [Stdio; 3]), ShimError> {
    let mut streams = Streams::default();
    if names.stdout.starts_with("binary://") {
        let outputs = logger(reaper, whose, &names.stdout)?;
        let [stdout, stderr] = outputs.map(Stdio::from);
        return Ok((streams, [Stdio::null(), stdout, stderr]));
    }
    let mut stdin = Stdio::null();
    if !names.stdin.is_empty() {
        let (from, held) = open_input(&names.stdin)?;
        let (reader, to) = pipe(whose)?;
        set_nonblocking(&to)?;
        let flow = Flow::Input;
        streams.pumps.push(Pump { flow, from, to });
        streams.input_held = Some(held);
        stdin = reader.into();
    }
    let mut output = |name: &str| -> Result<Stdio, ShimError> {
        if name.is_empty() {
            return Ok(Stdio::null());
        }
        let to = open_output(name)?;
        let (from, writer) = pipe(whose)?;
        set_nonblocking(&from)?;
        let flow = Flow::Output;
        streams.pumps.push(Pump { flow, from, to });
        Ok(writer.into())
    };
    let stdout = output(&names.stdout)?;
    // One file for both is named once only.
    let stderr = if names.stderr.is_empty() && names.stdout.starts_with("file://") {
        output(&names.stdout)?
    } else {
        output(&names.stderr)?
    };
    Ok((streams, [stdin, stdout, stderr]))
}

/// Opens the streams of a process with a terminal, whose master side is `console`.
///
/// # Errors
/// As [`pipes`].
pub fn terminal(
    reaper: &Reaper,
    whose: Whose<'_>,
    names: &Names,
    console: &OwnedFd,
) -> Result<Streams, ShimError> {
    set_nonblocking(console)?;
    let copy = || rustix::io::fcntl_dupfd_cloexec(console, 0);
    let mut streams = Streams::default();
    if !names.stdin.is_empty() {
        let (from, held) = open_input(&names.stdin)?;
        let (flow, to) = (Flow::Input, copy()?);
        streams.pumps.push(Pump { flow, from, to });
        streams.input_held = Some(held);
    }
    let to = if names.stdout.starts_with("binary://") {
        let [stdout, _] = logger(reaper, whose, &names.stdout)?;
        set_nonblocking(&stdout)?;
        stdout
    } else if names.stdout.is_empty() {
        // Somebody has to read a terminal, or its program waits.
        open("/dev/null", OFlags::WRONLY)?
    } else {
        open_output(&names.stdout)?
    };
    let (flow, from) = (Flow::Output, copy()?);
    streams.pumps.push(Pump { flow, from, to });
    Ok(streams)
}

/// Starts the program of a `binary://` URI: its descriptors 3 and 4 are the container's output and errors,
/// and it closes 5 when it is ready (`core/runtime/v2/logging` of containerd). Its arguments are the keys and
/// values of the query. Gives the container's ends.
fn logger(reaper: &Reaper, whose: Whose<'_>, uri: &str) -> Result<[OwnedFd; 2], ShimError> {
    let rest = uri.trim_start_matches("binary://");
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (stdout, stdout_end) = pipe(whose)?;
    let (stderr, stderr_end) = pipe(whose)?;
    let (ready, ready_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = Command::new(decode(path));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        command.arg(decode(key));
        if !value.is_empty() {
            command.arg(decode(value));
        }
    }
    command.env("CONTAINER_ID", whose.container);
    command.env("CONTAINER_NAMESPACE", whose.namespace);
    command.stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    gamut_sys::command::pass_on(&mut command, &[stdout, stderr, ready_end])?;
    let spawned = reaper.spawn(&mut command);
    spawned.map_err(|source| ShimError::file(path, source))?;
    // Our copy of the end that it closes.
    drop(command);
    rustix::io::retry_on_intr(|| rustix::io::read(ready.as_fd(), &mut [0u8; 1]))?;
    Ok([stdout_end, stderr_end])
}

/// Undoes a URI's `%XX` and `+`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match hex {
            Some(byte) => {
                bytes.push(byte);
                &after[2..]
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_decoded() {
        assert_eq!(decode("a%20b+c"), "a b c");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
    }

    #[test]
    fn an_unknown_place_is_refused() {
        let error = open_output("gopher://x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`gopher://x` is no place for output: a FIFO, `file://` or `binary://`"
        );
    }
}
