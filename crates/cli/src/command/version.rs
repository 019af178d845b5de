//! `gamut version`.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Context;
use crate::error::Failure;
use crate::format::ObjectFormat;

/// Show versions
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Docker's shape: there is no daemon, so both sides are this program, and scripts that ask for
/// `.Server.Version` get their answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    client: Side,
    server: Side,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Side {
    version: &'static str,
    os: &'static str,
    /// OCI's name of the architecture.
    arch: &'static str,
    kernel_version: String,
}

impl Side {
    fn this() -> Self {
        let kernel = rustix::system::uname();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            os: "linux",
            arch: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
            kernel_version: kernel.release().to_string_lossy().into_owned(),
        }
    }
}

/// Carries it out.
pub fn run(args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    let side = Side::this();
    let mut output = io::stdout().lock();
    match args.format.as_deref().filter(|format| !format.is_empty()) {
        Some(format) => {
            let versions = Versions {
                client: side.clone(),
                server: side,
            };
            ObjectFormat::parse(Some(format))?.write(&versions, &mut output)?;
        }
        None => {
            let text = format!(
                "gamut:\n Version:   {}\n OS/Arch:   {}/{}\n Kernel:    {}\n",
                side.version, side.os, side.arch, side.kernel_version
            );
            output.write_all(text.as_bytes()).map_err(Failure::Output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
