//! The generated documents say what the program says. A document that was never generated
//! (`docs/cli` is missing) is not checked.

use std::collections::BTreeMap;

use super::Finding;
use crate::docs::{self, FOLDER};
use crate::error::{self, Error};
use crate::workspace::{Workspace, relative};

pub(crate) fn run(workspace: &Workspace) -> Result<Vec<Finding>, Error> {
    let folder = workspace.root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut there = BTreeMap::new();
    let failed = |error| Error::Read(folder.clone(), error);
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        there.insert(relative(&workspace.root, &path), error::read(&path)?);
    }
    Ok(compare(&there, &docs::generate(workspace)?))
}

fn compare(there: &BTreeMap<String, String>, meant: &BTreeMap<String, String>) -> Vec<Finding> {
    let paths: std::collections::BTreeSet<&String> = there.keys().chain(meant.keys()).collect();
    let differ = paths
        .into_iter()
        .filter(|path| there.get(*path) != meant.get(*path));
    differ
        .map(|path| Finding {
            path: path.clone(),
            line: None,
            what: match (there.contains_key(path), meant.contains_key(path)) {
                (true, true) => "is not what the program's help says now",
                (false, _) => "is missing",
                (true, false) => "describes a command that is no more",
            }
            .to_owned(),
            remedy: "run `cargo xtask docs`".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_missing_and_orphaned_pages_are_found() {
        let pages = |pages: &[(&str, &str)]| -> BTreeMap<String, String> {
            pages
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect()
        };
        let there = pages(&[("a", "1"), ("b", "1"), ("d", "1")]);
        let meant = pages(&[("a", "1"), ("b", "2"), ("c", "1")]);
        let found = compare(&there, &meant);
        let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["b", "c", "d"]);
        assert_eq!(found[1].what, "is missing");
    }
}
