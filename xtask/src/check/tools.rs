//! The checks that cargo does: `cargo fmt` and `cargo clippy`. Their own output says where.

use std::process::Command;

use super::Finding;
use crate::error::Error;
use crate::workspace::{Workspace, cargo};

pub(crate) fn format(workspace: &Workspace) -> Result<Vec<Finding>, Error> {
    let mut command = cargo();
    command.args(["fmt", "--all", "--check"]);
    verdict(workspace, &mut command, "run `cargo fmt --all`")
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<Vec<Finding>, Error> {
    let mut command = cargo();
    command.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    verdict(workspace, &mut command, "mend what clippy says above")
}

fn verdict(
    workspace: &Workspace,
    command: &mut Command,
    remedy: &str,
) -> Result<Vec<Finding>, Error> {
    let name = format!("{command:?}");
    let status = command.current_dir(&workspace.root).status();
    let status = status.map_err(|error| Error::Spawn(name.clone(), error))?;
    if status.success() {
        return Ok(Vec::new());
    }
    Ok(vec![Finding {
        path: ".".to_owned(),
        line: None,
        what: format!("{name}: {status}"),
        remedy: remedy.to_owned(),
    }])
}
