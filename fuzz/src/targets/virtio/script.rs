//! Scripts as bytes: read from whatever comes ([`Reader`]), and written for seeds ([`Script`]).
//!
//! Each step is a byte, modulo the number of steps, and its operands, little end first. An address is a
//! byte that says which piece of memory, and eight bytes; bytes of any length begin with two for that.

use super::{HIGH, LOW, SIZE};

/// Steps of one script, at most.
const STEPS_MAX: usize = 300;

#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    WriteRegister {
        offset: u16,
        bytes: &'a [u8],
    },
    ReadRegister {
        offset: u16,
        length: u8,
    },
    Fill {
        address: u64,
        bytes: &'a [u8],
    },
    /// A descriptor in the table where the queue usually is.
    Describe {
        queue: u8,
        index: u16,
        descriptor: &'a [u8; 16],
    },
    Offer {
        queue: u8,
        head: u16,
    },
    Start {
        features: u64,
    },
    Act {
        number: u8,
        bytes: &'a [u8],
    },
    Run,
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            left: STEPS_MAX,
        }
    }

    fn step(&mut self) -> Option<Step<'a>> {
        self.left = self.left.checked_sub(1)?;
        let [kind] = self.array()?;
        Some(match kind % 8 {
            0 => Step::WriteRegister {
                offset: u16::from_le_bytes(self.array()?),
                bytes: self.bytes()?,
            },
            1 => Step::ReadRegister {
                offset: u16::from_le_bytes(self.array()?),
                length: self.array::<1>()?[0],
            },
            2 => Step::Fill {
                address: self.address()?,
                bytes: self.bytes()?,
            },
            3 => Step::Describe {
                queue: self.array::<1>()?[0],
                index: u16::from_le_bytes(self.array()?),
                descriptor: self.descriptor()?,
            },
            4 => Step::Offer {
                queue: self.array::<1>()?[0],
                head: u16::from_le_bytes(self.array()?),
            },
            5 => Step::Start {
                features: u64::from_le_bytes(self.array()?),
            },
            6 => Step::Act {
                number: self.array::<1>()?[0],
                bytes: self.bytes()?,
            },
            _ => Step::Run,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn descriptor(&mut self) -> Option<&'a [u8; 16]> {
        let (descriptor, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(descriptor)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_le_bytes(self.array()?);
        let length = usize::from(length).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(bytes)
    }

    fn address(&mut self) -> Option<u64> {
        let [piece] = self.array()?;
        let value = u64::from_le_bytes(self.array()?);
        Some(match piece % 3 {
            0 => LOW + value % SIZE,
            1 => HIGH + value % SIZE,
            _ => value,
        })
    }
}

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;

impl<'a> Iterator for Reader<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        self.step()
    }
}

/// A seed in the making: what a good driver does.
#[derive(Debug, Default)]
pub(super) struct Script {
    bytes: Vec<u8>,
    /// The next free descriptor.
    descriptor: u16,
    /// The next free byte of the high piece.
    free: u64,
}

impl Script {
    /// Begins with all features, or none but the necessary.
    pub(super) fn start(mut self, features: u64) -> Self {
        self.bytes.push(5);
        self.bytes.extend(features.to_le_bytes());
        self.descriptor = 0;
        self
    }

    pub(super) fn write(mut self, offset: u16, value: u32) -> Self {
        self.bytes.push(0);
        self.bytes.extend(offset.to_le_bytes());
        self.put(&value.to_le_bytes());
        self
    }

    pub(super) fn read(mut self, offset: u16, length: u8) -> Self {
        self.bytes.push(1);
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.push(length);
        self
    }

    pub(super) fn act(mut self, number: u8, bytes: &[u8]) -> Self {
        self.bytes.extend([6, number]);
        self.put(bytes);
        self
    }

    /// A request: what the device may read, then room for its answer.
    pub(super) fn request(mut self, queue: u8, readable: &[&[u8]], writable: &[u32]) -> Self {
        let head = self.descriptor;
        let count = readable.len() + writable.len();
        let spans: Vec<_> = readable
            .iter()
            .map(|bytes| (self.place(bytes), bytes.len() as u32, 0))
            .collect();
        let room = writable.iter().map(|&length| {
            let at = self.free;
            self.free += u64::from(length);
            (HIGH + at, length, WRITE)
        });
        let spans: Vec<_> = spans.into_iter().chain(room.collect::<Vec<_>>()).collect();
        for (number, (address, length, flags)) in spans.into_iter().enumerate() {
            let link = if number + 1 < count { NEXT } else { 0 };
            self = self.describe(queue, address, length, flags | link);
        }
        self.offer(queue, head)
    }

    /// The same by way of an indirect table.
    pub(super) fn indirect(mut self, queue: u8, table: &[(u64, u32, u16)]) -> Self {
        let mut bytes = Vec::new();
        for (number, (address, length, flags)) in table.iter().enumerate() {
            let link = if number + 1 < table.len() { NEXT } else { 0 };
            bytes.extend(address.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend((flags | link).to_le_bytes());
            bytes.extend((number as u16 + 1).to_le_bytes());
        }
        let head = self.descriptor;
        let at = self.place(&bytes);
        self.describe(queue, at, bytes.len() as u32, INDIRECT)
            .offer(queue, head)
    }

    pub(super) fn describe(mut self, queue: u8, address: u64, length: u32, flags: u16) -> Self {
        let index = self.descriptor;
        self.descriptor = (index + 1) % super::QUEUE_SIZE;
        self.bytes.extend([3, queue]);
        self.bytes.extend(index.to_le_bytes());
        self.bytes.extend(address.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(self.descriptor.to_le_bytes());
        self
    }

    pub(super) fn offer(mut self, queue: u8, head: u16) -> Self {
        self.bytes.extend([4, queue]);
        self.bytes.extend(head.to_le_bytes());
        self
    }

    pub(super) fn seed(self) -> Vec<u8> {
        self.bytes
    }

    /// Puts bytes into memory; their address.
    fn place(&mut self, bytes: &[u8]) -> u64 {
        let at = self.free;
        self.free += bytes.len() as u64;
        self.bytes.extend([2, 1]);
        self.bytes.extend(at.to_le_bytes());
        self.put(bytes);
        HIGH + at
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend((bytes.len() as u16).to_le_bytes());
        self.bytes.extend(bytes);
    }
}
