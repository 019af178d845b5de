//! What an attacker reaches, as functions of bytes: each must come to an end without a panic, and
//! some look at what came out.
//!
//! Two things feed the same [`TARGETS`]: the test `tests/main.rs`, which is a part of `./test`, with a
//! fixed number of mutations from a fixed seed ([`mutate`]); and libFuzzer, by `libfuzzer/`, for as
//! long as one likes (docs/development.md). Both begin with [`Target::seeds`].
#![forbid(unsafe_code)]

mod mutate;
mod targets;

use std::path::PathBuf;

pub use mutate::Mutations;
pub use targets::TARGETS;

/// One function to be fed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Takes anything; panics when something is wrong.
    pub run: fn(&[u8]),
    /// Seeds that are easier to make than to keep.
    made: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// The target of a name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// What mutations begin with: the files in `seeds/NAME`, in the order of their names (among them
    /// whatever once made the target panic), then those that are made.
    pub fn seeds(self) -> std::io::Result<Vec<Vec<u8>>> {
        let name = match self.name {
            // It takes the same.
            "merge" => "image",
            name => name,
        };
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(name);
        let mut paths = Vec::new();
        if folder.is_dir() {
            for entry in std::fs::read_dir(folder)? {
                paths.push(entry?.path());
            }
        }
        paths.sort();
        let kept: Result<Vec<_>, _> = paths.iter().map(std::fs::read).collect();
        let mut seeds = kept?;
        seeds.extend((self.made)());
        Ok(seeds)
    }
}

/// Feeds the target of a name; one that is not there is a mistake of the caller's.
pub fn run(name: &str, bytes: &[u8]) {
    let target = Target::named(name);
    (target.unwrap_or_else(|| panic!("no target {name}")).run)(bytes);
}
