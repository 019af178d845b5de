//! A console of one port: bytes from a descriptor to the guest, and the guest's to another; VIRTIO 1.2, 5.3.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::chain::Buffers;
use crate::device::{
    ActivateError, Activation, Counter, Device, Event, Interest, Kind, Source, read_bytes,
};
use crate::interrupt::Interrupt;
use crate::memory::{Memory, TransferError};
use crate::queue::{Queue, Served};

const QUEUE_SIZES: [u16; 2] = [256, 256];
/// receiveq(port0): to the guest.
const RECEIVE: u16 = 0;
/// transmitq(port0): from the guest.
const TRANSMIT: u16 = 1;
/// Features; 5.3.3.
const F_SIZE: u64 = 1;

/// Where the bytes come from and go to. Neither may block (`O_NONBLOCK`).
#[derive(Debug)]
pub struct Streams {
    pub input: Option<OwnedFd>,
    pub output: OwnedFd,
}

/// A terminal's size in characters; 0 by 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

/// The device.
#[derive(Debug)]
pub struct Console {
    streams: Streams,
    size: Size,
    generation: u32,
    receive: Option<Queue>,
    transmit: Option<Queue>,
    interrupt: Option<Interrupt>,
    /// The input has ended, or broken.
    is_input_over: bool,
    /// How much of the chain at the head of the transmit queue is written already.
    sent_bytes: u64,
    received: u64,
    sent: u64,
    lost: u64,
    broken_chains: u64,
}

impl Console {
    #[must_use]
    pub fn new(streams: Streams, size: Size) -> Self {
        Self {
            is_input_over: streams.input.is_none(),
            streams,
            size,
            generation: 0,
            receive: None,
            transmit: None,
            interrupt: None,
            sent_bytes: 0,
            received: 0,
            sent: 0,
            lost: 0,
            broken_chains: 0,
        }
    }

    /// The terminal has another size, and the guest is told.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
        self.generation = self.generation.wrapping_add(1);
        if let Some(interrupt) = &self.interrupt {
            interrupt.config_change();
        }
    }

    /// What the host has written goes into the guest's buffers, as far as there are any.
    fn receive(&mut self) {
        let Some(mut queue) = self.receive.take() else {
            return;
        };
        // A writer that never pauses lets others have their turn.
        let mut left = QUEUE_SIZES[0];
        while !self.is_input_over {
            if left == 0 {
                queue.again();
                break;
            }
            left -= 1;
            let Some(chain) = queue.pop() else { break };
            if chain.writable.len() == 0 {
                self.broken_chains += 1;
                queue.add_used(chain.head, 0);
                continue;
            }
            match self.read(queue.memory(), &chain.writable) {
                Ok(bytes) if bytes > 0 => {
                    self.received += bytes as u64;
                    // At most what one read takes: less than 2^31.
                    queue.add_used(chain.head, bytes as u32);
                    continue;
                }
                Err(TransferError::Host(Errno::INTR)) => {
                    queue.put_back();
                    continue;
                }
                Err(TransferError::Host(Errno::AGAIN)) => {}
                _ => self.is_input_over = true,
            }
            queue.put_back();
            break;
        }
        queue.signal();
        self.broken_chains += queue.take_broken_chains();
        self.receive = Some(queue);
    }

    fn read(&self, memory: &Memory, into: &Buffers) -> Result<usize, TransferError> {
        match &self.streams.input {
            Some(input) => memory.receive(input.as_fd(), into),
            None => Ok(0),
        }
    }

    /// What the guest has written goes out, until the output takes no more.
    fn transmit(&mut self) {
        let Some(mut queue) = self.transmit.take() else {
            return;
        };
        queue.drain(|memory, chain| {
            let mut left = chain.readable;
            left.skip(self.sent_bytes);
            while left.len() > 0 {
                match memory.send(self.streams.output.as_fd(), &left) {
                    Ok(bytes) => {
                        self.sent += bytes as u64;
                        self.sent_bytes += bytes as u64;
                        left.skip(bytes as u64);
                    }
                    Err(TransferError::Host(Errno::INTR)) => {}
                    Err(TransferError::Host(Errno::AGAIN)) => return Served::Later,
                    // Nobody reads any more: a guest writes on as to a terminal that was hung up.
                    Err(_) => {
                        self.lost += left.len();
                        break;
                    }
                }
            }
            self.sent_bytes = 0;
            Served::Used(0)
        });
        self.broken_chains += queue.take_broken_chains();
        self.transmit = Some(queue);
    }
}

impl Device for Console {
    fn kind(&self) -> Kind {
        Kind::Console
    }

    fn features(&self) -> u64 {
        F_SIZE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_console_config`; 5.3.4.
    fn read_config(&self, offset: u32, data: &mut [u8]) {
        let mut config = [0; 12];
        config[..2].copy_from_slice(&self.size.columns.to_le_bytes());
        config[2..4].copy_from_slice(&self.size.rows.to_le_bytes());
        config[4] = 1;
        read_bytes(&config, offset, data);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn config_generation(&self) -> u32 {
        self.generation
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.receive = Some(activation.queue(RECEIVE)?);
        self.transmit = Some(activation.queue(TRANSMIT)?);
        self.interrupt = Some(activation.interrupt);
        self.receive();
        self.transmit();
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        let output = Source {
            fd: self.streams.output.as_fd(),
            interest: Interest::Write,
        };
        let input = self.streams.input.as_ref().map(|input| Source {
            fd: input.as_fd(),
            interest: Interest::Read,
        });
        std::iter::once(output).chain(input).collect()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Queue(RECEIVE) | Event::Source(1) => self.receive(),
            Event::Queue(_) | Event::Source(_) => self.transmit(),
        }
    }

    fn reset(&mut self) {
        self.receive = None;
        self.transmit = None;
        self.interrupt = None;
        self.sent_bytes = 0;
    }

    fn counters(&self) -> Vec<Counter> {
        vec![
            ("received_bytes", self.received),
            ("sent_bytes", self.sent),
            ("lost_bytes", self.lost),
            ("broken_chains", self.broken_chains),
        ]
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;
    use crate::driver::{Driver, Part};

    struct Ends {
        driver: Driver<Console>,
        /// Where the test types.
        keyboard: OwnedFd,
        /// Where it reads.
        screen: OwnedFd,
    }

    fn started() -> Ends {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (input, keyboard) = pipe_with(flags).expect("a pipe");
        let (screen, output) = pipe_with(flags).expect("a pipe");
        let streams = Streams {
            input: Some(input),
            output,
        };
        let size = Size {
            columns: 80,
            rows: 25,
        };
        Ends {
            driver: Driver::started(Console::new(streams, size), u64::MAX),
            keyboard,
            screen,
        }
    }

    fn read(screen: &OwnedFd) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 20];
        let length = rustix::io::read(screen, &mut *buffer).unwrap_or(0);
        buffer.truncate(length);
        buffer
    }

    #[test]
    fn what_is_typed_waits_for_buffers_and_buffers_for_what_is_typed() {
        let mut ends = started();
        rustix::io::write(&ends.keyboard, b"hello").expect("typed");
        ends.driver.run();
        assert!(ends.driver.used(0).is_none());
        let (length, bytes) = ends.driver.request(0, &[Part::In(3), Part::In(16)]);
        assert_eq!((length, &bytes[..5]), (5, &b"hello"[..]));
        ends.driver.add(0, &[Part::In(4)]);
        ends.driver.add(0, &[Part::In(4)]);
        ends.driver.kick(0);
        assert!(ends.driver.used(0).is_none());
        rustix::io::write(&ends.keyboard, b"worlds").expect("typed");
        ends.driver.run();
        assert_eq!(ends.driver.used(0).expect("four").2, b"worl");
        assert_eq!(ends.driver.used(0).expect("two").1, 2);
        drop(ends.keyboard);
        ends.driver.run();
        ends.driver.add(0, &[Part::In(4)]);
        ends.driver.kick(0);
        assert!(ends.driver.used(0).is_none(), "the input is over");
        assert_eq!(ends.driver.counter("received_bytes"), 11);
    }

    #[test]
    fn output_that_nobody_reads_waits_and_loses_nothing() {
        let mut ends = started();
        let line: Vec<u8> = (0..50_000_u32).map(|at| (at % 249) as u8).collect();
        for _ in 0..4 {
            ends.driver.add(1, &[Part::Out(&line)]);
        }
        ends.driver.kick(1);
        let mut answers = 0;
        let mut text = Vec::new();
        while text.len() < 200_000 {
            while ends.driver.used(1).is_some() {
                answers += 1;
            }
            text.extend(read(&ends.screen));
            ends.driver.run();
        }
        while ends.driver.used(1).is_some() {
            answers += 1;
        }
        assert_eq!((text, answers), (line.repeat(4), 4));
    }

    #[test]
    fn output_that_nobody_will_read_is_dropped() {
        let mut ends = started();
        drop(ends.screen);
        assert_eq!(ends.driver.request(1, &[Part::Out(b"into the void")]).0, 0);
        assert_eq!(ends.driver.counter("lost_bytes"), 13);
    }

    #[test]
    fn a_new_size_is_told() {
        let mut ends = started();
        assert_eq!(ends.driver.config::<4>(0), [80, 0, 25, 0]);
        let generation = ends.driver.get(0x0fc);
        ends.driver.mmio.device_mut().resize(Size {
            columns: 132,
            rows: 50,
        });
        assert_eq!(ends.driver.config::<4>(0), [132, 0, 50, 0]);
        assert_ne!(ends.driver.get(0x0fc), generation);
        assert_eq!(ends.driver.get(0x060), 2);
    }

    #[test]
    fn buffers_of_the_wrong_direction_do_nothing() {
        let mut ends = started();
        rustix::io::write(&ends.keyboard, b"x").expect("typed");
        ends.driver.run();
        assert_eq!(ends.driver.request(0, &[Part::Out(b"no room")]).0, 0);
        assert_eq!(ends.driver.request(1, &[Part::In(9)]).0, 0);
        assert_eq!(ends.driver.request(0, &[Part::In(9)]).1[0], b'x');
    }
}
