//! One layer that is being filled.

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gamut_registry::Client;
use gamut_spec::image::{Descriptor, MediaType};
use gamut_spec::reference::Reference;
use gamut_store::lazy::{LazyError, PendingLayer, Request};

/// See the module.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) layer: PendingLayer,
    pub(super) reference: Reference,
    pub(super) descriptor: Descriptor,
    /// Of its image.
    pub(super) inode: u64,
    /// Nobody needs it any more.
    gone: AtomicBool,
    /// A thread is filling it from its beginning.
    pub(super) is_filling: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// Chunks that are being fetched.
    claims: Mutex<HashSet<usize>>,
    changed: Condvar,
    /// When nothing could be fetched, after all attempts, and why.
    away: Mutex<Option<(Instant, String)>>,
}

/// For how long after nothing could be fetched nothing is tried: the kernel asks for the same again, in
/// smaller pieces, and the reader has waited long enough.
const AWAY: Duration = Duration::from_secs(1);

/// Why a layer is not being filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) outlook: Outlook,
}

/// Whether it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    Passing,
    Final,
}

impl Serving {
    /// Of a layer that has been opened.
    pub(super) fn new(layer: PendingLayer) -> Result<Self, String> {
        let origin = layer.origin();
        let reference = origin.reference.parse::<Reference>();
        let reference = reference.map_err(|error| error.to_string())?;
        let media_type = MediaType::parse(&origin.media_type);
        let descriptor = Descriptor::new(media_type, origin.digest.clone(), origin.size_bytes);
        let inode = layer
            .image()
            .metadata()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            reference,
            descriptor,
            inode: inode.ino(),
            gone: AtomicBool::new(false),
            is_filling: AtomicBool::new(false),
            failure: Mutex::new(None),
            claims: Mutex::new(HashSet::new()),
            changed: Condvar::new(),
            away: Mutex::new(None),
            layer,
        })
    }

    /// For the log.
    pub(super) fn name(&self) -> String {
        format!(
            "layer {} of {}",
            self.descriptor.digest.short(),
            self.reference
        )
    }

    pub(super) fn give_up(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        let failure = self.failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_failure(&self, failure: Option<Failure>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Has a part of the image there, fetching what is missing. What others are fetching is waited for.
    pub(super) fn provide(&self, client: &Client, range: &Range<u64>) -> Result<(), LazyError> {
        loop {
            if self.layer.is_untrue() {
                return Err(LazyError::Untrue);
            }
            let missing = self.layer.missing(range);
            if missing.is_empty() {
                return Ok(());
            }
            let claimed = self.claim(missing);
            if claimed.is_empty() {
                continue;
            }
            let requests = self.layer.requests(&claimed);
            let fetched = requests
                .iter()
                .try_for_each(|request| self.fetch(client, request));
            self.release(&claimed);
            fetched?;
        }
    }

    /// Those that nobody is fetching; if there are none, waits until that may have changed.
    fn claim(&self, mut wanted: Vec<usize>) -> Vec<usize> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.retain(|chunk| !self.layer.has(*chunk) && claims.insert(*chunk));
        if wanted.is_empty() {
            // Whoever claimed them will say so; the time only bounds what a mistake could cost.
            let (claims, _) = self
                .changed
                .wait_timeout(claims, Duration::from_secs(1))
                .unwrap_or_else(PoisonError::into_inner);
            drop(claims);
        }
        wanted
    }

    fn release(&self, claimed: &[usize]) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in claimed {
            claims.remove(chunk);
        }
        drop(claims);
        self.changed.notify_all();
    }

    fn fetch(&self, client: &Client, request: &Request) -> Result<(), LazyError> {
        let away = || self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, why)) = &*away()
            && when.elapsed() < AWAY
        {
            return Err(std::io::Error::other(why.clone()).into());
        }
        let bytes = fetch(client, &self.reference, &self.descriptor, &request.blob);
        let bytes =
            bytes.inspect_err(|error| *away() = Some((Instant::now(), error.to_string())))?;
        self.layer.supply(request, &bytes)
    }
}

/// A part of a blob.
pub(crate) fn fetch(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
    part: &Range<u64>,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client
        .blob_part(reference, descriptor, part.clone())
        .map_err(std::io::Error::other)?
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Readers that wait, and who would rather not be in their way.
#[derive(Debug, Default)]
pub(super) struct Demand {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    last: Option<Instant>,
}

/// How long nobody must have waited before anything else is fetched: who reads one thing mostly reads
/// another right after, and the line is theirs.
const SILENCE: Duration = Duration::from_millis(150);

impl Demand {
    pub(super) fn begin(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
    }

    pub(super) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting = state.waiting.saturating_sub(1);
        state.last = Some(Instant::now());
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until nobody waits, and has not for a while.
    pub(super) fn wait_for_silence(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = match (state.waiting, state.last) {
                (0, None) => return,
                (0, Some(last)) => SILENCE.saturating_sub(last.elapsed()),
                _ => SILENCE,
            };
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
