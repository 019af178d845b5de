//! The contract suite, held against overlayfs over plain directories.

use gamut_store::snapshot::{Overlay, suite};

use crate::bench::root;

#[test]
fn overlay_keeps_the_contract() {
    if !root("overlay_keeps_the_contract") {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    suite::run(scratch.path(), |layers, containers| {
        Overlay::new(layers.to_owned(), containers.to_owned())
    });
}
