//! `gamut network create`.

use std::net::IpAddr;
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{parse_aux_address, parse_label, parse_subnet};
use crate::error::Failure;
use gamut_engine::network::create::{AnySubnet, Families, Naming, NetworkRequest, Reach};

/// Make a network
///
/// Its containers reach each other and, unless it is internal, the outside, but not those of other
/// networks. Prints the network's id.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Taken for Docker's sake: every container may join
    #[arg(long)]
    pub attachable: bool,

    /// Address that no container gets, as NAME=ADDRESS
    #[arg(long = "aux-address", value_name = "ADDRESS", value_parser = parse_aux_address)]
    pub aux_addresses: Vec<(String, IpAddr)>,

    /// Its containers do not find each other by their names
    #[arg(long)]
    pub disable_dns: bool,

    /// Driver: bridge
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    pub driver: String,

    /// Address of the bridge; the first of its subnet otherwise
    #[arg(long = "gateway", value_name = "ADDRESS")]
    pub gateways: Vec<IpAddr>,

    /// Print the name of a network that is there already, instead of failing
    #[arg(long)]
    pub ignore: bool,

    /// Without a way out
    #[arg(long)]
    pub internal: bool,

    /// Name of the bridge interface
    #[arg(long, value_name = "NAME")]
    pub interface_name: Option<String>,

    /// Taken for Docker's sake: it is `default`
    #[arg(long, value_name = "DRIVER", value_parser = ["default"])]
    pub ipam_driver: Option<String>,

    /// Part of the subnet that containers get their addresses from
    #[arg(long = "ip-range", value_name = "SUBNET", value_parser = parse_subnet)]
    pub ranges: Vec<AnySubnet>,

    /// Taken for Docker's sake: every network has IPv4
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = ["true"])]
    pub ipv4: Option<String>,

    /// With IPv6; its subnet is made up unless given
    #[arg(long)]
    pub ipv6: bool,

    /// Label, as KEY=VALUE
    #[arg(long = "label", value_name = "LABEL", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// Option: com.docker.network.bridge.name, com.docker.network.driver.mtu or mtu
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub options: Vec<(String, String)>,

    /// Taken for Docker's sake: it is `local`
    #[arg(long, value_name = "SCOPE", value_parser = ["local"])]
    pub scope: Option<String>,

    /// Subnet, one of each family; a free one otherwise
    #[arg(long = "subnet", value_name = "SUBNET", value_parser = parse_subnet)]
    pub subnets: Vec<AnySubnet>,

    /// Name of the network
    #[arg(value_name = "NETWORK")]
    pub name: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    if args.ignore && engine.network(&args.name).is_ok() {
        println!("{}", args.name);
        return Ok(ExitCode::SUCCESS);
    }
    let named = args.interface_name.map(|name| {
        let key = "com.docker.network.bridge.name".to_owned();
        (key, name)
    });
    let request = NetworkRequest {
        name: args.name,
        driver: args.driver,
        subnets: args.subnets,
        gateways: args.gateways,
        ranges: args.ranges,
        reserved: args.aux_addresses.into_iter().collect(),
        families: match args.ipv6 {
            true => Families::Both,
            false => Families::AsGiven,
        },
        reach: match args.internal {
            true => Reach::Internal,
            false => Reach::Outside,
        },
        names: match args.disable_dns {
            true => Naming::None,
            false => Naming::Names,
        },
        attachable: args.attachable,
        labels: args.labels.into_iter().collect(),
        options: args.options.into_iter().chain(named).collect(),
    };
    let id = engine.create_network(&request).map_err(Failure::engine)?;
    println!("{id}");
    Ok(ExitCode::SUCCESS)
}
