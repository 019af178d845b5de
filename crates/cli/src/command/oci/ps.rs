//! `gamut oci ps`.

use std::io::Write;
use std::process::{Command, Stdio};

use gamut_container::oci::OciError;

use super::{Context, Done, OciFailure, SUCCESS};
use crate::processes;

/// List the processes of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Form of the list: table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,

    /// The container, and what ps(1) is given instead of -ef
    #[arg(value_name = "CONTAINER [ARG...]", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    container_and_options: Vec<String>,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let [id, options @ ..] = args.container_and_options.as_slice() else {
        return Err(OciFailure::Usage("no container is given"));
    };
    let container = context.runtime.container(id)?;
    let pids = container.cgroup()?.processes().map_err(OciError::Cgroup)?;
    let mut out = std::io::stdout().lock();
    if args.format == "json" {
        let text = serde_json::to_string(&pids).map_err(std::io::Error::from)?;
        writeln!(out, "{text}")?;
        return SUCCESS;
    }
    // Its columns are ps(1)'s own, whatever they are on this host.
    let mut ps = Command::new("ps");
    if options.is_empty() {
        ps.arg("-ef");
    } else {
        ps.args(options);
    }
    let printed = ps.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&printed.stdout);
    match processes::of(&text, &pids) {
        Some(lines) => out.write_all(lines.as_bytes())?,
        None => return Err(OciFailure::Usage("ps shows no column PID")),
    }
    SUCCESS
}
