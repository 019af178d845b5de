//! Readers that wait, one after the other or side by side: what they want is fetched, and they are told to
//! go on, or that it cannot be had.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use gamut_sys::fanotify::Answer;
use rustix::io::Errno;

use super::journal::Waiting;
use super::server::Shared;

/// Readers that are worked for at once.
pub(super) const WORKERS: usize = 8;

/// Works until nobody can come any more.
pub(super) fn work(shared: &Shared, queue: &Arc<Mutex<Receiver<Waiting>>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(waiting) = next else {
            return;
        };
        shared.demand.begin();
        let answer = answer(shared, &waiting);
        shared.demand.end();
        match shared.group.answer(waiting.number(), answer) {
            // It was killed while it waited.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => shared
                .log
                .say(&format!("a reader cannot be answered: {errno}")),
        }
        shared.journal.strike(waiting);
    }
}

fn answer(shared: &Shared, waiting: &Waiting) -> Answer {
    let Some(serving) = shared.by_inode(waiting.inode) else {
        // It has become whole, or was never ours.
        return Answer::Allow;
    };
    match serving.provide(&shared.client, &waiting.range) {
        Ok(()) => Answer::Allow,
        Err(error) => {
            let range = &waiting.range;
            let (name, at) = (serving.name(), range.start);
            shared.log.say(&format!(
                "{name}: a reader at byte {at} gets an error: {error}"
            ));
            Answer::Fail
        }
    }
}
