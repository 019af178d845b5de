//! No file and no folder has a name that says nothing: what is in `utils` could be anywhere.

use super::Finding;
use crate::workspace::Source;

/// `helper` in the singular is not among them: a credential helper is a thing of the field.
const EMPTY: [&str; 7] = [
    "common", "helpers", "inner", "manager", "misc", "util", "utils",
];

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter_map(|source| empty_name(&source.path).map(|name| (source, name)))
        .map(|(source, name)| Finding {
            path: source.path.clone(),
            line: None,
            what: format!("`{name}` says nothing about what is in it"),
            remedy: "name the file after the thing of the field that it holds".to_owned(),
        })
        .collect()
}

/// The first part of the path that is one of the empty words, or ends in one (`tar_utils`).
fn empty_name(path: &str) -> Option<&str> {
    let parts = path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part));
    parts.into_iter().find(|part| {
        let last = part.rsplit(['_', '-']).next().unwrap_or(part);
        EMPTY.contains(&last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_words_are_found_in_files_and_folders() {
        assert_eq!(empty_name("crates/net/src/utils.rs"), Some("utils"));
        assert_eq!(
            empty_name("crates/net/src/tar_helpers.rs"),
            Some("tar_helpers")
        );
        assert_eq!(empty_name("crates/net/tests/common/mod.rs"), Some("common"));
        assert_eq!(empty_name("crates/common/src/lib.rs"), Some("common"));
    }

    #[test]
    fn words_of_the_field_are_fine() {
        assert_eq!(empty_name("crates/net/src/bridge.rs"), None);
        assert_eq!(empty_name("crates/net/src/commonmark.rs"), None);
        assert_eq!(empty_name("crates/registry/src/auth/helper.rs"), None);
        assert_eq!(empty_name("crates/net/src/inner_product.rs"), None);
    }
}
