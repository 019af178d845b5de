//! Persistent memory: a file that the guest has mapped. The region is the machine's to map; here is where
//! it is, and the one request there is, a flush; VIRTIO 1.2, 5.19.

use std::fs::File;

use crate::chain::Chain;
use crate::device::{ActivateError, Activation, Counter, Device, Event, Kind, Source, read_bytes};
use crate::memory::Memory;
use crate::queue::{Queue, Served};

const QUEUE_SIZES: [u16; 1] = [64];
/// `VIRTIO_PMEM_REQ_TYPE_FLUSH`.
const FLUSH: u32 = 0;

/// Whether the guest's stores reach the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    /// They do, and a flush is fdatasync(2).
    Kept,
    /// The file is mapped read-only. The device has no word for that, so a guest that has written nevertheless
    /// hears of it by a flush that fails.
    NotKept,
}

/// The device.
#[derive(Debug)]
pub struct Pmem {
    file: File,
    stores: Stores,
    guest_base: u64,
    size_bytes: u64,
    queue: Option<Queue>,
    flushes: u64,
    errors: u64,
    broken_chains: u64,
}

impl Pmem {
    /// A file that the machine maps at `guest_base`; Linux wants both numbers to be multiples of 2 MiB.
    #[must_use]
    pub fn new(file: File, stores: Stores, guest_base: u64, size_bytes: u64) -> Self {
        Self {
            file,
            stores,
            guest_base,
            size_bytes,
            queue: None,
            flushes: 0,
            errors: 0,
            broken_chains: 0,
        }
    }

    fn drain(&mut self) {
        let Some(mut queue) = self.queue.take() else {
            return;
        };
        queue.drain(|memory, chain| Served::Used(self.serve(memory, chain)));
        self.broken_chains += queue.take_broken_chains();
        self.queue = Some(queue);
    }

    /// `struct virtio_pmem_req`, answered by `struct virtio_pmem_resp`; 5.19.6.
    fn serve(&mut self, memory: &Memory, mut chain: Chain) -> u32 {
        let kind = chain.readable.read_array(memory).map(u32::from_le_bytes);
        let is_done = kind.is_ok_and(|kind| kind == FLUSH)
            && self.stores == Stores::Kept
            && self.file.sync_data().is_ok();
        if is_done {
            self.flushes += 1;
        } else {
            self.errors += 1;
        }
        let answer = u32::from(!is_done).to_le_bytes();
        match chain.writable.write(memory, &answer) {
            Ok(()) => answer.len() as u32,
            Err(_) => 0,
        }
    }
}

impl Device for Pmem {
    fn kind(&self) -> Kind {
        Kind::Pmem
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_pmem_config`; 5.19.4.
    fn read_config(&self, offset: u32, data: &mut [u8]) {
        let mut config = [0; 16];
        config[..8].copy_from_slice(&self.guest_base.to_le_bytes());
        config[8..].copy_from_slice(&self.size_bytes.to_le_bytes());
        read_bytes(&config, offset, data);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.queue = Some(activation.queue(0)?);
        self.drain();
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        Vec::new()
    }

    fn handle(&mut self, _event: Event) {
        self.drain();
    }

    fn reset(&mut self) {
        self.queue = None;
    }

    fn counters(&self) -> Vec<Counter> {
        vec![
            ("flushes", self.flushes),
            ("errors", self.errors),
            ("broken_chains", self.broken_chains),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Driver, Part};

    #[test]
    fn it_says_where_it_is_and_flushes() {
        let file = tempfile::tempfile().expect("a file");
        let pmem = Pmem::new(file, Stores::Kept, 1 << 40, 2 << 20);
        let mut driver = Driver::started(pmem, u64::MAX);
        assert_eq!(driver.config::<8>(0), (1_u64 << 40).to_le_bytes());
        assert_eq!(driver.config::<12>(8)[..8], (2_u64 << 20).to_le_bytes());
        let flush = driver.request(0, &[Part::Out(&[0; 4]), Part::In(4)]);
        assert_eq!(flush, (4, vec![0; 4]));
        for wrong in [&[1, 0, 0, 0][..], &[0, 0]] {
            let answer = driver.request(0, &[Part::Out(wrong), Part::In(4)]);
            assert_eq!(answer, (4, vec![1, 0, 0, 0]));
        }
        assert_eq!(driver.request(0, &[Part::Out(&[0; 4]), Part::In(3)]).0, 0);
        assert_eq!(driver.counter("flushes"), 2);
        assert_eq!(driver.counter("errors"), 2);
    }

    #[test]
    fn what_is_not_kept_is_not_said_to_be() {
        let file = tempfile::tempfile().expect("a file");
        let pmem = Pmem::new(file, Stores::NotKept, 1 << 40, 2 << 20);
        let mut driver = Driver::started(pmem, u64::MAX);
        let flush = driver.request(0, &[Part::Out(&[0; 4]), Part::In(4)]);
        assert_eq!(flush, (4, vec![1, 0, 0, 0]));
        assert_eq!(driver.counter("flushes"), 0);
    }
}
