//! Every source file opens with `//!`: what it is, its key types, its neighbours.

use super::Finding;
use crate::workspace::Source;

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|source| !has_header(&source.text))
        .map(|source| Finding {
            path: source.path.clone(),
            line: Some(1),
            what: "the file does not say what it is for".to_owned(),
            remedy: "open it with a `//!` comment".to_owned(),
        })
        .collect()
}

/// Whether the first line that is not blank is a `//!` with words in it.
fn has_header(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    let words = first.and_then(|line| line.strip_prefix("//!"));
    words.is_some_and(|words| !words.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_must_say_something() {
        assert!(has_header("//! The queue.\n#![forbid(unsafe_code)]\n"));
        assert!(has_header("\n//! The queue.\n"));
        assert!(!has_header("#![forbid(unsafe_code)]\n//! The queue.\n"));
        assert!(!has_header("//!\nfn f() {}\n"));
        assert!(!has_header("// The queue.\n"));
        assert!(!has_header(""));
    }
}
