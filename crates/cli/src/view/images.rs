//! The rows of `images`.

use std::collections::BTreeMap;

use super::{Width, local_time};
use crate::format::Row;
use crate::human;

/// The table of `images`.
pub const TABLE: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
/// The table of `images --digests`.
pub const DIGEST_TABLE: &str =
    "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
/// What `-q` prints.
pub const QUIET: &str = "{{.ID}}";

/// `(template name, heading)`.
pub const TITLES: [(&str, &str); 11] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];

/// Filters of `images`.
pub const FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

const NONE: &str = "<none>";

/// An image under one of its names.
#[derive(Debug, Clone)]
pub struct Line {
    /// `sha256:…` of the configuration.
    pub id: String,
    pub repository: Option<String>,
    pub tag: Option<String>,
    /// `sha256:…` of the manifest.
    pub digest: Option<String>,
    /// Nanoseconds since the epoch; `None`: the image does not say.
    pub created_ns: Option<i64>,
    pub size_bytes: u64,
    /// What is here of it.
    pub present_bytes: u64,
    pub labels: BTreeMap<String, String>,
}

impl Line {
    /// The row, as of now.
    pub fn row(&self, now_ns: i64, width: Width) -> Row {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
        let unknown = || "N/A".to_owned();
        Row::new(
            [
                ("Repository", or_none(&self.repository)),
                ("Tag", or_none(&self.tag)),
                ("Digest", or_none(&self.digest)),
                ("ID", width.id(&self.id)),
                (
                    "CreatedSince",
                    self.created_ns
                        .map_or_else(unknown, |then| human::ago(then, now_ns)),
                ),
                (
                    "CreatedAt",
                    self.created_ns.map_or_else(unknown, local_time),
                ),
                ("Size", human::decimal_size(self.size_bytes)),
                ("VirtualSize", human::decimal_size(self.size_bytes)),
                ("PresentSize", human::decimal_size(self.present_bytes)),
                ("SharedSize", unknown()),
                ("UniqueSize", unknown()),
                ("Containers", unknown()),
            ],
            self.labels.clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ListFormat;

    #[test]
    fn the_table_is_dockers() {
        let line = Line {
            id: "sha256:0123456789abcdef".to_owned(),
            repository: Some("nginx".to_owned()),
            tag: None,
            digest: None,
            created_ns: Some(0),
            size_bytes: 133_000_000,
            present_bytes: 133_000_000,
            labels: BTreeMap::new(),
        };
        let rows = [line.row(15 * 86_400 * 1_000_000_000, Width::Cut)];
        let mut output = Vec::new();
        ListFormat::parse(None, TABLE, &TITLES)
            .unwrap()
            .write(&rows, &mut output)
            .unwrap();
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE\n\
             nginx        <none>    0123456789ab   2 weeks ago   133MB\n"
        );
        let full = line.row(0, Width::Full);
        let id = crate::format::Template::parse(QUIET)
            .unwrap()
            .render_row(&full);
        assert_eq!(id.unwrap(), "sha256:0123456789abcdef");
    }
}
