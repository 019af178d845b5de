//! `run --trace`: where the time of a start went, phase by phase.

use gamut_plan::wire::Mark;

/// The marks of this process; the keeper's are put between them by their time.
#[derive(Debug)]
pub struct Trace {
    on: bool,
    start_ns: u64,
    marks: Vec<Mark>,
}

/// Nanoseconds on the monotonic clock.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Trace {
    /// `start_ns`: when the command began.
    #[must_use]
    pub fn new(on: bool, start_ns: u64) -> Self {
        Trace {
            on,
            start_ns,
            marks: Vec::new(),
        }
    }

    /// A phase of this process is over.
    pub fn mark(&mut self, phase: &str) {
        self.mark_at(phase, now_ns());
    }

    /// A phase was over at that time.
    pub fn mark_at(&mut self, phase: &str, at_ns: u64) {
        if self.on {
            self.marks.push(Mark {
                phase: phase.to_owned(),
                at_ns,
            });
        }
    }

    /// Prints all marks in the order of time: µs since the beginning, and since the mark before.
    pub fn show(&mut self, of_keeper: &[Mark]) {
        if !self.on {
            return;
        }
        let mut all: Vec<Mark> = self
            .marks
            .drain(..)
            .chain(of_keeper.iter().cloned())
            .collect();
        all.sort_by_key(|m| m.at_ns);
        let mut before = self.start_ns;
        eprintln!("{:>9} {:>9}  phase over", "at µs", "took µs");
        for mark in all {
            let at_us = mark.at_ns.saturating_sub(self.start_ns) / 1000;
            let took_us = mark.at_ns.saturating_sub(before) / 1000;
            eprintln!("{at_us:>9} {took_us:>9}  {}", mark.phase);
            before = mark.at_ns;
        }
    }
}
