//! Pages in and out, and what the guest says of its memory.

use super::*;
use crate::driver::{Driver, HIGH, LOW, Part};

fn rubber() -> Rubber {
    Rubber {
        target_pages: 0,
        out_of_memory: OutOfMemory::Deflate,
        reporting: Reporting::Free,
        statistics: Statistics::Wanted,
    }
}

fn started(wanted: u64) -> Driver<Balloon> {
    let mut driver = Driver::started(Balloon::new(rubber()), wanted);
    // Something to be given back.
    let full = vec![9; 0x8_0000];
    driver.memory.write(HIGH + 0x8_0000, &full).expect("filled");
    assert_eq!(driver.allocate(1), HIGH);
    driver
}

fn numbers(pages: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let numbers = pages.into_iter().map(|page| (page as u32).to_le_bytes());
    numbers.flatten().collect()
}

fn byte(driver: &Driver<Balloon>, page: u64) -> u8 {
    let mut byte = [0];
    driver
        .memory
        .read(page * PAGE_BYTES, &mut byte)
        .expect("read");
    byte[0]
}

const FIRST: u64 = (HIGH + 0x8_0000) / PAGE_BYTES;

#[test]
fn pages_in_the_balloon_are_the_hosts() {
    let mut driver = started(u64::MAX);
    // Up, down as Linux does, and one alone.
    let pages = numbers([0, 1, 2, 12, 11, 10, 20].map(|page| FIRST + page));
    driver.request(0, &[Part::Out(&pages)]);
    for (page, expected) in [
        (0, 0),
        (2, 0),
        (3, 9),
        (9, 9),
        (10, 0),
        (12, 0),
        (13, 9),
        (20, 0),
    ] {
        assert_eq!(byte(&driver, FIRST + page), expected, "{page}");
    }
    assert_eq!(driver.counter("discarded_bytes"), 7 * PAGE_BYTES);
    driver.request(1, &[Part::Out(&pages)]);
    assert_eq!(driver.counter("deflated_pages"), 7);
}

#[test]
fn pages_that_are_no_memory_are_refused_and_the_rest_taken() {
    let mut driver = started(u64::MAX);
    let hole = (LOW + 0x10_0000) / PAGE_BYTES;
    let mut pages = numbers([u64::from(u32::MAX), 0, hole, FIRST]);
    pages.extend(*b"odd");
    driver.request(0, &[Part::Out(&pages)]);
    assert_eq!(driver.counter("discarded_bytes"), PAGE_BYTES);
    assert_eq!(driver.counter("refused"), 4);
    // A run that leaves memory is refused as a whole.
    let last = (HIGH + 0x10_0000) / PAGE_BYTES;
    driver.request(0, &[Part::Out(&numbers([last - 1, last]))]);
    assert_eq!(byte(&driver, last - 1), 9);
}

#[test]
fn free_pages_are_reported() {
    let mut driver = started(u64::MAX);
    let part = |page: u64, pages: u32, flags, next| Part::Raw {
        address: (FIRST + page) * PAGE_BYTES,
        length: pages * PAGE_BYTES as u32,
        flags,
        next,
    };
    let write = crate::driver::WRITE;
    let parts = [
        part(0, 8, write | crate::driver::NEXT, 1),
        part(16, 4, write, 0),
    ];
    assert_eq!(driver.request(3, &parts).0, 0);
    assert_eq!(driver.counter("reported_bytes"), 12 * PAGE_BYTES);
    assert_eq!(driver.counter("discarded_bytes"), 12 * PAGE_BYTES);
    for (page, expected) in [(0, 0), (7, 0), (8, 9), (16, 0), (19, 0), (20, 9)] {
        assert_eq!(byte(&driver, FIRST + page), expected, "{page}");
    }
}

#[test]
fn without_statistics_the_next_queue_takes_the_number() {
    let mut driver = started(F_REPORTING);
    let page = Part::Raw {
        address: FIRST * PAGE_BYTES,
        length: 4096,
        flags: crate::driver::WRITE,
        next: 0,
    };
    driver.request(2, &[page]);
    assert_eq!(driver.counter("discarded_bytes"), PAGE_BYTES);
}

#[test]
fn the_target_is_told_and_the_size_heard() {
    let mut driver = started(u64::MAX);
    let generation = driver.get(0x0fc);
    driver.mmio.device_mut().set_target(300);
    assert_eq!(
        (driver.config::<4>(0), driver.get(0x060)),
        ([44, 1, 0, 0], 2)
    );
    assert_ne!(driver.get(0x0fc), generation);
    driver.set(0x104, 299);
    driver.set(0x100, 7);
    driver.mmio.write(0x104, &[1]);
    assert_eq!(driver.mmio.device_mut().pages(), (300, 299));
}

#[test]
fn statistics_come_when_asked_for() {
    let mut driver = started(u64::MAX);
    let entry = |tag: u16, value: u64| {
        let mut entry = tag.to_le_bytes().to_vec();
        entry.extend(value.to_le_bytes());
        entry
    };
    let first = driver.add(2, &[Part::Out(&[entry(4, 1 << 20), entry(5, 77)].concat())]);
    driver.kick(2);
    assert!(driver.used(2).is_none(), "it is kept for the next question");
    let total = Statistic { tag: 5, value: 77 };
    assert_eq!(driver.mmio.device_mut().statistics()[1], total);
    driver.mmio.device_mut().ask();
    driver.mmio.device_mut().ask();
    assert_eq!(driver.used(2).expect("the question").0, first);
    assert!(driver.used(2).is_none());
    driver.add(2, &[Part::Out(&entry(1, 2).repeat(50))]);
    driver.kick(2);
    assert_eq!(driver.mmio.device_mut().statistics().len(), STATISTICS_MAX);
    // One that was not asked for.
    driver.add(2, &[Part::Out(b"")]);
    driver.kick(2);
    assert!(driver.used(2).is_some());
    assert!(driver.mmio.device_mut().statistics().is_empty());
}
