//! `-v` and `-info`: who the shim is, and what its runtime can do.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use prost::Message;

use crate::error::ShimError;
use crate::message::Any;
use crate::message::bootstrap::{RuntimeInfo, RuntimeVersion};
use crate::message::options::Options;
use crate::runtime;

/// `typeurl`'s name for a document of the OCI runtime specification (`pkg/oci` of containerd).
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
const MAX_INPUT_BYTES: u64 = 10 << 20;

/// Prints the version, for people.
///
/// # Errors
/// Standard output is gone.
pub fn version() -> Result<(), ShimError> {
    let text = format!(
        "{}:\n  Version:  {}\n",
        crate::PROGRAM_NAME,
        env!("CARGO_PKG_VERSION")
    );
    print(text.as_bytes())
}

/// Reads options as an `Any`, and answers with a `RuntimeInfo`.
///
/// # Errors
/// What is read is not an `Any`.
pub fn info() -> Result<(), ShimError> {
    let given = Any::decode(&*read_input()?)?;
    let options = (!given.type_url.is_empty()).then_some(given);
    let program = runtime::program(&Options::unpack(options.as_ref())?);
    // A runtime that does not know the word has features that nobody knows.
    let features = Command::new(&program)
        .arg("features")
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| Any {
            type_url: FEATURES.to_owned(),
            value: output.stdout,
        });
    let info = RuntimeInfo {
        name: "io.containerd.gamut.v2".to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
        }),
        options,
        features,
    };
    print(&info.encode_to_vec())
}

/// All of standard input.
///
/// # Errors
/// Those of read(2).
pub fn read_input() -> Result<Vec<u8>, ShimError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(MAX_INPUT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| ShimError::file("standard input", source))?;
    Ok(bytes)
}

/// Writes an answer to standard output.
///
/// # Errors
/// Those of write(2).
pub fn print(bytes: &[u8]) -> Result<(), ShimError> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|source| ShimError::file("standard output", source))
}
