//! The messages: a header of 12 bytes, and a payload of the request's shape. All numbers are the machine's
//! own, which is little endian wherever gamut has virtual machines.

/// Request, flags and the payload's length, 32 bits each.
pub(super) const HEADER_BYTES: usize = 12;
/// The longest payload that is taken: the longest known is a memory table of eight regions.
pub(super) const PAYLOAD_BYTES_MAX: usize = 4096;
/// The most regions in a memory table.
pub(super) const REGIONS_MAX: usize = 8;
/// The most bytes of configuration in a message (`VHOST_USER_MAX_CONFIG_SIZE`).
pub(super) const CONFIG_BYTES_MAX: usize = 256;
/// In the number of a queue that a descriptor should come with: none does.
pub(super) const NO_DESCRIPTOR: u64 = 1 << 8;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Declares the requests with their numbers once.
macro_rules! requests {
    ($($name:ident = $number:literal,)*) => {
        /// What a front end says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Request { $($name = $number,)* }

        impl Request {
            pub(super) fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

requests! {
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    ResetOwner = 4,
    SetMemTable = 5,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    SetVringErr = 14,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    GetConfig = 24,
    SetConfig = 25,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) request: u32,
    flags: u32,
    pub(super) length: u32,
}

impl Header {
    pub(super) fn request(request: Request, acknowledge: Acknowledge, length: usize) -> Self {
        let flags = match acknowledge {
            Acknowledge::Wanted => VERSION | NEED_REPLY,
            Acknowledge::Not => VERSION,
        };
        Self {
            request: request as u32,
            flags,
            length: length as u32,
        }
    }

    pub(super) fn reply(request: Request, length: usize) -> Self {
        Self {
            request: request as u32,
            flags: VERSION | REPLY,
            length: length as u32,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.request.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// `None`: another version, or longer than anything that is spoken of here.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let header = Self {
            request: fields.u32()?,
            flags: fields.u32()?,
            length: fields.u32()?,
        };
        let fits = header.length as usize <= PAYLOAD_BYTES_MAX;
        (fits && header.flags & VERSION_MASK == VERSION).then_some(header)
    }

    pub(super) fn wants_acknowledgement(self) -> bool {
        self.flags & NEED_REPLY != 0
    }

    pub(super) fn is_reply_to(self, request: Request) -> bool {
        self.flags & REPLY != 0 && self.request == request as u32
    }
}

/// Whether a request without an answer of its own is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledge {
    Wanted,
    Not,
}

/// A payload, taken from its front.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }
}

/// A queue and a number of the request's: a size, an index, or whether.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VringState {
    pub(super) index: u32,
    pub(super) number: u32,
}

impl VringState {
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(Self {
            index: fields.u32()?,
            number: fields.u32()?,
        })
    }

    pub(super) fn to_bytes(self) -> [u8; 8] {
        let both = u64::from(self.number) << 32 | u64::from(self.index);
        both.to_le_bytes()
    }
}

/// Where a queue's three parts are, in the front end's own address space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VringAddresses {
    pub(super) descriptors: u64,
    pub(super) used: u64,
    pub(super) available: u64,
}

impl VringAddresses {
    /// With the index of its queue. Flags and the log's address are for migration.
    pub(super) fn parse(payload: &[u8]) -> Option<(u32, Self)> {
        let mut fields = Fields(payload);
        let index = fields.u32()?;
        let _flags = fields.u32()?;
        let addresses = Self {
            descriptors: fields.u64()?,
            used: fields.u64()?,
            available: fields.u64()?,
        };
        let _log = fields.u64()?;
        Some((index, addresses))
    }

    pub(super) fn to_bytes(self, index: u16) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&u64::from(index).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.descriptors.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.used.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.available.to_le_bytes());
        bytes
    }
}

/// A piece of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConfigRange {
    pub(super) offset: u32,
    pub(super) length: usize,
}

impl ConfigRange {
    /// Offset, size and flags, 32 bits each.
    pub(super) const BYTES: usize = 12;

    /// With the bytes after it, of which there are as many as it says.
    pub(super) fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields(payload);
        let offset = fields.u32()?;
        let length = fields.u32()? as usize;
        let _flags = fields.u32()?;
        let fits = length == fields.0.len() && length <= CONFIG_BYTES_MAX;
        fits.then_some((Self { offset, length }, fields.0))
    }
}
