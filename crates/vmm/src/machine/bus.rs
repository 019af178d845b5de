//! What a vCPU reaches outside of memory: the devices' registers, the serial port, and the two ports by
//! which a PC is reset.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gamut_virtio::device::Device;
use gamut_virtio::mmio::{Mmio, REGISTERS_BYTES};

use super::keyboard::{self, Keyboard};
use super::layout::{DEVICES, SERIAL_PORT};
use super::serial::Serial;

/// A device that the bus and the event loop share.
pub(super) type Shared = Arc<Mutex<Mmio<dyn Device>>>;

/// No device breaks while it is held: a panic ends the process.
pub(super) fn lock<D: Device + ?Sized>(device: &Mutex<Mmio<D>>) -> MutexGuard<'_, Mmio<D>> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Command of the keyboard controller: pull the processor's reset line.
const PULSE_RESET: u8 = 0xfe;
/// The chip set's reset control register, and its bit that resets.
const RESET_CONTROL: u16 = 0xcf9;
const RESET_CPU: u8 = 1 << 2;

/// What a write asks for besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Reset,
}

/// Both address spaces.
#[derive(Debug)]
pub(super) struct Bus {
    /// By their place: the first one's registers are at [`DEVICES`].
    pub(super) devices: Vec<Shared>,
    pub(super) serial: Mutex<Serial>,
    pub(super) keyboard: Option<Mutex<Keyboard>>,
}

impl Bus {
    pub(super) fn read(&self, address: u64, data: &mut [u8]) {
        match self.device(address) {
            Some((device, offset)) => lock(device).read(offset, data),
            // As where nothing is: all lines float high.
            None => data.fill(0xff),
        }
    }

    pub(super) fn write(&self, address: u64, data: &[u8]) {
        if let Some((device, offset)) = self.device(address) {
            lock(device).write(offset, data);
        }
    }

    fn device(&self, address: u64) -> Option<(&Shared, u64)> {
        let offset = address.checked_sub(DEVICES)?;
        let index = usize::try_from(offset / REGISTERS_BYTES).ok()?;
        Some((self.devices.get(index)?, offset % REGISTERS_BYTES))
    }

    pub(super) fn port_read(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        if let (Some(register), [byte]) = (serial_register(port), &mut *data) {
            *byte = self.serial().read(register);
        } else if (keyboard::DATA..=keyboard::COMMAND).contains(&port) {
            // Nothing waits, and commands are taken.
            data.fill(0);
            if let (Some(mut keyboard), [byte]) = (self.keyboard(), &mut *data) {
                *byte = keyboard.read(port);
            }
        }
    }

    pub(super) fn port_write(&self, port: u16, data: &[u8]) -> Wish {
        match (serial_register(port), port, data) {
            (Some(register), _, [byte]) => self.serial().write(register, *byte),
            (None, keyboard::COMMAND, [PULSE_RESET]) => return Wish::Reset,
            (None, keyboard::DATA | keyboard::COMMAND, [byte]) => {
                if let Some(mut keyboard) = self.keyboard() {
                    keyboard.write(port, *byte);
                }
            }
            (None, RESET_CONTROL, [byte]) if byte & RESET_CPU != 0 => return Wish::Reset,
            _ => {}
        }
        Wish::Nothing
    }

    pub(super) fn keyboard(&self) -> Option<MutexGuard<'_, Keyboard>> {
        let keyboard = self.keyboard.as_ref()?;
        Some(keyboard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn serial(&self) -> MutexGuard<'_, Serial> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serial_register(port: u16) -> Option<u8> {
    let register = port.checked_sub(SERIAL_PORT)?;
    u8::try_from(register).ok().filter(|register| *register < 8)
}
