//! Waiting for something that happens in another process, without depending on how fast this machine is.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: it bounds a hang, it measures nothing.
/// `GAMUT_TEST_PATIENCE`, in seconds, says otherwise: an emulated machine is ten times slower than a
/// real one.
pub fn limit() -> Duration {
    let said = std::env::var("GAMUT_TEST_PATIENCE").ok();
    Duration::from_secs(said.and_then(|text| text.parse().ok()).unwrap_or(120))
}

/// Asks `look` until it gives a value. Panics with `what` after [`limit`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = look() {
            return value;
        }
        let limit = limit();
        assert!(began.elapsed() < limit, "gave up after {limit:?}: {what}");
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// [`eventually`] for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}
