//! `gamut cp`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::{human, table, terminal};
use gamut_engine::cp::{Copied, CopyOwner, Follow};

/// Copy files between a container and the host
///
/// A source that ends in `/.` is the content of a directory. With `-` for the host's side, a tar
/// is read from standard input, or written to standard output.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// In a container, files belong to the user that it runs as
    #[arg(short, long)]
    pub archive: bool,

    /// Copy what a link leads to that is named as the source
    #[arg(short = 'L', long)]
    pub follow_link: bool,

    /// Do not say how much was copied
    #[arg(short, long)]
    pub quiet: bool,

    /// CONTAINER:PATH, or a path of the host, or `-`
    #[arg(value_name = "SOURCE")]
    pub source: String,

    /// A path of the host, `-`, or CONTAINER:PATH
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// One of the two sides.
enum Side<'a> {
    Stream,
    Host(&'a Path),
    Container(&'a str, &'a Path),
}

impl<'a> Side<'a> {
    /// Docker's rule: what begins with `/` or `.` is a path, and a colon parts the container's name
    /// from the path in it.
    fn read(text: &'a str) -> Self {
        if text == "-" {
            return Side::Stream;
        }
        match text.split_once(':') {
            Some((name, path))
                if !name.is_empty() && !text.starts_with(['/', '.']) && !name.contains('/') =>
            {
                Side::Container(name, Path::new(path))
            }
            _ => Side::Host(Path::new(text)),
        }
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let follow = match args.follow_link {
        true => Follow::Yes,
        false => Follow::No,
    };
    let owner = match args.archive {
        true => CopyOwner::OfContainer,
        false => CopyOwner::Same,
    };
    let mut engine = context.engine()?;
    let copied = match (Side::read(&args.source), Side::read(&args.target)) {
        (Side::Container(name, path), Side::Host(to)) => engine.copy_out(name, path, to, follow),
        (Side::Container(name, path), Side::Stream) => {
            if terminal::is_terminal(io::stdout()) {
                return Err(Failure::ToTerminal);
            }
            let out = io::BufWriter::with_capacity(256 << 10, io::stdout());
            let written = engine.copy_out_archive(name, path, follow, out);
            written.map_err(Failure::engine)?;
            return Ok(ExitCode::SUCCESS);
        }
        (Side::Host(from), Side::Container(name, path)) => {
            engine.copy_in(from, name, path, follow, owner)
        }
        (Side::Stream, Side::Container(name, path)) => {
            if terminal::is_terminal(io::stdin()) {
                return Err(Failure::FromTerminal);
            }
            engine.copy_in_archive(io::stdin(), name, path, owner)
        }
        (Side::Container(..), Side::Container(..)) => {
            return Err(Failure::Sides(
                "files are not copied between two containers",
            ));
        }
        _ => {
            return Err(Failure::Sides(
                "one of source and target must be CONTAINER:PATH",
            ));
        }
    };
    let copied = copied.map_err(Failure::engine)?;
    if !args.quiet {
        say(&copied, &args.target);
    }
    Ok(ExitCode::SUCCESS)
}

fn say(copied: &Copied, target: &str) {
    let mut text = String::new();
    for warning in &copied.warnings {
        let line = format!("warning: {}: {}", warning.entry, warning.what);
        text.push_str(&table::visible(&line));
        text.push('\n');
    }
    let size = human::decimal_size(copied.bytes);
    let target = PathBuf::from(target);
    text.push_str(&format!(
        "Successfully copied {size} to {}\n",
        target.display()
    ));
    // With standard error gone there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}
