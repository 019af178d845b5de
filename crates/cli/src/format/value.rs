//! What templates compute with.

use std::borrow::Cow;

use serde_json::Value;

/// A value of the data, borrowed, or a computed one.
pub(super) type Val<'a> = Cow<'a, Value>;

/// No more is printed than this.
pub(super) const OUTPUT_MAXIMUM_BYTES: usize = 16 << 20;
/// No padding beyond this, however wide a template asks.
pub(super) const WIDTH_MAXIMUM: usize = 4096;
