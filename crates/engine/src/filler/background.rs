//! What nobody waits for: each layer from its beginning to its end, while nobody waits. The bytes are kept as
//! a pull keeps them, so that a filler that was killed goes on where it was.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gamut_registry::BlobReader;
use gamut_spec::{Fault, Kind};
use gamut_store::db::DbError;
use gamut_store::layer::{Form, LayerRecord};
use gamut_store::unpack::UnpackOptions;

use super::server::Shared;
use super::serving::{Failure, Outlook, Serving};
use crate::engine::Engine;
use crate::error::EngineError;

/// Layers that are filled side by side.
pub(super) const LAYERS: usize = 2;
/// Bytes that are asked for at once: whoever comes to wait is in line behind no more.
const PIECE_BYTES: u64 = 512 << 10;
/// Between two attempts at a layer, at first and at last.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Fills a layer; tries again for as long as it may help.
pub(super) fn fill(shared: &Arc<Shared>, serving: &Serving) {
    let mut wait = WAITS[0];
    loop {
        let before = serving.layer.present_bytes();
        let Err(error) = attempt(shared, serving) else {
            break;
        };
        if serving.is_gone() {
            break;
        }
        let name = serving.name();
        shared.log.say(&format!("{name}: {error}"));
        let outlook = match error.kind() {
            Kind::Invalid => Outlook::Final,
            _ => Outlook::Passing,
        };
        let reason = error.to_string();
        serving.set_failure(Some(Failure { reason, outlook }));
        if outlook == Outlook::Final {
            break;
        }
        if serving.layer.present_bytes() > before {
            wait = WAITS[0];
        }
        if shared.pause(wait, serving) {
            break;
        }
        wait = (wait * 2).min(WAITS[1]);
    }
    serving.is_filling.store(false, Ordering::Release);
    shared.wake();
}

fn attempt(shared: &Arc<Shared>, serving: &Serving) -> Result<(), EngineError> {
    let mut engine = Engine::open(shared.dirs.clone())?;
    let descriptor = &serving.descriptor;
    let ingests = engine.store.ingests();
    let ingest = ingests
        .resume(&descriptor.digest, Some(descriptor.size))
        .map_err(gamut_store::StoreError::from)?;
    let pieces = Pieces {
        shared,
        serving,
        position: ingest.offset(),
        body: None,
    };
    let mut tee = ingest.tee(pieces);
    match serving.layer.fill(&mut tee, &UnpackOptions::default()) {
        Ok(record) => {
            let _ = tee.discard();
            record_whole(&mut engine, &record)?;
            // Whoever asks from now on is answered by the file.
            let _ = shared.group.forget(serving.layer.as_fd());
            serving.layer.finish();
            serving.give_up();
            Ok(())
        }
        Err(error) => {
            if serving.is_gone() || error.kind() == Kind::Invalid {
                let _ = tee.discard();
            }
            Err(error.into())
        }
    }
}

/// Records a layer as whole, if it is recorded at all.
pub(super) fn record_whole(engine: &mut Engine, record: &LayerRecord) -> Result<(), EngineError> {
    let known = engine.store.db().layer(&record.diff_id)?;
    if known.is_some_and(|known| known.form == Form::Lazy) {
        engine
            .store
            .db_mut()
            .write::<_, DbError>(|transaction| transaction.put_layer(record))?;
    }
    Ok(())
}

/// The blob in pieces, each of which is asked for when nobody waits.
struct Pieces<'s> {
    shared: &'s Shared,
    serving: &'s Serving,
    position: u64,
    body: Option<BlobReader>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.serving.descriptor.size;
        loop {
            if self.serving.is_gone() || !self.serving.layer.is_there() {
                self.serving.give_up();
                return Err(io::Error::other("nobody needs it any more"));
            }
            if let Some(body) = &mut self.body {
                let count = body.read(buffer)?;
                self.position += count as u64;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
                self.body = None;
            }
            if self.position == size {
                return Ok(0);
            }
            self.shared.demand.wait_for_silence();
            let piece = self.position..size.min(self.position + PIECE_BYTES);
            let (reference, descriptor) = (&self.serving.reference, &self.serving.descriptor);
            let body = self.shared.client.blob_part(reference, descriptor, piece);
            self.body = Some(body.map_err(io::Error::other)?);
        }
    }
}
