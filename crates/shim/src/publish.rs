//! Events on their way to containerd, in order: a queue, and a thread that empties it over one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prost::Message;

use crate::log;
use crate::message::event::{Envelope, Event, ForwardRequest};
use crate::message::{Any, Timestamp};
use crate::ttrpc::caller::{CallError, Caller};

const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
/// Events that wait for a containerd that is away; beyond, the oldest are lost.
const MAX_WAITING: usize = 2048;
/// How often an unreachable containerd is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    namespace: String,
    waiting: Mutex<VecDeque<Envelope>>,
    /// The queue has got something, or has become empty.
    changed: Condvar,
}

impl Publisher {
    /// Starts the thread. Without an address there is nobody to tell, and events are dropped.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(address: &str, namespace: &str) -> std::io::Result<Publisher> {
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            namespace: namespace.to_owned(),
            waiting: Mutex::new(VecDeque::new()),
            changed: Condvar::new(),
        });
        if !address.is_empty() {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("events".to_owned())
                .stack_size(64 << 10)
                .spawn(move || shared.send_all())?;
        }
        Ok(Publisher { shared })
    }

    /// Puts an event behind those that wait.
    pub fn publish<E: Event>(&self, event: &E) {
        if self.shared.address.is_empty() {
            return;
        }
        let envelope = Envelope {
            timestamp: Some(Timestamp::now()),
            namespace: self.shared.namespace.clone(),
            topic: E::TOPIC.to_owned(),
            event: Some(Any::pack(E::NAME, event)),
        };
        let mut waiting = self.shared.lock();
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(envelope);
        self.shared.changed.notify_all();
    }

    /// Waits until all are sent, or `limit` is over.
    pub fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut waiting = self.shared.lock();
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self
                .shared
                .changed
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Envelope>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event leaves the queue when it has been taken, so that `flush` waits for it as well.
    fn send_all(&self) {
        let mut connection = None;
        loop {
            let mut waiting = self.lock();
            let envelope = loop {
                if let Some(envelope) = waiting.front() {
                    break envelope.clone();
                }
                waiting = self
                    .changed
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
            };
            drop(waiting);
            let payload = ForwardRequest {
                envelope: Some(envelope.clone()),
            }
            .encode_to_vec();
            if let Err(error) = self.send(&mut connection, payload) {
                connection = None;
                match error {
                    CallError::Connection(_) => {
                        std::thread::sleep(RETRY);
                        continue;
                    }
                    // It would be refused again.
                    CallError::Refused(_) => log::warn(format!("{}: {error}", envelope.topic)),
                }
            }
            let mut waiting = self.lock();
            // The oldest may have been dropped meanwhile.
            if waiting.front() == Some(&envelope) {
                waiting.pop_front();
            }
            self.changed.notify_all();
        }
    }

    /// Once more on a new connection: containerd may have been restarted since the last event.
    fn send(&self, connection: &mut Option<Caller>, payload: Vec<u8>) -> Result<(), CallError> {
        if let Some(caller) = connection {
            match caller.call(SERVICE, "Forward", payload.clone()) {
                Err(CallError::Connection(_)) => {}
                answer => return answer.map(drop),
            }
        }
        let caller = connection.insert(Caller::connect(&self.address)?);
        caller.call(SERVICE, "Forward", payload).map(drop)
    }
}
