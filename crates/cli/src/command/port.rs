//! `gamut port`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_expose;
use crate::error::Failure;
use gamut_plan::request::Expose;
use gamut_spec::{Fault, Kind};

/// Print where a container's ports are published
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    pub container: String,

    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = parse_expose)]
    pub port: Option<Expose>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let view = engine.container(&args.container).map_err(Failure::engine)?;
    let mut ports = view.status.ports.clone();
    ports.sort_by_key(|port| (port.container_port, port.protocol.name(), port.host));
    let lines: Vec<String> = match args.port {
        None => ports
            .iter()
            .map(|port| {
                let protocol = port.protocol.name();
                format!("{}/{protocol} -> {}\n", port.container_port, port.host)
            })
            .collect(),
        Some(wanted) => ports
            .iter()
            .filter(|port| {
                (wanted.ports.first..=wanted.ports.last).contains(&port.container_port)
                    && port.protocol.name() == wanted.protocol.name()
            })
            .map(|port| format!("{}\n", port.host))
            .collect(),
    };
    if let (true, Some(wanted)) = (lines.is_empty(), args.port) {
        return Err(Failure::engine(NotPublished {
            port: wanted.ports.first,
            protocol: wanted.protocol.name(),
            name: view.row.name,
        }));
    }
    io::stdout()
        .write_all(lines.concat().as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// The port that was asked for leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("port {port}/{protocol} of the container {name} is not published")]
struct NotPublished {
    port: u16,
    protocol: &'static str,
    name: String,
}

impl Fault for NotPublished {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn hint(&self) -> Option<String> {
        Some("ports are published by `-p` when a container is made, and only while it runs".into())
    }
}
