//! What gamut has: the pages of `docs/cli`, which are its help texts.

use std::collections::BTreeMap;
use std::path::Path;

use super::canonical;
use crate::docs;
use crate::error::{self, Error};

/// A flag of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    /// With its dashes, and its other names.
    pub(super) names: Vec<String>,
    /// Whether the next word is its value.
    pub(super) takes_word: bool,
}

/// The verbs, each with its flags; the flags before a verb are those of the verb ``.
pub(super) type Ours = BTreeMap<String, Vec<Flag>>;

pub(super) fn read(root: &Path) -> Result<Ours, Error> {
    let folder = root.join(docs::FOLDER);
    let failed = |error| Error::Read(folder.clone(), error);
    let mut ours = Ours::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let text = error::read(&entry.map_err(failed)?.path())?;
        let title = text.lines().find_map(|line| line.strip_prefix("# gamut"));
        let verb = canonical(title.unwrap_or_default().trim());
        ours.entry(verb).or_default().extend(flags(&text));
    }
    Ok(ours)
}

/// `  -d, --detach`, `      --name <NAME>`, `  [aliases: --net]`.
fn flags(page: &str) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("  ")) {
        let word = line.trim_start();
        let depth = line.len() - word.len();
        if word.starts_with('-') && depth <= 6 {
            flags.push(flag(word));
        }
        if let Some((_, rest)) = line.split_once("[aliases: ")
            && let Some(last) = flags.last_mut()
        {
            let names = rest.trim_end_matches(']').split(", ");
            last.names.extend(names.map(str::to_owned));
        }
    }
    flags
}

fn flag(line: &str) -> Flag {
    // Its help begins after two blanks.
    let head = line.split("  ").next().unwrap_or_default();
    let words = head
        .split([' ', ',', '=', '['])
        .filter(|word| word.starts_with('-'));
    Flag {
        names: words
            .map(|word| word.trim_end_matches('.').to_owned())
            .collect(),
        takes_word: head.contains(" <"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_a_page() {
        let page = "Options:\n  -d, --detach  Leave it\n      --sig-proxy[=<BOOL>]  Pass\n  -e, --env <VAR>\n\
                    \x20         Variable\n      --network <NET>  Join [aliases: --net]\n  -v, --volume <A[:B]>...  x\n";
        let flags = flags(page);
        let named = |name: &str| {
            flags
                .iter()
                .find(|flag| flag.names.iter().any(|is| is == name))
        };
        assert!(!named("--detach").unwrap().takes_word);
        assert!(!named("--sig-proxy").unwrap().takes_word);
        assert!(named("-e").unwrap().takes_word);
        assert!(named("--net").unwrap().takes_word);
        assert!(named("-v").unwrap().takes_word);
        assert_eq!(flags.len(), 5);
    }
}
