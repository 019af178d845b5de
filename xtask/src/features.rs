//! `cargo xtask features`: the table of what works at which level, written from the results of
//! the conformance suite and from nothing else.
//!
//! A row is a test of package `gamut-tests`, named by its module and its own name in words. The
//! suite runs once per level; each run's JUnit file fills one column. A test says `refused: WHY`
//! on a line of its own when the level cannot do it and said so before start, and
//! `skipped: WHY` when this machine could not try it; nextest must keep the output of tests that
//! pass (`store-success-output = true` in the profile's `junit` table). What a level refuses by name
//! and is not run there stands in `tests/levels/LEVEL` as `TEST refused: FLAG`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use crate::error::{self, Error};
use crate::junit::{self, Case};
use crate::workspace::Workspace;

const FILE: &str = "docs/features.md";
const PACKAGE: &str = "gamut-tests";

/// A level of isolation, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Container,
    Sandbox,
    Microvm,
    Vm,
}

impl Level {
    const ALL: [Level; 4] = [Level::Container, Level::Sandbox, Level::Microvm, Level::Vm];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Level::Container => "container",
            Level::Sandbox => "sandbox",
            Level::Microvm => "microvm",
            Level::Vm => "vm",
        }
    }
}

/// What a level does about a feature. In the order in which one test's verdict outweighs another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Untried,
    Yes,
    Refused,
    No,
}

impl Cell {
    fn of(case: &Case) -> Self {
        let says = |word: &str| {
            case.output
                .lines()
                .any(|line| line.trim_start().starts_with(word))
        };
        if case.failed {
            Cell::No
        } else if says("refused:") {
            Cell::Refused
        } else if says("skipped:") {
            Cell::Untried
        } else {
            Cell::Yes
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Cell::Untried => "not tried",
            Cell::Yes => "yes",
            Cell::Refused => "refused",
            Cell::No => "no",
        })
    }
}

/// By area (the module in words), then by feature, then by level.
type Table = BTreeMap<String, BTreeMap<String, BTreeMap<Level, Cell>>>;

pub(crate) fn write(workspace: &Workspace, files: &[(Level, PathBuf)]) -> Result<(), Error> {
    let mut table = Table::new();
    for (level, path) in files {
        let cases =
            junit::parse(&error::read(path)?).map_err(|error| Error::Junit(path.clone(), error))?;
        if !enter(&mut table, *level, &cases) {
            return Err(Error::NoResults(path.clone()));
        }
    }
    let levels: BTreeSet<Level> = files.iter().map(|(level, _)| *level).collect();
    for level in levels {
        let list = workspace.root.join("tests/levels").join(level.name());
        if list.exists() {
            refuse(&mut table, level, &error::read(&list)?);
        }
    }
    error::write(&workspace.root.join(FILE), &render(&table))?;
    println!("wrote {FILE}");
    Ok(())
}

/// Enters the conformance results of one run; whether there were any.
fn enter(table: &mut Table, level: Level, cases: &[Case]) -> bool {
    let ours = |case: &&Case| case.suite.split("::").next() == Some(PACKAGE);
    let mut any = false;
    for case in cases.iter().filter(ours) {
        any = true;
        let (area, feature) = row_of(&case.name);
        let row = table.entry(area).or_default().entry(feature).or_default();
        let cell = row.entry(level).or_insert(Cell::Untried);
        *cell = (*cell).max(Cell::of(case));
    }
    any
}

/// Enters what the list of a level says is refused there.
fn refuse(table: &mut Table, level: Level, list: &str) {
    let tests = list.lines().filter(|line| !line.starts_with(['#', '+']));
    for (name, _) in tests.filter_map(|line| line.split_once(" refused:")) {
        let (area, feature) = row_of(name);
        let row = table.entry(area).or_default().entry(feature).or_default();
        row.entry(level).or_insert(Cell::Refused);
    }
}

/// The area and the feature that a test's name says.
fn row_of(test: &str) -> (String, String) {
    match test.rsplit_once("::") {
        Some((module, name)) => (in_words(module), in_words(name)),
        None => ("general".to_owned(), in_words(test)),
    }
}

/// `ports::publishes_a_udp_port` as words: `ports: publishes a udp port`.
fn in_words(path: &str) -> String {
    path.replace("::", ": ").replace('_', " ")
}

fn render(table: &Table) -> String {
    let rows = || table.values().flat_map(BTreeMap::values);
    let levels: BTreeSet<Level> = rows().flat_map(BTreeMap::keys).copied().collect();
    let mut text = String::from(
        "<!-- Generated by `cargo xtask features` from the results of the conformance suite. -->\n\n\
         # What works at which level\n\n\
         Each row is a test of the conformance suite. *yes*: it passed. *no*: it failed.\n\
         *refused*: the level cannot do this and says so before the workload starts.\n\
         *not tried*: the machine that ran the suite lacked something the test needs.\n\
         *–*: not run at this level, because the feature does not depend on it (images, the runtime for\n\
         other engines) or the test looks at what only another level has (`tests/levels/`).\n",
    );
    let heads: String = levels
        .iter()
        .map(|level| format!(" {} |", level.name()))
        .collect();
    for (area, features) in table {
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "\n## {area}\n\n| feature |{heads}\n|---|{}\n",
            "---|".repeat(levels.len())
        );
        for (feature, row) in features {
            let cells: String = levels
                .iter()
                .map(|level| match row.get(level) {
                    Some(cell) => format!(" {cell} |"),
                    None => " – |".to_owned(),
                })
                .collect();
            let _ = writeln!(text, "| {feature} |{cells}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, failed: bool, output: &str) -> Case {
        Case {
            suite: "gamut-tests::main".to_owned(),
            name: name.to_owned(),
            failed,
            output: output.to_owned(),
        }
    }

    #[test]
    fn rows_are_features_and_columns_levels() {
        let mut table = Table::new();
        let container = [
            case("ports::publishes_udp", false, ""),
            case("limits::pids", true, ""),
        ];
        let vm = [
            case("ports::publishes_udp", false, "x\nrefused: no udp\n"),
            case("limits::pids", false, "skipped: no KVM"),
        ];
        assert!(enter(&mut table, Level::Container, &container));
        assert!(enter(&mut table, Level::Vm, &vm));
        let text = render(&table);
        assert!(text.contains("## limits\n\n| feature | container | vm |\n|---|---|---|\n"));
        assert!(text.contains("| pids | no | not tried |"));
        assert!(text.contains("| publishes udp | yes | refused |"));
    }

    #[test]
    fn what_a_level_does_not_run_is_refused_or_not_its_matter() {
        let mut table = Table::new();
        let names = ["limits::cpuset", "limits::pids", "images::tags"];
        enter(
            &mut table,
            Level::Container,
            &names.map(|name| case(name, false, "")),
        );
        enter(
            &mut table,
            Level::Microvm,
            &[case("limits::pids", false, "")],
        );
        let list = "# limits::none refused: x\nlimits::cpuset refused: --cpuset-cpus\nimages::tags no level\n";
        refuse(&mut table, Level::Microvm, list);
        let text = render(&table);
        assert!(text.contains("| cpuset | yes | refused |"));
        assert!(text.contains("| pids | yes | yes |"));
        assert!(text.contains("| tags | yes | – |"));
    }

    #[test]
    fn other_packages_are_left_out() {
        let mut other = case("tar::unpacks", false, "");
        other.suite = "gamut-store".to_owned();
        assert!(!enter(&mut Table::new(), Level::Container, &[other]));
    }

    #[test]
    fn the_worse_verdict_stays_when_a_test_ran_twice() {
        let mut table = Table::new();
        enter(
            &mut table,
            Level::Vm,
            &[case("a::b", true, ""), case("a::b", false, "")],
        );
        assert_eq!(table["a"]["b"][&Level::Vm], Cell::No);
    }
}
