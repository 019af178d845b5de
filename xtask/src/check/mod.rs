//! The checks: one file each, each a pure function from the repository's text to [`Finding`]s
//! (but `format`, `clippy` and `documents`, which run programs).

mod documents;
mod floors;
mod headers;
mod length;
mod lints;
mod names;
mod reach;
mod tools;
mod unsafety;

use std::fmt;
use std::process::ExitCode;

use crate::error::Error;
use crate::ratchet::{Raise, Ratchet};
use crate::workspace::Workspace;

/// One broken rule: where, what, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the root of the repository.
    pub(crate) path: String,
    /// Counted from 1; `None` when the whole file or folder is meant.
    pub(crate) line: Option<usize>,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(to, ":{line}")?;
        }
        write!(to, ": {}\n    do: {}", self.what, self.remedy)
    }
}

struct Check {
    name: &'static str,
    /// What holds when it passes.
    promise: &'static str,
    run: fn(&Workspace) -> Result<Vec<Finding>, Error>,
}

/// The quick ones first: a wrong name is reported before clippy has built anything.
const CHECKS: [Check; 10] = [
    Check {
        name: "names",
        promise: "no file is called common, utils, helpers, manager, inner or misc",
        run: |workspace| Ok(names::check(&workspace.sources)),
    },
    Check {
        name: "headers",
        promise: "each source file says with `//!` what it is for",
        run: |workspace| Ok(headers::check(&workspace.sources)),
    },
    Check {
        name: "floors",
        promise: "a room uses only the rooms below it that the design grants it",
        run: |workspace| Ok(floors::check(&workspace.packages)),
    },
    Check {
        name: "lints",
        promise: "every package takes the workspace's lints; rooms without unsafe forbid it",
        run: lints::run,
    },
    Check {
        name: "unsafe",
        promise: "`unsafe` stands only where the design allows it, and grows nowhere",
        run: |workspace| {
            let ratchet = Ratchet::load(&workspace.root)?;
            Ok(unsafety::check(&workspace.sources, &ratchet))
        },
    },
    Check {
        name: "length",
        promise: "no file is longer than 500 lines without a reason",
        run: |workspace| {
            let ratchet = Ratchet::load(&workspace.root)?;
            Ok(length::check(&workspace.sources, &ratchet))
        },
    },
    Check {
        name: "reach",
        promise: "every source file is compiled; a package has one integration binary",
        run: |workspace| Ok(reach::run(workspace)),
    },
    Check {
        name: "format",
        promise: "`cargo fmt` has nothing to change",
        run: tools::format,
    },
    Check {
        name: "clippy",
        promise: "no warning in any target",
        run: tools::clippy,
    },
    Check {
        name: "documents",
        promise: "docs/cli says what the binary's help says",
        run: documents::run,
    },
];

/// Runs the named checks, or all; prints a line for each and then what it found.
pub(crate) fn run(workspace: &Workspace, names: &[String]) -> Result<ExitCode, Error> {
    if let Some(name) = names
        .iter()
        .find(|name| !CHECKS.iter().any(|check| check.name == **name))
    {
        let known: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        return Err(Error::NoSuchCheck(name.clone(), known.join(", ")));
    }
    let mut broken = 0;
    for check in &CHECKS {
        if !names.is_empty() && !names.iter().any(|name| name == check.name) {
            continue;
        }
        let findings = (check.run)(workspace)?;
        let verdict = if findings.is_empty() {
            "ok    "
        } else {
            "BROKEN"
        };
        println!("{verdict} {:<10} {}", check.name, check.promise);
        for finding in &findings {
            println!("  {finding}");
        }
        broken += findings.len();
    }
    if broken == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{broken} broken: see CONTRIBUTING.md for the rules and their reasons");
    Ok(ExitCode::FAILURE)
}

/// Writes the ratchets anew: lower where there is less now, higher only where `raise` says so.
pub(crate) fn bless(workspace: &Workspace, raise: &Raise) -> Result<ExitCode, Error> {
    let mut ratchet = Ratchet::load(&workspace.root)?;
    let mut refused = ratchet
        .unsafe_uses
        .turn(&unsafety::count(&workspace.sources), raise);
    refused.extend(
        ratchet
            .long_files
            .turn(&length::long(&workspace.sources), raise),
    );
    let unknown = |what: &&String| {
        !ratchet.unsafe_uses.0.contains_key(*what) && !ratchet.long_files.0.contains_key(*what)
    };
    for what in raise.what.iter().filter(unknown) {
        println!("nothing to raise for `{what}`: no room or long file of that name needs it");
    }
    ratchet.save(&workspace.root)?;
    println!("wrote xtask/ratchet.json");
    for (what, was, now) in &refused {
        println!("not raised: {what} from {was} to {now}");
        println!("    do: lower it, or `--raise {what} --reason TEXT`");
    }
    Ok(if refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        let mut finding = Finding {
            path: "a/b.rs".to_owned(),
            line: Some(3),
            what: "is wrong".to_owned(),
            remedy: "mend it".to_owned(),
        };
        assert_eq!(finding.to_string(), "a/b.rs:3: is wrong\n    do: mend it");
        finding.line = None;
        assert_eq!(finding.to_string(), "a/b.rs: is wrong\n    do: mend it");
    }

    #[test]
    fn every_check_has_a_name_of_its_own() {
        for (at, check) in CHECKS.iter().enumerate() {
            assert!(CHECKS[..at].iter().all(|other| other.name != check.name));
        }
    }
}
