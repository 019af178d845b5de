//! The rows of `network ls`.

use super::{Width, local_time};
use crate::format::Row;
use gamut_engine::network::list::NetworkView;

/// The table of `network ls`.
pub const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
/// What `-q` prints.
pub const QUIET: &str = "{{.ID}}";

/// `(template name, heading)`.
pub const TITLES: [(&str, &str); 9] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

/// The row of a network.
pub fn row(network: &NetworkView, width: Width) -> Row {
    let row = network.row.as_ref();
    let labels = network.labels();
    let texts: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let has_ipv6 = row.is_some_and(|row| row.subnet6.is_some());
    let is_internal = row.is_some_and(|row| row.options.internal);
    Row::new(
        [
            ("CreatedAt", local_time(network.created_ns())),
            ("Driver", network.driver.to_owned()),
            ("ID", width.id(&network.id)),
            ("IPv4", true.to_string()),
            ("IPv6", has_ipv6.to_string()),
            ("Internal", is_internal.to_string()),
            ("Labels", texts.join(",")),
            ("Name", network.name.clone()),
            ("Scope", "local".to_owned()),
        ],
        labels,
    )
}
