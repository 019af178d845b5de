//! `gamut volume inspect`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Context;
use crate::error::Failure;
use crate::format::ObjectFormat;
use crate::view::local_rfc3339;
use gamut_engine::volumes::{DRIVER, Volume};

/// Print everything about volumes, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All volumes
    #[arg(short, long, conflicts_with = "volumes")]
    pub all: bool,

    /// A Go template for each of them, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Their names
    #[arg(value_name = "VOLUME", required_unless_present = "all")]
    pub volumes: Vec<String>,
}

/// Docker's form.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Object {
    created_at: String,
    driver: &'static str,
    labels: Option<BTreeMap<String, String>>,
    mountpoint: String,
    name: String,
    options: Option<BTreeMap<String, String>>,
    scope: &'static str,
}

impl From<Volume> for Object {
    fn from(volume: Volume) -> Self {
        let some = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
        Self {
            created_at: local_rfc3339(volume.created_ns),
            driver: DRIVER,
            labels: some(volume.labels),
            mountpoint: volume.mountpoint.display().to_string(),
            name: volume.name,
            options: some(volume.options),
            scope: "local",
        }
    }
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ObjectFormat::parse(args.format.as_deref())?;
    let engine = context.engine()?;
    let mut objects: Vec<Object> = Vec::new();
    let mut status = ExitCode::SUCCESS;
    if args.all {
        let all = engine.volumes().map_err(Failure::engine)?;
        objects.extend(all.into_iter().map(Object::from));
    }
    for name in &args.volumes {
        match engine.volume(name) {
            Ok(volume) => objects.push(volume.into()),
            Err(error) => {
                Failure::engine(error).say();
                status = ExitCode::FAILURE;
            }
        }
    }
    format.write_list(&objects, &mut io::stdout().lock())?;
    Ok(status)
}
