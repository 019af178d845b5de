//! The rows of `search`.

use std::collections::BTreeMap;

use super::Width;
use crate::format::Row;
use gamut_engine::search::Found;
use gamut_spec::reference::{DEFAULT_REGISTRY, Reference};

/// The table of `search`.
pub const TABLE: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
/// The table of `search --list-tags`.
pub const TAG_TABLE: &str = "{{.Name}}\t{{.Tag}}";

/// `(template name, heading)`.
pub const TITLES: [(&str, &str); 5] = [
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

/// `(template name, heading)` of `--list-tags`.
pub const TAG_TITLES: [(&str, &str); 2] = [("Name", "NAME"), ("Tag", "TAG")];

/// Filters of `search`.
pub const FILTERS: [&str; 3] = ["is-automated", "is-official", "stars"];

/// Docker's width of a description.
const DESCRIPTION_CHARACTERS: usize = 45;

/// The row of a repository, by a name that can be pulled.
pub fn row(registry: &Reference, found: &Found, width: Width) -> Row {
    let name = match registry.registry() {
        DEFAULT_REGISTRY => found.name.clone(),
        registry => format!("{registry}/{}", found.name),
    };
    let mark = |is: bool| if is { "[OK]" } else { "" }.to_owned();
    Row::new(
        [
            ("Name", name),
            ("Description", cut(&found.description, width)),
            ("StarCount", found.star_count.to_string()),
            ("IsOfficial", mark(found.is_official)),
            ("IsAutomated", mark(found.is_automated)),
        ],
        BTreeMap::new(),
    )
}

/// The row of a tag.
pub fn tag_row(repository: &Reference, tag: &str) -> Row {
    Row::new(
        [
            ("Name", repository.familiar_name()),
            ("Tag", tag.to_owned()),
        ],
        BTreeMap::new(),
    )
}

/// On one line, and not long unless all of it is wanted.
fn cut(text: &str, width: Width) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(DESCRIPTION_CHARACTERS) {
        Some(_) if width == Width::Cut => {
            let kept: String = line.chars().take(DESCRIPTION_CHARACTERS - 1).collect();
            format!("{kept}…")
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_one_short_line() {
        assert_eq!(cut("a\n  b", Width::Cut), "a b");
        let long = "x".repeat(50);
        assert_eq!(cut(&long, Width::Cut).chars().count(), 45);
        assert_eq!(cut(&long, Width::Full), long);
    }
}
