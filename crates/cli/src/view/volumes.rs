//! The rows of `volume ls`.

use crate::format::Row;
use gamut_engine::volumes::{DRIVER, Volume};

/// The table of `volume ls`.
pub const TABLE: &str = "{{.Driver}}\t{{.Name}}";
/// What `-q` prints.
pub const QUIET: &str = "{{.Name}}";

/// `(template name, heading)`.
pub const TITLES: [(&str, &str); 5] = [
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
];

/// The row of a volume.
pub fn row(volume: &Volume) -> Row {
    let labels = volume.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Row::new(
        [
            ("Driver", DRIVER.to_owned()),
            ("Labels", labels.join(",")),
            ("Mountpoint", volume.mountpoint.display().to_string()),
            ("Name", volume.name.clone()),
            ("Scope", "local".to_owned()),
        ],
        volume.labels.clone(),
    )
}
