//! What users and registries send as text: names of images, manifests, configurations, headers.

use gamut_spec::Reference;
use gamut_spec::image::{Document, ImageConfig, Platform};

/// An image's name. What was understood must be understood the same way again.
pub(super) fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(reference) = text.parse::<Reference>() else {
        return;
    };
    for again in [reference.to_string(), reference.familiar()] {
        let parsed: Result<Reference, _> = again.parse();
        assert_eq!(
            parsed.ok().as_ref(),
            Some(&reference),
            "{text:?} as {again:?}"
        );
    }
    let _ = (
        reference.api_host(),
        reference.is_loopback(),
        reference.selector(),
    );
    let _ = reference.with_tag(text);
}

/// A manifest or an index, with whatever content type.
pub(super) fn manifest(bytes: &[u8]) {
    for content_type in [
        None,
        Some("application/vnd.oci.image.index.v1+json"),
        Some("text/html"),
    ] {
        let Ok(document) = Document::parse(bytes, content_type) else {
            continue;
        };
        let _ = document.media_type();
        match document {
            Document::Manifest(manifest) => {
                let _ = manifest.image_layers();
            }
            Document::Index(index) => {
                let _ = index.select(&Platform::host());
            }
        }
    }
}

/// An image's configuration. What is written again says the same.
pub(super) fn config(bytes: &[u8]) {
    let Ok(config) = ImageConfig::parse(bytes) else {
        return;
    };
    let _ = config.platform();
    if let Ok(written) = serde_json::to_vec(&config) {
        let again = ImageConfig::parse(&written).expect("what was written can be read");
        assert_eq!(again, config);
    }
}

/// The `WWW-Authenticate` header of an answer.
pub(super) fn challenge(bytes: &[u8]) {
    if let Ok(header) = std::str::from_utf8(bytes) {
        gamut_registry::fuzzing::challenge(header);
    }
}

/// A token service's answer.
pub(super) fn token(bytes: &[u8]) {
    gamut_registry::fuzzing::token(bytes);
}
