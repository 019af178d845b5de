//! `gamut oci state`.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use gamut_container::oci::{Known, Status};
use serde::Serialize;

use super::{Context, Done, OciFailure, SUCCESS};

/// Print the state of a container as JSON
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// Runtime specification, "State", with what runc adds.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(rename = "ociVersion")]
    oci_version: String,
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: String,
    rootfs: String,
    pub(super) created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<std::collections::HashMap<String, String>>,
    pub(super) owner: String,
}

pub(super) fn shown(container: &Known) -> Shown {
    let record = &container.record;
    let status = container.status();
    let state = record.state(status);
    let created = jiff::Timestamp::from_nanosecond(i128::from(record.created_ns));
    Shown {
        oci_version: state.oci_version.to_owned(),
        id: record.id.clone(),
        pid: state.pid,
        status,
        bundle: record.bundle.display().to_string(),
        rootfs: record.rootfs().display().to_string(),
        created: created.map(|t| t.to_string()).unwrap_or_default(),
        annotations: state.annotations.cloned(),
        owner: String::new(),
    }
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let container = context.runtime.container(&args.id)?;
    print(&shown(&container))?;
    SUCCESS
}

/// Where the states are unless somebody says otherwise; runc's rule.
pub(super) fn root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match own {
        Some(dir) if !is_root() => {
            let root = PathBuf::from(dir).join("gamut-oci");
            // What lies there for long without being touched is removed, but for what has the sticky
            // bit (XDG Base Directory Specification). What fails here, its use will say.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(&root);
            let _ = std::fs::set_permissions(&root, Permissions::from_mode(0o1700));
            root
        }
        _ => PathBuf::from("/run/gamut-oci"),
    }
}

/// Whether this is the host's root, whose containers are the host's and not of a session. Root of a
/// user namespace is if it calls itself so.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
        && (!gamut_container::oci::in_another_user_namespace()
            || std::env::var_os("USER").is_some_and(|user| user == "root"))
}

/// Indented JSON on standard output.
pub(super) fn print(value: &impl Serialize) -> Result<(), OciFailure> {
    use std::io::Write;
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
