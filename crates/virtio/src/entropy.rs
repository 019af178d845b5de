//! Randomness from the host; VIRTIO 1.2, 5.4.

use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::chain::Chain;
use crate::device::{ActivateError, Activation, Counter, Device, Event, Interest, Kind, Source};
use crate::memory::Memory;
use crate::queue::{Queue, Served};
use crate::rate::Limiter;

/// The most that one request gets; the rest of its buffers stays as it is, which the length tells.
pub const REQUEST_BYTES_MAX: u64 = 64 << 10;
const QUEUE_SIZES: [u16; 1] = [256];
/// What getrandom(2) gives without ever being interrupted.
const PIECE_BYTES: usize = 256;

/// The device.
#[derive(Debug)]
pub struct Entropy {
    limiter: Limiter,
    queue: Option<Queue>,
    requests: u64,
    bytes: u64,
    errors: u64,
    broken_chains: u64,
}

impl Entropy {
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self {
            limiter,
            queue: None,
            requests: 0,
            bytes: 0,
            errors: 0,
            broken_chains: 0,
        }
    }

    /// Its limits, to be changed.
    pub fn limiter_mut(&mut self) -> &mut Limiter {
        &mut self.limiter
    }

    fn drain(&mut self) {
        let Some(mut queue) = self.queue.take() else {
            return;
        };
        queue.drain(|memory, chain| {
            if !self.limiter.admits() {
                return Served::Later;
            }
            let written_bytes = self.fill(memory, chain);
            self.limiter.charge(written_bytes.into());
            Served::Used(written_bytes)
        });
        self.broken_chains += queue.take_broken_chains();
        self.queue = Some(queue);
    }

    fn fill(&mut self, memory: &Memory, chain: Chain) -> u32 {
        let mut buffers = chain.writable;
        let mut written_bytes: u32 = 0;
        let mut left = buffers.len().min(REQUEST_BYTES_MAX) as usize;
        while left > 0 {
            let mut piece = [0; PIECE_BYTES];
            let piece = &mut piece[..left.min(PIECE_BYTES)];
            if random(piece).is_err() || buffers.write(memory, piece).is_err() {
                break;
            }
            left -= piece.len();
            written_bytes += piece.len() as u32;
        }
        // 5.4.6.1: at least one byte, so a request that has no room for it is a mistake.
        if written_bytes == 0 || left > 0 {
            self.errors += 1;
        }
        self.requests += 1;
        self.bytes += u64::from(written_bytes);
        written_bytes
    }
}

/// getrandom(2): up to 256 bytes come whole, once the host has been up for seconds.
fn random(piece: &mut [u8]) -> Result<(), Errno> {
    let length = piece.len();
    let given = rustix::rand::getrandom(&mut *piece, GetRandomFlags::NONBLOCK)?;
    if given == length {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

impl Device for Entropy {
    fn kind(&self) -> Kind {
        Kind::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _offset: u32, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.queue = Some(activation.queue(0)?);
        self.drain();
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        vec![Source {
            fd: self.limiter.timer(),
            interest: Interest::Read,
        }]
    }

    fn handle(&mut self, _event: Event) {
        self.drain();
    }

    fn reset(&mut self) {
        self.queue = None;
    }

    fn counters(&self) -> Vec<Counter> {
        vec![
            ("requests", self.requests),
            ("bytes", self.bytes),
            ("errors", self.errors),
            ("broken_chains", self.broken_chains),
            ("throttled", self.limiter.throttled()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Driver, HIGH, INDIRECT, NEXT, Part, WRITE};
    use crate::mmio::F_EVENT_IDX;
    use crate::rate::Limit;

    fn entropy() -> Entropy {
        Entropy::new(Limiter::unlimited().expect("a timer"))
    }

    #[test]
    fn a_request_is_filled() {
        let mut driver = Driver::started(entropy(), u64::MAX);
        let (length, bytes) = driver.request(0, &[Part::In(1000), Part::In(24)]);
        assert_eq!((length, bytes.len()), (1024, 1024));
        assert!(bytes.iter().filter(|&&byte| byte == 0).count() < 40);
        let (_, others) = driver.request(0, &[Part::In(1024)]);
        assert_ne!(bytes, others);
        assert_eq!(driver.get(0x060), 1);
    }

    #[test]
    fn a_request_is_bounded() {
        let mut driver = Driver::started(entropy(), 0);
        let (length, bytes) = driver.request(0, &[Part::In(80_000)]);
        assert_eq!(u64::from(length), REQUEST_BYTES_MAX);
        assert!(
            bytes[REQUEST_BYTES_MAX as usize..]
                .iter()
                .all(|&byte| byte == 0)
        );
        assert_eq!(driver.request(0, &[Part::Out(b"no room")]).0, 0);
        assert_eq!(driver.counter("errors"), 1);
    }

    #[test]
    fn indirect_tables_are_followed_once() {
        let mut driver = Driver::started(entropy(), u64::MAX);
        let data = driver.allocate(64);
        let mut table = Vec::new();
        for (at, flags) in [(data, NEXT | WRITE), (data + 32, WRITE)] {
            table.extend(at.to_le_bytes());
            table.extend(32_u32.to_le_bytes());
            table.extend(flags.to_le_bytes());
            table.extend(1_u16.to_le_bytes());
        }
        let address = driver.allocate(32);
        driver.memory.write(address, &table).expect("a table");
        let raw = |flags| Part::Raw {
            address,
            length: 32,
            flags,
            next: 0,
        };
        assert_eq!(driver.request(0, &[raw(INDIRECT)]).0, 64);
        // A table in a table.
        table[12] |= INDIRECT as u8;
        driver.memory.write(address, &table).expect("a table");
        assert_eq!(driver.request(0, &[raw(INDIRECT)]).0, 0);
        assert_eq!(driver.counter("broken_chains"), 1);
    }

    #[test]
    fn chains_have_a_length() {
        for (count, length, broken) in [(1024_u16, 2048, 0), (1025, 0, 1)] {
            let mut driver = Driver::started(entropy(), u64::MAX);
            let mut table = Vec::new();
            for next in 1..=count {
                let link = if next < count { NEXT } else { 0 };
                table.extend(HIGH.to_le_bytes());
                table.extend(2_u32.to_le_bytes());
                table.extend((WRITE | link).to_le_bytes());
                table.extend(next.to_le_bytes());
            }
            let at = driver.allocate(table.len() as u64 + 16) + 16;
            driver.memory.write(at, &table).expect("a table");
            let part = Part::Raw {
                address: at,
                length: table.len() as u32,
                flags: INDIRECT,
                next: 0,
            };
            assert_eq!(driver.request(0, &[part]).0, length, "{count}");
            assert_eq!(driver.counter("broken_chains"), broken);
        }
    }

    #[test]
    fn broken_chains_come_back_empty() {
        let mut driver = Driver::started(entropy(), u64::MAX);
        let raw = |address, length, flags, next| Part::Raw {
            address,
            length,
            flags,
            next,
        };
        let loops = [raw(HIGH, 8, WRITE | NEXT, 1), raw(HIGH, 8, WRITE | NEXT, 0)];
        assert_eq!(driver.request(0, &loops).0, 0);
        for part in [
            raw(0, 8, WRITE, 0),
            raw(HIGH, u32::MAX, WRITE, 0),
            raw(u64::MAX - 3, 8, WRITE, 0),
            raw(HIGH, 8, WRITE | NEXT, 9999),
            raw(HIGH, 24, INDIRECT, 0),
        ] {
            assert_eq!(driver.request(0, &[part]).0, 0);
        }
        assert_eq!(driver.counter("broken_chains"), 6);
        assert_eq!(driver.request(0, &[Part::In(8)]).0, 8, "it goes on");
    }

    #[test]
    fn a_ring_without_sense_asks_for_a_reset() {
        let mut driver = Driver::started(entropy(), u64::MAX);
        driver.set_available(0, 60_000);
        driver.kick(0);
        assert_eq!(driver.get(0x070), 15 | 64);
        assert_eq!(driver.get(0x060), 2);
        driver.kick(0);
        driver.set(0x070, 0);
        assert_eq!((driver.get(0x070), driver.get(0x060)), (0, 0));
        driver.start(F_EVENT_IDX);
        assert_eq!(driver.request(0, &[Part::In(8)]).0, 8);
    }

    #[test]
    fn a_limit_makes_requests_wait_for_the_timer() {
        let mut driver = Driver::started(entropy(), F_EVENT_IDX);
        let limit = Limit {
            size: 100,
            one_time_burst: 0,
            refill_time_ms: 5,
        };
        let limiter = driver.mmio.device_mut().limiter_mut();
        limiter.update(limit, Limit::default());
        for _ in 0..4 {
            driver.add(0, &[Part::In(100)]);
        }
        driver.kick(0);
        let mut answers = 0;
        while answers < 4 {
            match driver.used(0) {
                Some((_, length, _)) => {
                    assert_eq!(length, 100);
                    answers += 1;
                }
                None => driver.wait(),
            }
        }
        assert!(driver.counter("throttled") > 0);
    }
}
