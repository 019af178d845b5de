//! The registers, written in right and wrong order. The device is the smallest: entropy.

use super::*;
use crate::driver::{Driver, LOW};
use crate::entropy::Entropy;
use crate::rate::Limiter;

fn driver() -> Driver<Entropy> {
    Driver::new(Entropy::new(Limiter::unlimited().expect("a timer")))
}

#[test]
fn it_says_what_it_is() {
    let driver = driver();
    assert_eq!(&driver.get(0).to_le_bytes(), b"virt");
    assert_eq!((driver.get(4), driver.get(8)), (2, 4));
    assert_eq!(driver.get(0x034), 256);
    assert_eq!(driver.get(0x0b0), u32::MAX, "no shared memory");
    assert_eq!(driver.config::<8>(0), [0; 8]);
}

#[test]
fn registers_are_four_aligned_bytes() {
    let mut driver = driver();
    let mut byte = [9];
    driver.mmio.read(0, &mut byte);
    let mut eight = [9; 8];
    driver.mmio.read(0, &mut eight);
    assert_eq!((byte, eight), ([0], [0; 8]));
    assert_eq!(driver.get(1), 0);
    driver.mmio.write(0x070, &[1]);
    driver.mmio.write(0x070, &[]);
    driver.set(0x071, 1);
    assert_eq!(driver.get(0x070), 0);
    assert_eq!(driver.counter("refused_writes"), 3);
}

#[test]
fn features_must_be_offered_and_version_1() {
    let mut driver = driver();
    driver.set(0x020, 1 << 28);
    driver.set(0x070, 1);
    driver.set(0x070, 3);
    driver.set(0x070, 11);
    assert_eq!(driver.get(0x070), 3, "without VERSION_1");
    driver.set(0x024, 1);
    driver.set(0x020, 1);
    driver.set(0x024, 0);
    driver.set(0x020, 1 << 7);
    driver.set(0x070, 11);
    assert_eq!(driver.get(0x070), 3, "with what was not offered");
    driver.set(0x020, 1 << 29);
    driver.set(0x070, 11);
    assert_eq!(driver.get(0x070), 11);
    // Too late.
    driver.set(0x020, 0);
    driver.set_up(0);
    driver.set(0x070, 15);
    assert_eq!(driver.get(0x070), 15);
}

#[test]
fn steps_are_neither_skipped_nor_taken_back() {
    let mut driver = driver();
    for status in [2, 3 | 4, 8, 15 | 16, 64, 1 << 31] {
        driver.set(0x070, status);
        assert_eq!(driver.get(0x070), 0, "{status}");
    }
    driver.negotiate(u64::MAX);
    driver.set(0x070, 1);
    assert_eq!(driver.get(0x070), 11);
    driver.set(0x070, 11 | 128);
    assert_eq!(driver.get(0x070), 139, "the driver has given up");
    driver.set(0x070, 15 | 128);
    assert_eq!(driver.get(0x070), 139, "and only a reset helps");
    driver.set(0x070, 0);
    assert_eq!(driver.get(0x070), 0);
}

#[test]
fn queues_lie_in_guest_memory() {
    let mut driver = driver();
    driver.set(0x044, 1);
    assert_eq!(driver.get(0x044), 0, "before the features");
    driver.negotiate(u64::MAX);
    for size in [0, 3, 512, 65536 + 2] {
        driver.set(0x038, size);
    }
    let before = driver.counter("refused_writes");
    let low = LOW as u32;
    for (descriptors, available, used) in [
        (0, low + 0x1000, low + 0x2000),
        (low + 8, low + 0x1000, low + 0x2000),
        (low, low + 0x1001, low + 0x2000),
        (low, low + 0x1000, low + 0x2002),
        (low + 0xff010, low + 0x1000, low + 0x2000),
        (low, low + 0x1000, 0xffff_fffc),
    ] {
        driver.set(0x080, descriptors);
        driver.set(0x090, available);
        driver.set(0x0a0, used);
        driver.set(0x044, 1);
        assert_eq!(
            driver.get(0x044),
            0,
            "{descriptors:x} {available:x} {used:x}"
        );
    }
    driver.set(0x0a0, low + 0x2000);
    driver.set(0x0a4, 1);
    driver.set(0x044, 1);
    assert_eq!(driver.counter("refused_writes"), before + 7);
    driver.set(0x0a4, 0);
    driver.set(0x044, 1);
    assert_eq!(driver.get(0x044), 1);
    // What is ready does not move.
    driver.set(0x080, 0);
    driver.set(0x038, 16);
    assert_eq!(driver.counter("refused_writes"), before + 9);
    driver.set(0x030, 1);
    assert_eq!(
        (driver.get(0x034), driver.get(0x044)),
        (0, 0),
        "no such queue"
    );
    driver.set(0x038, 16);
    assert_eq!(driver.counter("refused_writes"), before + 10);
}

#[test]
fn a_driver_without_its_queue_is_told_to_reset() {
    let mut driver = driver();
    driver.negotiate(u64::MAX);
    driver.set(0x070, 15);
    assert_eq!((driver.get(0x070), driver.get(0x060)), (15 | 64, 2));
    assert_eq!(driver.counter("refused_activations"), 1);
    driver.set(0x064, 2);
    assert_eq!(driver.get(0x060), 0);
    driver.kick(0);
    driver.set(0x070, 0);
    driver.start(0);
    assert_eq!(driver.get(0x070), 15);
}

#[test]
fn a_device_is_driven_by_its_kind_or_as_any() {
    let driver = driver();
    let shared = std::sync::Arc::new(std::sync::Mutex::new(driver.mmio));
    let any: std::sync::Arc<std::sync::Mutex<Mmio<dyn Device>>> = shared.clone();
    any.lock().expect("a lock").handle(Event::Queue(7));
    let mut kind = shared.lock().expect("a lock");
    kind.device_mut().limiter_mut();
    assert_eq!(kind.notifiers().count(), 1);
}
