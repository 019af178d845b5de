//! A keyboard behind its controller, an 8042: for who wants a guest to see Ctrl-Alt-Del. As much of it as
//! Linux asks for (`drivers/input/serio/i8042.c`); all else is taken and not answered.
//!
//! Without it, the controller's ports say that nothing waits, and Linux finds no keyboard, which is sooner.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::io::Errno;

/// The controller's ports: data, and status or command.
pub(super) const DATA: u16 = 0x60;
pub(super) const COMMAND: u16 = 0x64;

// Status.
const OUTPUT_FULL: u8 = 1 << 0;
const LAST_WAS_COMMAND: u8 = 1 << 3;
const UNLOCKED: u8 = 1 << 4;
// The controller's own command byte.
const INTERRUPTS: u8 = 1 << 0;
const SELF_TESTED: u8 = 1 << 2;
// Commands.
const READ_COMMAND_BYTE: u8 = 0x20;
const WRITE_COMMAND_BYTE: u8 = 0x60;
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;
/// The keyboard's answer to all that it is told.
const ACKNOWLEDGED: u8 = 0xfa;
/// Bytes that may wait for the guest; more are lost, as on the real one.
const WAITING_MAX: usize = 16;

/// Ctrl, Alt and Del going down: scan code set 2.
const CTRL_ALT_DEL: [u8; 4] = [0x14, 0x11, 0xe0, 0x71];

/// Both of them.
#[derive(Debug)]
pub(super) struct Keyboard {
    line: OwnedFd,
    command_byte: u8,
    output_port: u8,
    /// The command whose parameter comes to the data port.
    pending: Option<u8>,
    is_last_command: bool,
    waiting: VecDeque<u8>,
}

impl Keyboard {
    /// # Errors
    /// `EMFILE`, `ENOMEM`: an eventfd.
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            line: rustix::event::eventfd(0, flags)?,
            command_byte: INTERRUPTS | SELF_TESTED,
            output_port: 0,
            pending: None,
            is_last_command: false,
            waiting: VecDeque::with_capacity(WAITING_MAX),
        })
    }

    /// The interrupt.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }

    pub(super) fn read(&mut self, port: u16) -> u8 {
        match port {
            DATA => {
                let byte = self.waiting.pop_front().unwrap_or(0);
                // One interrupt for each byte: the guest takes one at a time.
                self.interrupt();
                byte
            }
            COMMAND => {
                let full = if self.waiting.is_empty() {
                    0
                } else {
                    OUTPUT_FULL
                };
                let last = if self.is_last_command {
                    LAST_WAS_COMMAND
                } else {
                    0
                };
                full | last | UNLOCKED
            }
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, port: u16, byte: u8) {
        self.is_last_command = port == COMMAND;
        match (port, self.pending) {
            (COMMAND, _) => self.command(byte),
            (DATA, Some(command)) => {
                self.pending = None;
                match command {
                    WRITE_COMMAND_BYTE => self.command_byte = byte,
                    _ => self.output_port = byte,
                }
            }
            (DATA, None) => self.push(&[ACKNOWLEDGED]),
            _ => {}
        }
    }

    fn command(&mut self, command: u8) {
        self.pending = None;
        match command {
            READ_COMMAND_BYTE => self.answer(self.command_byte),
            READ_OUTPUT_PORT => self.answer(self.output_port),
            WRITE_COMMAND_BYTE | WRITE_OUTPUT_PORT => self.pending = Some(command),
            _ => {}
        }
    }

    /// The controller's own word takes the place of the keyboard's.
    fn answer(&mut self, byte: u8) {
        self.waiting.clear();
        self.waiting.push_back(byte);
    }

    /// Presses the three keys.
    pub(super) fn ctrl_alt_del(&mut self) {
        self.push(&CTRL_ALT_DEL);
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.waiting.len() + bytes.len() <= WAITING_MAX {
            self.waiting.extend(bytes);
        }
        self.interrupt();
    }

    fn interrupt(&self) {
        if !self.waiting.is_empty() && self.command_byte & INTERRUPTS != 0 {
            // Only a counter at its end refuses, and that one is raised already.
            let _ = rustix::io::write(&self.line, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(keyboard: &Keyboard) -> bool {
        rustix::io::read(keyboard.event(), &mut [0; 8]).is_ok()
    }

    #[test]
    fn it_is_found_and_its_keys_are_read_one_by_one() {
        let mut keyboard = Keyboard::new().expect("an eventfd");
        // As i8042_controller_init() does.
        keyboard.write(COMMAND, READ_COMMAND_BYTE);
        assert_eq!(
            keyboard.read(COMMAND),
            OUTPUT_FULL | LAST_WAS_COMMAND | UNLOCKED
        );
        assert_eq!(keyboard.read(DATA), INTERRUPTS | SELF_TESTED);
        keyboard.write(COMMAND, WRITE_COMMAND_BYTE);
        keyboard.write(DATA, SELF_TESTED);
        assert_eq!(keyboard.read(COMMAND), UNLOCKED);
        keyboard.ctrl_alt_del();
        assert!(!raised(&keyboard), "interrupts are off");
        keyboard.write(COMMAND, WRITE_COMMAND_BYTE);
        keyboard.write(DATA, SELF_TESTED | INTERRUPTS);
        for byte in CTRL_ALT_DEL {
            assert_eq!(keyboard.read(COMMAND) & OUTPUT_FULL, OUTPUT_FULL);
            assert_eq!(keyboard.read(DATA), byte);
            assert_eq!(raised(&keyboard), byte != 0x71);
        }
        assert_eq!(keyboard.read(DATA), 0);
        keyboard.write(DATA, 0xed);
        assert!(raised(&keyboard));
        assert_eq!(keyboard.read(DATA), ACKNOWLEDGED);
    }

    #[test]
    fn a_guest_that_reads_nothing_fills_it_and_no_more() {
        let mut keyboard = Keyboard::new().expect("an eventfd");
        for _ in 0..100 {
            keyboard.ctrl_alt_del();
            keyboard.write(DATA, 0);
        }
        assert!(keyboard.waiting.len() <= WAITING_MAX);
    }
}
