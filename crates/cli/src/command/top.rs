//! `gamut top`.

use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};

use gamut_engine::EngineError;
use gamut_plan::Level;
use gamut_spec::{Fault, Kind};

use super::exec;
use crate::args::Context;
use crate::error::Failure;
use crate::processes;
use crate::which;

/// List the processes of a container
///
/// By the host's ps(1), with its numbers; of a container with a kernel of its own, by the ps in its image.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of the container made last; then all words are options of ps
    #[arg(short, long)]
    pub latest: bool,

    /// The container, and what ps(1) is given instead of -ef
    #[arg(
        value_name = "CONTAINER [OPTION...]",
        required_unless_present = "latest",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let mut options = args.words.into_iter();
    let name = match (args.latest, options.next()) {
        (false, Some(name)) => name,
        (_, first) => {
            options = first
                .into_iter()
                .chain(options)
                .collect::<Vec<_>>()
                .into_iter();
            which::latest(&mut engine)?
        }
    };
    let options: Vec<String> = options.collect();
    let view = engine.container(&name).map_err(Failure::engine)?;
    if !which::is_live(&view) {
        let name = view.row.name;
        return Err(Failure::engine(EngineError::NotRunning { name }));
    }
    if view.row.level.parse().is_ok_and(Level::has_own_kernel) {
        drop(engine);
        return exec::quietly(&view.row.id, "ps", options, context);
    }
    let pids = engine.processes(&view.row.id).map_err(Failure::engine)?;
    print(&pids, &options)
}

/// What ps(1) says of these processes.
pub(super) fn print(pids: &[i32], options: &[String]) -> Result<ExitCode, Failure> {
    let mut ps = Command::new("ps");
    match options {
        [] => ps.arg("-ef"),
        options => ps.args(options),
    };
    let printed = ps.stderr(Stdio::inherit()).output();
    let printed = printed.map_err(|source| Failure::engine(PsError::Run(source)))?;
    if !printed.status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let text = String::from_utf8_lossy(&printed.stdout);
    let Some(lines) = processes::of(&text, pids) else {
        return Err(Failure::engine(PsError::NoColumn));
    };
    io::stdout()
        .write_all(lines.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum PsError {
    #[error("cannot run ps")]
    Run(#[source] io::Error),
    #[error("what ps prints has no column PID, by which processes are known")]
    NoColumn,
}

impl Fault for PsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Run(_) => Kind::Unavailable,
            Self::NoColumn => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Run(_) => {
                "install it on this host (Debian's package is `procps`), or use `gamut exec CONTAINER ps`"
            }
            Self::NoColumn => "add it, as in `-o pid,comm`",
        };
        Some(hint.to_owned())
    }
}
