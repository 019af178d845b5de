//! What a program can be started with that std's `Command` does not know: descriptors, the end of its
//! starter as its own, and less than its starter may do.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

/// Has a program started with descriptors 3, 4, … beside its three streams. They stay open here until
/// the command is dropped.
///
/// # Errors
/// `EMFILE` of fcntl(2).
pub fn pass_on(command: &mut Command, descriptors: &[OwnedFd]) -> Result<(), Errno> {
    // Above every target, so that no copy overwrites a source before its turn.
    let above = 3 + descriptors.len() as i32;
    let mut sources = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        sources.push(rustix::io::fcntl_dupfd_cloexec(descriptor, above)?);
    }
    let install = move || {
        for (target, source) in (3..).zip(&sources) {
            // SAFETY: dup2 takes two integers. This runs in the child, just before exec: what its
            // targets were there, copies of the parent's that exec would close, nobody uses again.
            if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: pre_exec wants a closure that is safe between fork and exec in a program with threads:
    // this one calls dup2 and reads errno, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(install) };
    Ok(())
}

/// Has a program killed when the thread that starts it ends; prctl(2), `PR_SET_PDEATHSIG`.
pub fn die_with_starter(command: &mut Command) {
    let starter = rustix::process::getpid();
    let install = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have ended before that.
        if rustix::process::getppid() == Some(starter) {
            Ok(())
        } else {
            Err(std::io::Error::from(Errno::SRCH))
        }
    };
    // SAFETY: as in `pass_on`: this closure makes two system calls.
    unsafe { command.pre_exec(install) };
}

/// Has a program started with these capabilities at most, whoever it is started by; capabilities(7), the
/// bounding set. The caller needs `CAP_SETPCAP`.
pub fn limit_capabilities(command: &mut Command, kept: CapabilitySet) {
    let limit = move || {
        for bit in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            if rustix::thread::capability_is_in_bounding_set(one).is_err() {
                break;
            }
            if !kept.contains(one) {
                rustix::thread::remove_capability_from_bounding_set(one)?;
            }
        }
        Ok(())
    };
    // SAFETY: as in `pass_on`: this closure makes system calls and nothing else.
    unsafe { command.pre_exec(limit) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_the_descriptors_that_are_passed_on() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let other = rustix::io::fcntl_dupfd_cloexec(&reader, 0).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo hello >&4"]);
        pass_on(&mut command, &[other, writer]).unwrap();
        assert!(command.status().unwrap().success());
        drop(command);
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::read(&reader, &mut buffer), Ok(6));
        assert_eq!(rustix::io::read(&reader, &mut buffer), Ok(0));
    }

    #[test]
    fn a_program_has_the_capabilities_that_are_left() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec grep CapBnd /proc/self/status"]);
        limit_capabilities(&mut command, CapabilitySet::SYS_CHROOT);
        die_with_starter(&mut command);
        match command.output() {
            Ok(output) => {
                let said = String::from_utf8(output.stdout).unwrap();
                assert_eq!(said.trim(), "CapBnd:\t0000000000040000");
            }
            Err(error) => eprintln!("skipped: no CAP_SETPCAP: {error}"),
        }
    }
}
