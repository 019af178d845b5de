//! Pulling no more of a layer than its table of contents, and waiting for the rest of one of which no more
//! was pulled.

use std::os::fd::AsFd;
use std::time::Duration;

use gamut_spec::image::Manifest;
use gamut_store::db::Image;
use gamut_store::layer::{Form, Layer, LayerRecord};
use gamut_store::lazy::toc::Toc;
use gamut_store::lazy::{Index, LazyError, Origin};
use gamut_store::snapshot::Driver;
use gamut_store::unpack::LayerSource;
use gamut_sys::fanotify::Group;

use super::layer::OneLayer;
use super::{Fetch, LayerEvent, PullError, PullEvents};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::filler;
use crate::lazy_index::WORTH_BYTES;

/// Between two looks at how far the filler is.
const TICK: Duration = Duration::from_millis(50);

impl Engine {
    /// How layers can be had here, if `some` are to be had at all.
    pub(super) fn possible(
        &self,
        fetch: Fetch,
        some: bool,
        events: &dyn PullEvents,
    ) -> Result<Fetch, EngineError> {
        if fetch == Fetch::Whole || !some {
            return Ok(Fetch::Whole);
        }
        Ok(match self.no_lazy_layers()? {
            None => Fetch::Lazy,
            Some(reason) => {
                events.warning(&format!("layers are pulled whole: {reason}"));
                Fetch::Whole
            }
        })
    }

    /// Why layers have to be whole here; `None`: they have not.
    ///
    /// # Errors
    /// When nothing can be written to the store.
    pub fn no_lazy_layers(&self) -> Result<Option<String>, EngineError> {
        if self.driver()? != Driver::Erofs {
            return Ok(Some("the storage driver is not `erofs`".into()));
        }
        if self.storage()?.loop_devices {
            return Ok(Some(
                "EROFS images are mounted from loop devices, which ask nobody before they read"
                    .into(),
            ));
        }
        let file = self.store.ingests().scratch();
        let file = file.map_err(gamut_store::StoreError::from)?;
        let watched = Group::new().and_then(|group| group.watch(file.as_fd()));
        Ok(watched.err().map(|errno| {
            format!(
                "the kernel asks nobody before a file here is read (fanotify, Linux 6.14): {errno}"
            )
        }))
    }

    /// Has the image's layers filled, if there is anything to fill, and waits for it if they are to be
    /// whole.
    pub(super) fn settle_layers(
        &self,
        image: &Image,
        manifest: &Manifest,
        fetch: Fetch,
        events: &dyn PullEvents,
    ) -> Result<(), EngineError> {
        let layers = self.store.image_layers(image)?;
        if layers.iter().all(|layer| layer.form != Form::Lazy) {
            return Ok(());
        }
        self.guard_layers()?;
        if fetch == Fetch::Lazy {
            return Ok(());
        }
        for (layer, descriptor) in layers.iter().zip(&manifest.layers) {
            if layer.form == Form::Lazy {
                let short = descriptor.digest.short();
                self.await_layer(layer, &short, events)?;
                events.event(&short, LayerEvent::Done);
            }
        }
        Ok(())
    }

    fn await_layer(
        &self,
        layer: &LayerRecord,
        short: &str,
        events: &dyn PullEvents,
    ) -> Result<(), EngineError> {
        loop {
            let known = self.store.db().layer(&layer.diff_id)?;
            if known.is_none_or(|known| known.form != Form::Lazy) {
                return Ok(());
            }
            match filler::client::progress(&self.dirs, &layer.diff_id) {
                Some(progress) => {
                    if let Some(reason) = progress.failure {
                        let layer = short.to_owned();
                        return Err(PullError::Unfilled { layer, reason }.into());
                    }
                    let event = LayerEvent::Downloading {
                        done_bytes: progress.present_bytes,
                        total_bytes: layer.size_bytes,
                    };
                    events.event(short, event);
                }
                // It has been recorded meanwhile, or the filler has been killed.
                None => self.guard_layers()?,
            }
            std::thread::sleep(TICK);
        }
    }
}

impl OneLayer<'_> {
    /// Lays the layer out; `None`: it has to be pulled whole, which has been said.
    pub(super) fn lay_out(&self) -> Result<Option<Layer>, PullError> {
        let descriptor = &self.entry.descriptor;
        let short = descriptor.digest.short();
        if descriptor.size < WORTH_BYTES {
            return Ok(None);
        }
        let whole = |reason: &str| {
            let warning = format!("layer {short} is pulled whole: {reason}");
            self.events.warning(&warning);
            Ok(None)
        };
        let toc = match self.table() {
            Ok(toc) => toc,
            Err(reason) => return whole(&reason),
        };
        let origin = Origin {
            reference: self.reference.to_string(),
            digest: descriptor.digest.clone(),
            size_bytes: descriptor.size,
            media_type: descriptor.media_type.as_str().to_owned(),
        };
        match self
            .layers
            .lay_out(self.diff_id, &origin, toc, self.options)
        {
            Ok((layer, warnings)) => {
                self.warn(&short, &warnings);
                self.events.event(&short, LayerEvent::LaidOut);
                Ok(Some(layer))
            }
            Err(LazyError::Layer(source)) => Err(PullError::Layer {
                layer: short,
                source,
            }),
            Err(error) => whole(&error.to_string()),
        }
    }

    /// The layer's table of contents: its own, or what an index beside the image says.
    fn table(&self) -> Result<Toc, String> {
        let descriptor = &self.entry.descriptor;
        let table = match Index::of(|name| descriptor.annotation(name)) {
            Some(index) => {
                let fetch = |part| filler::fetch(self.client, self.reference, descriptor, &part);
                index.read(descriptor.size, fetch)
            }
            None => {
                let source = LayerSource {
                    digest: &descriptor.digest,
                    size_bytes: Some(descriptor.size),
                    media_type: descriptor.media_type.as_str(),
                    diff_id: self.diff_id,
                };
                let index = self.indexes.of(&descriptor.digest)?;
                index.into_toc(&source, &self.options.limits)
            }
        };
        table.map_err(|error| error.to_string())
    }
}
