//! `gamut oci checkpoint`, and the flags that `restore` shares with it.

use std::path::PathBuf;

use gamut_container::oci::{After, Checkpoint, Groups, Images};

use super::{Context, Done, OciFailure, SUCCESS};

/// Save the state of a running container, by CRIU
///
/// The container ends with it, and is deleted, unless --leave-running or --pre-dump is given.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    images: ImageArgs,

    /// The directory of an earlier --pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,

    /// Let the container go on
    #[arg(long)]
    leave_running: bool,

    /// Leave out TCP connections that are being made
    #[arg(long)]
    tcp_skip_in_flight: bool,

    /// Give a name to open files that have none any more, if need be
    #[arg(long)]
    link_remap: bool,

    /// Write a zero byte to this descriptor when lazy pages can be asked for
    #[arg(long, value_name = "FD", default_value_t = -1, allow_negative_numbers = true)]
    status_fd: i32,

    /// Send memory to this page server of CRIU's
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,

    /// Save memory only, as a first step, and let the container go on
    #[arg(long)]
    pre_dump: bool,

    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// What `checkpoint` and `restore` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct ImageArgs {
    /// The directory of the saved state; `checkpoint` in the current one if none is given
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,

    /// The directory of CRIU's log; --image-path if none is given
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,

    /// Allow open TCP connections
    #[arg(long)]
    tcp_established: bool,

    /// Allow connections to Unix sockets outside of the container
    #[arg(long)]
    ext_unix_sk: bool,

    /// Allow a session and a terminal that began outside of the container
    #[arg(long)]
    shell_job: bool,

    /// Take file locks along
    #[arg(long)]
    file_locks: bool,

    /// What CRIU does about control groups: soft, full, strict or ignore
    #[arg(long, value_name = "MODE", value_parser = ["soft", "full", "strict", "ignore", ""], hide_possible_values = true)]
    manage_cgroups_mode: Option<String>,

    /// Leave a namespace as new: network, which always is
    #[arg(long, value_name = "KIND", value_parser = ["network"], hide_possible_values = true)]
    empty_ns: Vec<String>,

    /// Take out of earlier images what later ones have again
    #[arg(long)]
    auto_dedup: bool,

    /// Restore memory when it is first used, by `criu lazy-pages`
    #[arg(long)]
    lazy_pages: bool,
}

impl ImageArgs {
    pub(super) fn images(&self) -> Images {
        Images {
            path: self
                .image_path
                .clone()
                .unwrap_or_else(|| PathBuf::from("checkpoint")),
            work: self.work_path.clone(),
            groups: match self.manage_cgroups_mode.as_deref() {
                Some("soft") => Groups::Soft,
                Some("full") => Groups::Full,
                Some("strict") => Groups::Strict,
                Some("ignore") => Groups::Ignore,
                _ => Groups::Default,
            },
            tcp_established: self.tcp_established,
            external_unix_sockets: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
        }
    }
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let wanted = Checkpoint {
        images: args.images.images(),
        parent: args.parent_path.clone(),
        after: match (args.pre_dump, args.leave_running) {
            (true, _) => After::MemoryOnly,
            (false, true) => After::Running,
            (false, false) => After::Gone,
        },
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        page_server: args.page_server.as_deref().map(page_server).transpose()?,
        status_fd: Some(args.status_fd).filter(|fd| *fd >= 0),
    };
    let container = context.runtime.container(&args.id)?;
    context.log.warn(&container.checkpoint(&wanted)?);
    SUCCESS
}

/// As runc takes it: `1.2.3.4:27`, `[::1]:27`.
fn page_server(given: &str) -> Result<(String, u16), OciFailure> {
    let wrong = || OciFailure::Argument(format!("--page-server {given}: it is not ADDRESS:PORT"));
    let (address, port) = given.rsplit_once(':').ok_or_else(wrong)?;
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(address);
    let port = port.parse().map_err(|_| wrong())?;
    if address.is_empty() || (bare.is_none() && address.contains(':')) {
        return Err(wrong());
    }
    Ok((address.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        let good = |given| page_server(given).unwrap();
        assert_eq!(good("1.2.3.4:27"), ("1.2.3.4".to_owned(), 27));
        assert_eq!(good("[::1]:27"), ("::1".to_owned(), 27));
        for bad in ["", ":27", "host", "host:", "host:99999", "::1:27"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }
}
