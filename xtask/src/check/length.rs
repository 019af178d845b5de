//! A file past 500 lines needs a reason, and may then only become shorter.

use std::collections::BTreeMap;

use super::Finding;
use crate::ratchet::Ratchet;
use crate::workspace::Source;

const LIMIT_LINES: usize = 500;

/// The files past the limit with their lines.
pub(crate) fn long(sources: &[Source]) -> BTreeMap<String, usize> {
    let lengths = sources
        .iter()
        .map(|source| (source.path.clone(), source.text.lines().count()));
    lengths.filter(|&(_, lines)| lines > LIMIT_LINES).collect()
}

pub(crate) fn check(sources: &[Source], ratchet: &Ratchet) -> Vec<Finding> {
    let long = long(sources);
    let grown = long.iter().filter_map(|(path, &now)| {
        let allowed = ratchet.long_files.limit(path).max(LIMIT_LINES);
        (now > allowed).then(|| Finding {
            path: path.clone(),
            line: Some(allowed + 1),
            what: format!("{now} lines, and it may have {allowed}"),
            remedy: format!(
                "cut it along its nouns, or `cargo xtask check --bless --raise {path} --reason TEXT`"
            ),
        })
    });
    let slack = ratchet.long_files.0.iter().filter_map(|(path, notch)| {
        let now = long.get(path).copied().unwrap_or(0);
        (now < notch.limit).then(|| Finding {
            path: path.clone(),
            line: None,
            what: format!(
                "shorter than the {} lines the ratchet grants it",
                notch.limit
            ),
            remedy: "keep the gain: `cargo xtask check --bless`".to_owned(),
        })
    });
    grown.chain(slack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratchet::Notch;

    fn of_lines(lines: usize) -> [Source; 1] {
        [Source::new("crates/net/src/a.rs", "\n".repeat(lines))]
    }

    fn ratchet(limit: usize) -> Ratchet {
        let mut ratchet = Ratchet::default();
        let reason = "one table".to_owned();
        ratchet
            .long_files
            .0
            .insert("crates/net/src/a.rs".to_owned(), Notch { limit, reason });
        ratchet
    }

    #[test]
    fn five_hundred_lines_are_free() {
        assert_eq!(check(&of_lines(500), &Ratchet::default()), []);
        let findings = check(&of_lines(501), &Ratchet::default());
        assert_eq!(findings[0].line, Some(501));
    }

    #[test]
    fn a_listed_file_may_shrink_but_not_grow() {
        assert_eq!(check(&of_lines(600), &ratchet(600)), []);
        assert_eq!(check(&of_lines(601), &ratchet(600)).len(), 1);
        assert!(
            check(&of_lines(550), &ratchet(600))[0]
                .remedy
                .starts_with("keep")
        );
        assert!(
            check(&of_lines(10), &ratchet(600))[0]
                .remedy
                .starts_with("keep")
        );
    }
}
