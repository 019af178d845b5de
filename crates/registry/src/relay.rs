//! A blob on its way from one registry to another, kept nowhere.
//!
//! The bytes are hashed as they pass, and the last of them are held back until the digest has been
//! found right: no registry is ever given a whole blob that is not what it was named.

use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gamut_spec::Reference;
use gamut_spec::image::Descriptor;

use crate::blob::BlobReader;
use crate::client::Client;
use crate::error::RegistryError;
use crate::hash::Hasher;
use crate::transport::Content;

/// The blob of another registry as a content to be sent.
#[derive(Debug)]
pub struct Relay<'a> {
    client: &'a Client,
    from: &'a Reference,
    descriptor: &'a Descriptor,
    /// The open transfer; pieces of one blob are asked for one after the other.
    transfer: Mutex<Option<Transfer>>,
}

#[derive(Debug)]
struct Transfer {
    reader: BlobReader,
    hasher: Hasher,
    /// Bytes that have passed.
    passed: u64,
}

impl<'a> Relay<'a> {
    /// The blob that `from`'s repository has under `descriptor`.
    pub fn new(client: &'a Client, from: &'a Reference, descriptor: &'a Descriptor) -> Relay<'a> {
        Relay {
            client,
            from,
            descriptor,
            transfer: Mutex::default(),
        }
    }

    /// The transfer at `offset`; one that is past it begins anew.
    fn at(&self, offset: u64) -> io::Result<MutexGuard<'_, Option<Transfer>>> {
        let mut open = self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut transfer = match open.take() {
            Some(transfer) if transfer.passed <= offset => transfer,
            _ => Transfer {
                reader: self.client.blob(self.from, self.descriptor, 0)?,
                hasher: Hasher::new(self.descriptor.digest.algorithm()),
                passed: 0,
            },
        };
        let ahead = offset - transfer.passed;
        let skipped = io::copy(&mut (&mut transfer).take(ahead), &mut io::sink())?;
        if skipped < ahead {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *open = Some(transfer);
        Ok(open)
    }
}

impl Read for Transfer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.passed += count as u64;
        if count > 0 && self.reader.remaining_bytes() == 0 {
            self.check()?;
        }
        Ok(count)
    }
}

impl Transfer {
    fn check(&self) -> Result<(), RegistryError> {
        let (expected, actual) = (self.reader.digest().clone(), self.hasher.clone().finish());
        if actual == expected {
            return Ok(());
        }
        let what = format!("a blob from `{}`", self.reader.registry());
        Err(RegistryError::WrongDigest {
            what,
            expected,
            actual,
        })
    }
}

impl Content for Relay<'_> {
    fn read_from(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(Piece(self.at(offset)?)))
    }
}

/// The transfer, as long as one piece takes.
struct Piece<'a>(MutexGuard<'a, Option<Transfer>>);

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(transfer) = self.0.as_mut() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let read = transfer.read(buffer);
        if read.is_err() {
            *self.0 = None;
        }
        read
    }
}
