//! `gamut volume create`.

use std::process::ExitCode;

use gamut_engine::volumes::{DRIVER, NewVolume, VolumeError};

use crate::args::Context;
use crate::convert::parse_label;
use crate::error::Failure;

/// Make a volume
///
/// Prints its name. One that is there already is as good, if it was made with the same options.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Driver: local
    #[arg(short, long, value_name = "DRIVER", default_value = DRIVER)]
    pub driver: String,

    /// That there is one already is no failure, whatever its options
    #[arg(long)]
    pub ignore: bool,

    /// Label, as KEY=VALUE
    #[arg(long = "label", value_name = "LABEL", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// What is mounted over it: type=TYPE, device=DEVICE, o=OPTIONS, as mount(8) has them
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub options: Vec<(String, String)>,

    /// Name of the volume; made up otherwise
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    if args.driver != DRIVER {
        return Err(Failure::engine(VolumeError::Driver(args.driver)));
    }
    let engine = context.engine()?;
    if let Some(name) = args
        .name
        .as_ref()
        .filter(|name| args.ignore && engine.volume(name).is_ok())
    {
        println!("{name}");
        return Ok(ExitCode::SUCCESS);
    }
    let volume = NewVolume {
        name: args.name,
        labels: args.labels.into_iter().collect(),
        options: args.options.into_iter().collect(),
    };
    println!("{}", engine.create_volume(volume).map_err(Failure::engine)?);
    Ok(ExitCode::SUCCESS)
}
