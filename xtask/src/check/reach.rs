//! No source file is forgotten: each is a target's root or is reached from one by `mod`.
//! And a package's integration tests are one binary, `tests/main.rs`, which links once; a test
//! that cannot bear libtest's harness may be another, if the manifest says why.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::lexer;
use crate::workspace::{Source, Workspace, relative};

pub(crate) fn run(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut roots = Vec::new();
    for package in &workspace.packages {
        for target in &package.targets {
            let path = relative(&workspace.root, &target.src_path);
            let is_test = target.kind.iter().any(|kind| kind == "test");
            let is_main = path == format!("{}/tests/main.rs", package.folder);
            let below = path.strip_prefix(&format!("{}/", package.folder));
            let stands_alone = below.is_some_and(|below| stands_alone(&package.manifest, below));
            if is_test && !is_main && !stands_alone {
                findings.push(second_binary(&path, &package.folder));
            }
            roots.push(path);
        }
    }
    findings.extend(forgotten(&roots, &workspace.sources));
    findings
}

/// Whether the manifest has a `[[test]]` of this path that does without the harness, below a
/// comment that says why. `path` is relative to the manifest.
fn stands_alone(manifest: &str, path: &str) -> bool {
    let mut before = "";
    let mut lines = manifest.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "[[test]]" && before.starts_with('#') {
            let section: Vec<&str> = lines
                .clone()
                .take_while(|line| !line.starts_with('['))
                .collect();
            let has = |wanted: &str| section.iter().any(|line| line.trim() == wanted);
            if has("harness = false") && has(&format!("path = \"{path}\"")) {
                return true;
            }
        }
        before = line.trim();
    }
    false
}

fn second_binary(path: &str, folder: &str) -> Finding {
    Finding {
        path: path.to_owned(),
        line: None,
        what: "is a test binary of its own".to_owned(),
        remedy: format!(
            "make it a module of {folder}/tests/main.rs, and write `autotests = false` under \
             [package] and `[[test]] name = \"main\", path = \"tests/main.rs\"` in \
             {folder}/Cargo.toml; one with `harness = false` may stay below a comment that says why"
        ),
    }
}

/// The sources that no root reaches.
fn forgotten(roots: &[String], sources: &[Source]) -> Vec<Finding> {
    let by_path: BTreeMap<&str, &Source> = sources
        .iter()
        .map(|source| (source.path.as_str(), source))
        .collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<(String, Stem)> = Vec::new();
    open.extend(roots.iter().map(|root| (root.clone(), Stem::Folder)));
    while let Some((path, stem)) = open.pop() {
        let Some(source) = by_path.get(path.as_str()) else {
            continue;
        };
        if !reached.insert(path.clone()) {
            continue;
        }
        for module in modules(source) {
            open.extend(candidates(&path, stem, &module));
        }
    }
    let lost = sources
        .iter()
        .filter(|source| !reached.contains(&source.path));
    lost.map(|source| Finding {
        path: source.path.clone(),
        line: None,
        what: "no `mod` reaches this file: it is never compiled".to_owned(),
        remedy: "declare it in its parent module, or remove it".to_owned(),
    })
    .collect()
}

/// Where the files of a module's children lie (The Rust Reference, "Module source filenames").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stem {
    /// In the same folder: the file is a root or a `mod.rs`.
    Folder,
    /// In a folder named as the file without `.rs`.
    OwnName,
}

/// A `mod x;`.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    /// The inline modules around it and its name: `["a", "b"]` for `mod a { mod b; }`.
    names: Vec<String>,
    /// From `#[path = "…"]`.
    path: Option<String>,
}

/// The files that may hold the module, relative to the root, and where its children would lie.
fn candidates(parent: &str, stem: Stem, module: &Module) -> Vec<(String, Stem)> {
    let folder = parent.rsplit_once('/').map_or("", |(folder, _)| folder);
    if let Some(path) = &module.path {
        return vec![(normal(&format!("{folder}/{path}")), Stem::Folder)];
    }
    let base = match stem {
        Stem::Folder => folder.to_owned(),
        Stem::OwnName => parent.strip_suffix(".rs").unwrap_or(parent).to_owned(),
    };
    let below = format!("{base}/{}", module.names.join("/"));
    vec![
        (format!("{below}.rs"), Stem::OwnName),
        (format!("{below}/mod.rs"), Stem::Folder),
    ]
}

/// Resolves `..` and `.` in a path within the repository.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every `mod x;` of a file, those within inline modules included.
fn modules(source: &Source) -> Vec<Module> {
    let masked = &source.masked;
    let bytes = masked.as_bytes();
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth: usize = 0;
    let mut declarations = lexer::words(masked, "mod").peekable();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                inline.retain(|(_, opened_at)| *opened_at < depth);
            }
            _ => {}
        }
        if declarations.next_if_eq(&at).is_none() {
            continue;
        }
        let rest = masked[at + 3..].trim_start();
        let rest = rest.strip_prefix("r#").unwrap_or(rest);
        let length = rest
            .bytes()
            .take_while(|&byte| lexer::is_word(byte))
            .count();
        let name = rest[..length].to_owned();
        match rest[length..].trim_start().bytes().next() {
            Some(b'{') => inline.push((name, depth)),
            Some(b';') => {
                let mut names: Vec<String> = inline.iter().map(|(name, _)| name.clone()).collect();
                names.push(name);
                let path = path_attribute(source, at);
                found.push(Module { names, path });
            }
            _ => {}
        }
    }
    found
}

/// The `#[path = "…"]` among the attributes before a declaration.
fn path_attribute(source: &Source, declaration: usize) -> Option<String> {
    let before = &source.masked[..declaration];
    let start = before.rfind([';', '{', '}']).map_or(0, |at| at + 1);
    let raw = &source.text[start..declaration];
    let (_, value) = raw.rsplit_once("#[path")?;
    let value = value.trim_start().strip_prefix('=')?;
    let value = value.trim_start().strip_prefix('"')?;
    value.split_once('"').map(|(path, _)| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(roots: &[&str], files: &[(&str, &str)]) -> Vec<String> {
        let roots: Vec<String> = roots.iter().map(|root| (*root).to_owned()).collect();
        let source = |(path, text): &(&str, &str)| Source::new(path, (*text).to_owned());
        let sources: Vec<Source> = files.iter().map(source).collect();
        forgotten(&roots, &sources)
            .into_iter()
            .map(|finding| finding.path)
            .collect()
    }

    #[test]
    fn a_test_module_without_mod_is_found() {
        let files = [
            ("a/tests/main.rs", "//! x\nmod pull;\n// mod push;\n"),
            ("a/tests/pull.rs", ""),
            ("a/tests/push.rs", ""),
        ];
        assert_eq!(lost(&["a/tests/main.rs"], &files), ["a/tests/push.rs"]);
    }

    #[test]
    fn both_forms_of_folder_are_followed() {
        let files = [
            ("a/src/lib.rs", "pub mod tar;\npub(crate) mod zip;"),
            ("a/src/tar/mod.rs", "mod entry;"),
            ("a/src/tar/entry.rs", ""),
            ("a/src/zip.rs", "mod entry;"),
            ("a/src/zip/entry.rs", ""),
            ("a/src/entry.rs", ""),
        ];
        assert_eq!(lost(&["a/src/lib.rs"], &files), ["a/src/entry.rs"]);
    }

    #[test]
    fn inline_modules_and_path_attributes_are_followed() {
        let files = [
            (
                "a/src/lib.rs",
                "mod x { fn f() { {} } mod y; }\nmod z;\n#[path = \"../odd.rs\"]\nmod w;",
            ),
            ("a/src/x/y.rs", ""),
            ("a/src/z.rs", ""),
            ("a/odd.rs", ""),
        ];
        assert_eq!(lost(&["a/src/lib.rs"], &files), Vec::<String>::new());
    }

    #[test]
    fn a_second_binary_without_harness_needs_a_reason() {
        let test = "[[test]]\nname = \"cell\"\npath = \"tests/cell.rs\"\nharness = false\n";
        let because = format!("[package]\n\n# It clones itself.\n{test}\n[lints]\n");
        assert!(stands_alone(&because, "tests/cell.rs"));
        assert!(!stands_alone(&because, "tests/other.rs"));
        assert!(!stands_alone(
            &format!("[package]\n\n{test}"),
            "tests/cell.rs"
        ));
        let harnessed = because.replace("harness = false\n", "");
        assert!(!stands_alone(&harnessed, "tests/cell.rs"));
    }

    #[test]
    fn a_module_in_a_string_is_no_module() {
        let files = [
            ("a/src/lib.rs", "const T: &str = \"mod x;\";"),
            ("a/src/x.rs", ""),
        ];
        assert_eq!(lost(&["a/src/lib.rs"], &files), ["a/src/x.rs"]);
    }
}
