//! A balloon: the guest gives pages back to the host, on request, and by itself those that are free;
//! VIRTIO 1.2, 5.5.
//!
//! What is given back goes through [`Memory::discard`]. A page that the driver takes out of the balloon, or
//! reported as free and uses again, is there again when it is touched: nothing is to be done for it.

use crate::chain::{Buffers, Chain};
use crate::device::{ActivateError, Activation, Counter, Device, Event, Kind, Source, read_bytes};
use crate::interrupt::Interrupt;
use crate::memory::{Memory, PAGE_BYTES};
use crate::queue::{Queue, Served};

/// inflateq, deflateq, then those of the statistics and of reporting, as negotiated: either may be the third,
/// and Linux does without a balloon whose reports have room for fewer than 32 pages.
const QUEUE_SIZES: [u16; 4] = [256; 4];
const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
/// Page numbers in one request: Linux sends 256 (`VIRTIO_BALLOON_ARRAY_PFNS_MAX`).
const PAGES_MAX: u64 = 4096;
/// Statistics in one answer; Linux has 16 kinds of them.
const STATISTICS_MAX: usize = 32;

// Features; 5.5.3.
const F_STATS_VQ: u64 = 1 << 1;
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
const F_REPORTING: u64 = 1 << 5;

/// What a guest that is short of memory does with the balloon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfMemory {
    /// It takes pages out of it, whatever the target.
    Deflate,
    /// It lives with what it has.
    Keep,
}

/// Whether the guest tells what is free without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporting {
    Free,
    Nothing,
}

/// Whether the guest is asked for its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    Wanted,
    Unwanted,
}

/// One of the guest's numbers: a tag (5.5.6.4) and a value, mostly in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistic {
    pub tag: u16,
    pub value: u64,
}

/// How a balloon is made.
#[derive(Debug, Clone, Copy)]
pub struct Rubber {
    /// How large the balloon is to be, in pages of 4 KiB.
    pub target_pages: u32,
    pub out_of_memory: OutOfMemory,
    pub reporting: Reporting,
    pub statistics: Statistics,
}

/// The device.
#[derive(Debug)]
pub struct Balloon {
    rubber: Rubber,
    generation: u32,
    /// What the driver says that the balloon is, in pages.
    actual_pages: u32,
    inflate: Option<Queue>,
    deflate: Option<Queue>,
    /// With its index.
    statistics: Option<(u16, Queue)>,
    reporting: Option<(u16, Queue)>,
    interrupt: Option<Interrupt>,
    /// The chain with which the driver is asked for statistics, while we have it.
    question: Option<u16>,
    answer: Vec<Statistic>,
    inflated_pages: u64,
    deflated_pages: u64,
    reported_bytes: u64,
    discarded_bytes: u64,
    refused: u64,
    broken_chains: u64,
}

impl Balloon {
    #[must_use]
    pub fn new(rubber: Rubber) -> Self {
        Self {
            rubber,
            generation: 0,
            actual_pages: 0,
            inflate: None,
            deflate: None,
            statistics: None,
            reporting: None,
            interrupt: None,
            question: None,
            answer: Vec::new(),
            inflated_pages: 0,
            deflated_pages: 0,
            reported_bytes: 0,
            discarded_bytes: 0,
            refused: 0,
            broken_chains: 0,
        }
    }

    /// The balloon is to have another size, in pages of 4 KiB.
    pub fn set_target(&mut self, pages: u32) {
        self.rubber.target_pages = pages;
        self.generation = self.generation.wrapping_add(1);
        if let Some(interrupt) = &self.interrupt {
            interrupt.config_change();
        }
    }

    /// The size it is to have, and the one that the driver says it has, in pages of 4 KiB.
    #[must_use]
    pub fn pages(&self) -> (u32, u32) {
        (self.rubber.target_pages, self.actual_pages)
    }

    /// What the guest last said of its memory.
    #[must_use]
    pub fn statistics(&self) -> &[Statistic] {
        &self.answer
    }

    /// Asks the guest for its statistics; [`Balloon::statistics`] changes when it has answered. Nothing
    /// happens while it still owes an answer.
    pub fn ask(&mut self) {
        if let (Some((_, queue)), Some(question)) = (&mut self.statistics, self.question.take()) {
            queue.add_used(question, 0);
            queue.signal();
        }
    }

    /// 5.5.6: an array of page numbers.
    fn inflate(&mut self) {
        let Some(mut queue) = self.inflate.take() else {
            return;
        };
        queue.drain(|memory, chain| {
            self.inflated_pages += self.take_pages(memory, chain.readable);
            Served::Used(0)
        });
        self.broken_chains += queue.take_broken_chains();
        self.inflate = Some(queue);
    }

    /// Gives pages back, neighbours at once.
    fn take_pages(&mut self, memory: &Memory, mut numbers: Buffers) -> u64 {
        let count = (numbers.len() / 4).min(PAGES_MAX);
        if count * 4 < numbers.len() {
            self.refused += 1;
        }
        let mut run = Run::default();
        for _ in 0..count {
            let Ok(number) = numbers.read_array(memory) else {
                break;
            };
            let page = u64::from(u32::from_le_bytes(number));
            if !run.extend(page) {
                self.discard(memory, run.first * PAGE_BYTES, run.pages * PAGE_BYTES);
                run = Run::of(page);
            }
        }
        self.discard(memory, run.first * PAGE_BYTES, run.pages * PAGE_BYTES);
        count
    }

    fn discard(&mut self, memory: &Memory, address: u64, length: u64) {
        if length > 0 {
            match memory.discard(address, length) {
                Ok(bytes) => self.discarded_bytes += bytes,
                Err(_) => self.refused += 1,
            }
        }
    }

    fn deflate(&mut self) {
        let Some(mut queue) = self.deflate.take() else {
            return;
        };
        queue.drain(|_, chain| {
            self.deflated_pages += chain.readable.len() / 4;
            Served::Used(0)
        });
        self.broken_chains += queue.take_broken_chains();
        self.deflate = Some(queue);
    }

    /// 5.5.6.3: the driver's chain is kept, and given back as the question for the next.
    fn read_statistics(&mut self) {
        let Some((index, mut queue)) = self.statistics.take() else {
            return;
        };
        while let Some(chain) = queue.pop() {
            // A second one without a question is given back for it.
            if let Some(kept) = self.question.replace(chain.head) {
                queue.add_used(kept, 0);
                self.refused += 1;
                self.note_statistics(queue.memory(), chain);
                queue.signal();
                queue.again();
                break;
            }
            self.note_statistics(queue.memory(), chain);
        }
        self.broken_chains += queue.take_broken_chains();
        self.statistics = Some((index, queue));
    }

    fn note_statistics(&mut self, memory: &Memory, chain: Chain) {
        let mut entries = chain.readable;
        self.answer.clear();
        while self.answer.len() < STATISTICS_MAX {
            // Packed: a tag of two bytes and a value of eight.
            let Ok([t0, t1, value @ ..]) = entries.read_array::<10>(memory) else {
                break;
            };
            self.answer.push(Statistic {
                tag: u16::from_le_bytes([t0, t1]),
                value: u64::from_le_bytes(value),
            });
        }
    }

    /// 5.5.6.7: the buffers themselves are free, and stay free until the chain is given back.
    fn report(&mut self) {
        let Some((index, mut queue)) = self.reporting.take() else {
            return;
        };
        queue.drain(|memory, chain| {
            for span in chain.writable.spans() {
                self.discard(memory, span.address, span.length.into());
            }
            self.reported_bytes += chain.writable.len();
            Served::Used(0)
        });
        self.broken_chains += queue.take_broken_chains();
        self.reporting = Some((index, queue));
    }
}

/// Pages that follow each other.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    first: u64,
    pages: u64,
}

impl Run {
    fn of(page: u64) -> Self {
        Self {
            first: page,
            pages: 1,
        }
    }

    /// Takes a page that follows or, as Linux counts, that is right before the first.
    fn extend(&mut self, page: u64) -> bool {
        if self.pages == 0 {
            *self = Self::of(page);
        } else if page == self.first + self.pages {
            self.pages += 1;
        } else if page + 1 == self.first {
            self.first = page;
            self.pages += 1;
        } else {
            return false;
        }
        true
    }
}

impl Device for Balloon {
    fn kind(&self) -> Kind {
        Kind::Balloon
    }

    fn features(&self) -> u64 {
        let mut features = 0;
        if self.rubber.out_of_memory == OutOfMemory::Deflate {
            features |= F_DEFLATE_ON_OOM;
        }
        if self.rubber.reporting == Reporting::Free {
            features |= F_REPORTING;
        }
        if self.rubber.statistics == Statistics::Wanted {
            features |= F_STATS_VQ;
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_balloon_config`; 5.5.4.
    fn read_config(&self, offset: u32, data: &mut [u8]) {
        let mut config = [0; 16];
        config[..4].copy_from_slice(&self.rubber.target_pages.to_le_bytes());
        config[4..8].copy_from_slice(&self.actual_pages.to_le_bytes());
        read_bytes(&config, offset, data);
    }

    /// `actual` is the driver's; 5.5.5.1.
    fn write_config(&mut self, offset: u32, data: &[u8]) {
        if let (4, Ok(pages)) = (offset, data.try_into()) {
            self.actual_pages = u32::from_le_bytes(pages);
        }
    }

    fn config_generation(&self) -> u32 {
        self.generation
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.inflate = Some(activation.queue(INFLATE)?);
        self.deflate = Some(activation.queue(DEFLATE)?);
        // 5.5.2: a queue exists with its feature, and Linux numbers those that exist.
        let mut next = DEFLATE + 1;
        let mut optional = |feature: u64| {
            if activation.features & feature == 0 {
                return Ok(None);
            }
            let index = next;
            next += 1;
            activation.queue(index).map(|queue| Some((index, queue)))
        };
        self.statistics = optional(F_STATS_VQ)?;
        self.reporting = optional(F_REPORTING)?;
        self.interrupt = Some(activation.interrupt);
        self.inflate();
        self.deflate();
        self.read_statistics();
        self.report();
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        Vec::new()
    }

    fn handle(&mut self, event: Event) {
        let Event::Queue(index) = event else { return };
        let is = |queue: &Option<(u16, Queue)>| queue.as_ref().is_some_and(|(at, _)| *at == index);
        match index {
            INFLATE => self.inflate(),
            DEFLATE => self.deflate(),
            _ if is(&self.statistics) => self.read_statistics(),
            _ if is(&self.reporting) => self.report(),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.inflate = None;
        self.deflate = None;
        self.statistics = None;
        self.reporting = None;
        self.interrupt = None;
        self.question = None;
        self.answer.clear();
        self.actual_pages = 0;
    }

    fn counters(&self) -> Vec<Counter> {
        vec![
            ("inflated_pages", self.inflated_pages),
            ("deflated_pages", self.deflated_pages),
            ("reported_bytes", self.reported_bytes),
            ("discarded_bytes", self.discarded_bytes),
            ("refused", self.refused),
            ("broken_chains", self.broken_chains),
        ]
    }
}

#[cfg(test)]
mod tests;
