//! Waiting for something that happens in another process, without depending on how fast this machine is.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: it bounds a hang, it measures nothing.
/// An emulated machine is ten times slower than a real one.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Asks `look` until it gives a value. Panics with `what` after [`LIMIT`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(began.elapsed() < LIMIT, "gave up after {LIMIT:?}: {what}");
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// [`eventually`] for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}
