//! `unsafe` stands only in the rooms that need it, and its uses there may only become fewer.
//!
//! Counted is each use of the keyword in code, whatever it opens (a block, a function, an impl,
//! an extern block, an attribute), tests included. That each block has its SAFETY comment is
//! clippy's job (`undocumented_unsafe_blocks`, see `lints`).

use std::collections::BTreeMap;

use super::Finding;
use crate::lexer;
use crate::ratchet::Ratchet;
use crate::workspace::Source;

/// The rooms that may hold `unsafe`, and what for.
const ROOMS: [(&str, &str); 5] = [
    ("sys", "system calls"),
    ("virtio", "guest memory"),
    ("sandbox", "the platforms"),
    ("vmm", "vCPUs and architecture code"),
    ("container", "the child between clone and exec"),
];

pub(crate) fn is_allowed_in(room: &str) -> bool {
    ROOMS.iter().any(|(name, _)| *name == room)
}

/// Uses of `unsafe` per room, rooms without any left out.
pub(crate) fn count(sources: &[Source]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for source in sources {
        let uses = lexer::words(&source.masked, "unsafe").count();
        if uses > 0 {
            *counts.entry(source.room().to_owned()).or_default() += uses;
        }
    }
    counts
}

pub(crate) fn check(sources: &[Source], ratchet: &Ratchet) -> Vec<Finding> {
    let misplaced = sources
        .iter()
        .filter(|source| !is_allowed_in(source.room()));
    let misplaced = misplaced.filter_map(|source| {
        let at = lexer::words(&source.masked, "unsafe").next()?;
        Some(Finding {
            path: source.path.clone(),
            line: Some(lexer::line_of(&source.text, at)),
            what: format!(
                "`unsafe` in `{}`, which is not meant to need it",
                source.room()
            ),
            remedy: "use rustix, or put a safe function into `sys` and call that".to_owned(),
        })
    });
    let counts = count(sources);
    let grown = counts.iter().filter(|(room, _)| is_allowed_in(room));
    let grown = grown.filter_map(|(room, &now)| {
        let allowed = ratchet.unsafe_uses.limit(room);
        (now > allowed).then(|| Finding {
            path: format!("crates/{room}"),
            line: None,
            what: format!("{now} uses of `unsafe`, and the ratchet stands at {allowed}"),
            remedy: format!(
                "do without, or `cargo xtask check --bless --raise {room} --reason TEXT`"
            ),
        })
    });
    let slack = ratchet.unsafe_uses.0.iter().filter_map(|(room, notch)| {
        let now = counts.get(room).copied().unwrap_or(0);
        (now < notch.limit).then(|| Finding {
            path: format!("crates/{room}"),
            line: None,
            what: format!(
                "{now} uses of `unsafe`, and the ratchet still stands at {}",
                notch.limit
            ),
            remedy: "keep the gain: `cargo xtask check --bless`".to_owned(),
        })
    });
    misplaced.chain(grown).chain(slack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratchet::Notch;

    fn source(path: &str, text: &str) -> Source {
        Source::new(path, text.to_owned())
    }

    fn ratchet(room: &str, limit: usize) -> Ratchet {
        let mut ratchet = Ratchet::default();
        let reason = "kernel".to_owned();
        ratchet
            .unsafe_uses
            .0
            .insert(room.to_owned(), Notch { limit, reason });
        ratchet
    }

    #[test]
    fn uses_are_summed_over_the_files_of_a_room() {
        let sources = [
            source("crates/sys/src/a.rs", "unsafe { f() } // unsafe"),
            source("crates/sys/src/b.rs", "unsafe fn f() {}"),
            source("crates/net/src/a.rs", "fn f() {}"),
        ];
        assert_eq!(count(&sources), BTreeMap::from([("sys".to_owned(), 2)]));
    }

    #[test]
    fn a_count_may_stay_but_not_grow_and_a_gain_is_kept() {
        let sources = [source(
            "crates/sys/src/a.rs",
            "unsafe { f() }\nunsafe { f() }",
        )];
        assert_eq!(check(&sources, &ratchet("sys", 2)), []);
        assert!(
            check(&sources, &ratchet("sys", 1))[0]
                .what
                .starts_with("2 uses")
        );
        assert!(
            check(&sources, &ratchet("sys", 3))[0]
                .remedy
                .starts_with("keep")
        );
        assert!(
            check(&sources, &Ratchet::default())[0]
                .what
                .ends_with("stands at 0")
        );
    }

    #[test]
    fn elsewhere_the_first_use_is_named() {
        let sources = [source(
            "crates/net/src/a.rs",
            "//! x\n\nfn f() { unsafe { g() } }",
        )];
        let findings = check(&sources, &Ratchet::default());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(3));
    }
}
