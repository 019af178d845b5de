//! `gamut info`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::format::ObjectFormat;
use crate::{human, table};
use gamut_engine::info::Info;

/// Show the engine's state and what this host offers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ObjectFormat::parse(args.format.as_deref())?;
    let mut engine = context.engine()?;
    let info = engine.info().map_err(Failure::engine)?;
    let mut output = io::stdout().lock();
    match format {
        ObjectFormat::Pretty => output
            .write_all(text(&info).as_bytes())
            .map_err(Failure::Output)?,
        format => format.write(&info, &mut output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Docker's lines, and ours among them.
fn text(info: &Info) -> String {
    let levels: Vec<String> = info
        .levels
        .iter()
        .map(|level| match level.ready {
            true => level.name.to_owned(),
            false => format!("{} (not here)", level.name),
        })
        .collect();
    let driver = info
        .driver_status
        .iter()
        .map(|(name, value)| (format!(" {name}"), value.clone()));
    let before = [
        ("Containers", info.containers.to_string()),
        (" Running", info.containers_running.to_string()),
        (" Paused", info.containers_paused.to_string()),
        (" Stopped", info.containers_stopped.to_string()),
        ("Images", info.images.to_string()),
        ("Server Version", info.server_version.to_owned()),
        ("Storage Driver", info.driver.to_owned()),
    ];
    let after = [
        ("Logging Driver", info.logging_driver.to_owned()),
        ("Cgroup Driver", info.cgroup_driver.to_owned()),
        (
            "Cgroup Version",
            format!("{} ({})", info.cgroup_version, info.cgroup_mode),
        ),
        ("Cgroup Parent", info.cgroup_parent.clone()),
        ("Default Bridge", info.bridge.clone()),
        ("Isolation Levels", levels.join(", ")),
        ("Default Isolation", info.default_runtime.to_owned()),
        ("Security Options", info.security_options.join(" ")),
        ("Kernel Version", info.kernel_version.clone()),
        ("Operating System", info.operating_system.clone()),
        ("OSType", info.os_type.to_owned()),
        ("Architecture", info.architecture.clone()),
        ("CPUs", info.cpus.to_string()),
        ("Total Memory", human::binary_size(info.mem_total)),
        ("Name", info.name.clone()),
        ("Root Dir", info.docker_root_dir.clone()),
        ("Run Root", info.run_root.clone()),
    ];
    let named = |(name, value): (&str, String)| (name.to_owned(), value);
    let before = before.into_iter().map(named);
    let after = after.into_iter().map(named);
    before
        .chain(driver)
        .chain(after)
        .map(|(name, value)| format!("{name}: {}\n", table::visible(&value)))
        .collect()
}
