//! `gamut port`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_expose;
use crate::error::Failure;
use crate::human;
use crate::which;
use gamut_engine::{Engine, View};
use gamut_plan::launch::PortBinding;
use gamut_plan::request::Expose;
use gamut_spec::{Fault, Kind};

/// Print where a container's ports are published
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of all containers that run
    #[arg(short, long, conflicts_with_all = ["latest", "container", "port"])]
    pub all: bool,

    /// Of the one made last
    #[arg(short, long, conflicts_with_all = ["container", "port"])]
    pub latest: bool,

    /// Name or id
    #[arg(required_unless_present_any = ["all", "latest"])]
    pub container: Option<String>,

    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = parse_expose)]
    pub port: Option<Expose>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    if args.all {
        return all(&mut engine);
    }
    let name = match &args.container {
        Some(name) => name.clone(),
        None => which::latest(&mut engine)?,
    };
    let view = engine.container(&name).map_err(Failure::engine)?;
    let ports = sorted(&view);
    let lines: Vec<String> = match args.port {
        None => ports.iter().map(line).collect(),
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

/// As podman does: the short id before each.
fn all(engine: &mut Engine) -> Result<ExitCode, Failure> {
    let mut output = io::stdout().lock();
    for view in engine.containers().map_err(Failure::engine)? {
        for port in sorted(&view) {
            let id = human::short_id(&view.row.id);
            write!(output, "{id}\t{}", line(&port)).map_err(Failure::Output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn sorted(view: &View) -> Vec<PortBinding> {
    let mut ports = view.status.ports.clone();
    ports.sort_by_key(|port| (port.container_port, port.protocol.name(), port.host));
    ports
}

fn line(port: &PortBinding) -> String {
    let protocol = port.protocol.name();
    format!("{}/{protocol} -> {}\n", port.container_port, port.host)
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
