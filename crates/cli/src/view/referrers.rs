//! The rows of `image referrers`.

use super::Width;
use crate::format::Row;
use crate::human;
use gamut_engine::referrers::Referrer;

/// The table of `image referrers`.
pub const TABLE: &str = "{{.Digest}}\t{{.ArtifactType}}\t{{.Origin}}\t{{.Subject}}\t{{.Size}}";
/// What `-q` prints.
pub const QUIET: &str = "{{.Digest}}";

/// `(template name, heading)`.
pub const TITLES: [(&str, &str); 7] = [
    ("Digest", "DIGEST"),
    ("ArtifactType", "ARTIFACT TYPE"),
    ("Origin", "ORIGIN"),
    ("Subject", "SUBJECT"),
    ("MediaType", "MEDIA TYPE"),
    ("Size", "SIZE"),
    ("Annotations", "ANNOTATIONS"),
];

/// The row of one of them.
pub fn row(referrer: &Referrer, width: Width) -> Row {
    let descriptor = &referrer.descriptor;
    let annotations = descriptor.annotations.iter().flatten();
    let annotations: Vec<String> = annotations
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Row::new(
        [
            ("Digest", width.id(&descriptor.digest.to_string())),
            ("ArtifactType", referrer.artifact_type.clone()),
            ("Origin", referrer.origin.as_str().to_owned()),
            ("Subject", width.id(&referrer.subject.to_string())),
            ("MediaType", descriptor.media_type.to_string()),
            ("Size", human::decimal_size(descriptor.size)),
            ("Annotations", annotations.join(",")),
        ],
        descriptor.annotations.clone().unwrap_or_default(),
    )
}
