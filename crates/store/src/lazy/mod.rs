//! Layers that are used before their last byte is here.
//!
//! Some blobs say where in them each file is: eStargz and zstd:chunked ([`index`], [`toc`]). For others it
//! can be said beside them ([`LayerIndex`]). From such a table of contents a layer is laid out (`layout`) as the EROFS image that it will be, names and
//! attributes whole, data left out. Each *chunk* of data has its place in the blob, its place in the
//! image and its digest ([`chunk`]); which chunks are there is kept in a file beside the image
//! (`presence`). [`PendingLayer`] is such a layer, opened to be filled: with single chunks, as somebody
//! needs them, and from the beginning to the end (`fill`), which is the only way to know that the blob
//! has the digest that the manifest says, the archive the diff id, and the table of contents told the
//! truth. Then the layer is like any other.
//!
//! Nothing is written into the image that has not been held against its digest. Whoever lets others
//! read the image has to see to it that nobody reads a chunk that is not there: it would be zeros.
//!
//! In the layer's directory, until it is whole: `lazy.json` ([`Origin`]), `lazy-chunks`, `lazy-present`, and
//! of gzip `lazy-points`.

mod build;
pub mod chunk;
mod error;
mod fill;
#[doc(hidden)]
pub mod fuzzing;
pub mod index;
mod inflate;
mod layer_index;
mod layout;
mod origin;
mod part;
mod pending;
mod points;
mod presence;
mod scan;
mod summary;
pub mod toc;

pub use error::LazyError;
pub(crate) use fill::FillSink;
pub use index::{Index, MAX_INDEX_BYTES};
pub use layer_index::LayerIndex;
pub use origin::Origin;
pub use pending::{Opened, PendingLayer, Request};
