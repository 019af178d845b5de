//! What the conformance tests stand on: the engine as a program ([`Gamut`]), the same as an OCI runtime
//! with a bundle ([`Bundle`]), a host of its own for each test ([`Host`]) with a neighbour to talk to
//! ([`World`]), registries honest ([`Registry`]) and hostile ([`HostileRegistry`]), images good and
//! crafted ([`image`]), and the count of everything that may not be left behind ([`Census`]).
//!
//! The tests drive the binary named by `GAMUT_BIN` from outside; nothing here links to the engine.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod census;
pub mod cgroup;
pub mod disk;
pub mod engine;
pub mod gamut;
pub mod host;
pub mod hostile;
pub mod http;
pub mod image;
pub mod listening;
pub mod outcome;
pub mod patience;
pub mod registry;
pub mod rootless;
pub mod skip;
pub mod terminal;
pub mod user;
pub mod whoami;
mod words;
pub mod world;

pub use bundle::Bundle;
pub use census::Census;
pub use engine::Engine;
pub use gamut::{Gamut, Running, level};
pub use host::Host;
pub use hostile::{HostileRegistry, Login, Mischief};
pub use image::{Blob, Compression, Image, ImageBuilder, Layer, Types};
pub use listening::Listening;
pub use outcome::Outcome;
pub use patience::eventually;
pub use registry::Registry;
pub use terminal::Terminal;
pub use world::World;
