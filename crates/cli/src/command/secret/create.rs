//! `gamut secret create`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gamut_engine::secrets::{DRIVER, Present, SecretError};

use crate::args::Context;
use crate::convert::{ArgumentError, parse_label};
use crate::error::Failure;

/// Make a secret of a file, of standard input, or of a variable
///
/// Prints its id. What is in it is shown by nothing but `secret inspect --showsecret`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Driver: file
    #[arg(short, long, value_name = "DRIVER", default_value = DRIVER)]
    pub driver: String,

    /// FILE is the name of a variable of the environment
    #[arg(long)]
    pub env: bool,

    /// Label, as KEY=VALUE
    #[arg(short, long = "label", value_name = "LABEL", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// Take the place of one of the same name
    #[arg(long)]
    pub replace: bool,

    /// Its name
    #[arg(value_name = "SECRET")]
    pub name: String,

    /// Where its data are; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    if args.driver != DRIVER {
        return Err(Failure::engine(SecretError::Driver(args.driver)));
    }
    let data = data(&args)?;
    let present = match args.replace {
        true => Present::Replaced,
        false => Present::Refused,
    };
    let engine = context.engine()?;
    let labels = args.labels.into_iter().collect();
    let id = engine.create_secret(&args.name, &data, labels, present);
    println!("{}", id.map_err(Failure::engine)?);
    Ok(ExitCode::SUCCESS)
}

fn data(args: &Args) -> Result<Vec<u8>, Failure> {
    let read = |source| Failure::Read {
        path: args.file.clone(),
        source,
    };
    if args.env {
        use std::os::unix::ffi::OsStringExt;
        let value = std::env::var_os(&args.file);
        let text = args.file.display().to_string();
        return value
            .map(OsStringExt::into_vec)
            .ok_or_else(|| Failure::engine(ArgumentError::NoVariable { name: text }));
    }
    if args.file == Path::new("-") {
        let mut data = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut data)
            .map_err(read)?;
        return Ok(data);
    }
    std::fs::read(&args.file).map_err(read)
}
