//! Every package takes the workspace's lints, the workspace denies `unsafe` without a SAFETY
//! comment, and every room that needs no `unsafe` forbids it.

use super::Finding;
use super::unsafety;
use crate::error::{self, Error};
use crate::workspace::{Package, Source, Workspace, relative, room};

const FORBID: &str = "#![forbid(unsafe_code)]";

/// Lints that the workspace must deny, as they stand in the root manifest.
const DENIED: [&str; 2] = ["undocumented_unsafe_blocks", "unsafe_op_in_unsafe_fn"];

pub(crate) fn run(workspace: &Workspace) -> Result<Vec<Finding>, Error> {
    let root = error::read(&workspace.root.join("Cargo.toml"))?;
    let mut findings = check_root(&root);
    for package in &workspace.packages {
        findings.extend(check_package(package));
        for target in &package.targets {
            let path = relative(&workspace.root, &target.src_path);
            let source = workspace.sources.iter().find(|source| source.path == path);
            if target
                .kind
                .iter()
                .any(|kind| kind == "lib" || kind == "bin")
            {
                findings.extend(source.and_then(check_target));
            }
        }
    }
    Ok(findings)
}

fn check_root(manifest: &str) -> Vec<Finding> {
    let denied = |lint: &&&str| {
        !manifest.lines().any(|line| {
            let (key, value) = line.split_once('=').unwrap_or_default();
            key.trim() == **lint && matches!(value.trim(), "\"deny\"" | "\"forbid\"")
        })
    };
    let finding = |lint: &str| Finding {
        path: "Cargo.toml".to_owned(),
        line: None,
        what: format!("`{lint}` is not denied"),
        remedy: format!("write `{lint} = \"deny\"` under [workspace.lints]"),
    };
    DENIED
        .iter()
        .filter(denied)
        .map(|lint| finding(lint))
        .collect()
}

fn check_package(package: &Package) -> Option<Finding> {
    (!takes_workspace_lints(&package.manifest)).then(|| Finding {
        path: format!("{}/Cargo.toml", package.folder),
        line: None,
        what: format!(
            "package `{}` does not take the workspace's lints",
            package.name
        ),
        remedy: "write `[lints]` and below it `workspace = true`".to_owned(),
    })
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let line: String = line.split_whitespace().collect();
        (section == "[lints]" && line == "workspace=true")
            || (section.is_empty() && line == "lints.workspace=true")
    })
}

/// The root file of a library or a binary.
fn check_target(root: &Source) -> Option<Finding> {
    let forbids = root.text.lines().any(|line| line.trim() == FORBID);
    let room = room(&root.path);
    (!unsafety::is_allowed_in(room) && !forbids).then(|| Finding {
        path: root.path.clone(),
        line: Some(1),
        what: format!("`{room}` needs no unsafe and does not forbid it"),
        remedy: format!("write `{FORBID}` below the file's `//!`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_taken_in_either_form() {
        assert!(takes_workspace_lints(
            "[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"
        ));
        assert!(takes_workspace_lints("lints.workspace = true\n[package]\n"));
        assert!(!takes_workspace_lints(
            "[package]\n[dependencies.x]\nworkspace = true\n"
        ));
        assert!(!takes_workspace_lints(
            "[lints]\n[dependencies.x]\nworkspace = true\n"
        ));
    }

    #[test]
    fn the_root_denies_unsafe_without_a_reason() {
        let good = "unsafe_op_in_unsafe_fn = \"deny\"\nundocumented_unsafe_blocks = \"deny\"\n";
        assert_eq!(check_root(good), []);
        assert_eq!(check_root("undocumented_unsafe_blocks = \"warn\"").len(), 2);
    }

    #[test]
    fn a_room_without_unsafe_forbids_it() {
        let source = |path, text: &str| Source::new(path, text.to_owned());
        assert!(check_target(&source("crates/net/src/lib.rs", "//! x\n")).is_some());
        assert!(check_target(&source("crates/sys/src/lib.rs", "//! x\n")).is_none());
        let text = "//! x\n#![forbid(unsafe_code)]\n";
        assert!(check_target(&source("crates/net/src/lib.rs", text)).is_none());
        assert!(check_target(&source("crates/cli/src/main.rs", "")).is_some());
    }
}
