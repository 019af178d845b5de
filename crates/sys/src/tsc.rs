//! The processors' time-stamp counter, which a guest without the host's clock counts time by.
#![allow(unsafe_code)]

use std::arch::x86_64::{__cpuid, _rdtsc};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Longest extended leaf, and the one of power management; AMD's manual 3, E.4.
const EXTENDED_LEAVES: u32 = 0x8000_0000;
const POWER_LEAF: u32 = 0x8000_0007;
const INVARIANT: u32 = 1 << 8;

/// How long is measured. A point is some 100 ns wide: a 50,000th of it.
const STRETCH: Duration = Duration::from_millis(10);
/// How often a point is taken; the narrowest counts.
const TRIES: usize = 16;

/// Its frequency, in kHz, as `CLOCK_MONOTONIC` has it; takes 10 ms. `None`: it does not count evenly.
#[must_use]
pub fn measure_khz() -> Option<u64> {
    let has_leaf = __cpuid(EXTENDED_LEAVES).eax >= POWER_LEAF;
    if !has_leaf || __cpuid(POWER_LEAF).edx & INVARIANT == 0 {
        return None;
    }
    let (begin_ticks, begin_ns) = point()?;
    std::thread::sleep(STRETCH);
    let (end_ticks, end_ns) = point()?;
    let ticks = u128::from(end_ticks.checked_sub(begin_ticks)?);
    let khz = (ticks * 1_000_000).checked_div((end_ns - begin_ns).into())?;
    u64::try_from(khz).ok()
}

/// The counter and the clock at the same time.
fn point() -> Option<(u64, u64)> {
    let points = (0..TRIES).map(|_| {
        let (before, now, after) = (ticks(), clock_gettime(ClockId::Monotonic), ticks());
        let width = after.wrapping_sub(before);
        let ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        (width, before.wrapping_add(width / 2), ns)
    });
    points.min().map(|(_, ticks, ns)| (ticks, ns))
}

fn ticks() -> u64 {
    // SAFETY: every processor of x86-64 has the instruction. Where a process may not use it
    // (`PR_SET_TSC`), it ends: nobody here asks for that.
    unsafe { _rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_each_time() {
        let Some(first) = measure_khz() else {
            return;
        };
        let second = measure_khz().expect("as before");
        assert!((500_000..10_000_000).contains(&first), "{first}");
        assert!(first.abs_diff(second) * 100 < first, "{first} {second}");
    }
}
