//! `gamut network connect`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{parse_alias, parse_mac};
use crate::error::Failure;
use gamut_plan::request::Attachment;

/// Connect a container to a network, be it running or not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Further name of the container on the network
    #[arg(long = "alias", value_name = "NAME", value_parser = parse_alias)]
    pub aliases: Vec<String>,

    /// Its priority as the way out: the highest is, the first of equals
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub gw_priority: i32,

    /// IPv4 address
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub ipv4: Option<Ipv4Addr>,

    /// IPv6 address
    #[arg(long = "ip6", value_name = "ADDRESS")]
    pub ipv6: Option<Ipv6Addr>,

    /// MAC address
    #[arg(long = "mac-address", value_name = "MAC", value_parser = parse_mac)]
    pub mac: Option<[u8; 6]>,

    /// Name or id of the network
    pub network: String,

    /// Name or id of the container
    pub container: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let attachment = Attachment {
        network: args.network,
        aliases: args.aliases,
        mac_address: args.mac,
        ipv4: args.ipv4,
        ipv6: args.ipv6,
        priority: args.gw_priority,
    };
    let mut engine = context.engine()?;
    let connected = engine.join_network(&args.container, &attachment);
    connected.map_err(Failure::engine)?;
    Ok(ExitCode::SUCCESS)
}
