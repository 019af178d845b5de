//! Why a network cannot be made, or cannot go.

use std::net::IpAddr;

use gamut_plan::places::PlaceError;
use gamut_spec::{Fault, Kind};

/// What commands about networks fail with.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    #[error("`--network pasta` is for users without privileges")]
    NoHome,
    #[error("invalid network name `{0}`")]
    Name(String),
    #[error("network with name {0} already exists")]
    Exists(String),
    #[error("operation is not permitted on predefined {0} network")]
    Predefined(String),
    #[error("{0} is a pre-defined network and cannot be removed")]
    Fixed(String),
    #[error("there is no network driver `{0}`")]
    Driver(String),
    #[error("the network option `{0}` is not known")]
    Option(String),
    #[error("the network option `{key}={value}` cannot be meant: {reason}")]
    OptionValue {
        key: String,
        value: String,
        reason: &'static str,
    },
    #[error("the interface `{0}` is there already")]
    Interface(String),
    #[error("several {0} subnets for one network")]
    SeveralSubnets(&'static str),
    #[error("the subnet {subnet} overlaps with {other}")]
    Overlap { subnet: String, other: String },
    #[error("the {what} {value} is in no subnet of the network")]
    Outside { what: &'static str, value: String },
    #[error("{address} cannot be the gateway of {subnet}")]
    Gateway { address: IpAddr, subnet: String },
    #[error("`{named}` is ambiguous: the ids of several networks begin with it")]
    Ambiguous { named: String },
    #[error("a network cannot be had together with `none`, `host` or another container's")]
    Mixed,
    #[error("an egress policy needs a network of the container's own, on a bridge")]
    Egress,
    #[error("`{0}` is no network that is joined or left")]
    NoPlaces(String),
    #[error("container {container} and network {network}: {why}")]
    Place {
        container: String,
        network: String,
        why: PlaceError,
    },
    #[error("network {0} is named twice")]
    Twice(String),
    #[error("network {network} is in use by container {container}")]
    InUse { network: String, container: String },
}

impl Fault for NetworksError {
    fn kind(&self) -> Kind {
        match self {
            Self::Place { .. }
            | Self::Exists(_)
            | Self::Interface(_)
            | Self::Overlap { .. }
            | Self::InUse { .. } => Kind::Conflict,
            Self::Predefined(_) | Self::Fixed(_) => Kind::Denied,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Name(_) => {
                "a name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit"
            }
            Self::Exists(_) => "choose another name, or say `--ignore`",
            Self::Predefined(_) | Self::Fixed(_) => "`bridge`, `host` and `none` are always there",
            Self::Driver(_) => "`bridge` is the one that there is",
            Self::Option(_) => {
                "known are `com.docker.network.bridge.name` and `com.docker.network.driver.mtu` (`mtu`)"
            }
            Self::Interface(_) => "name another, or leave the name to gamut",
            Self::SeveralSubnets(_) => "a network has one of each family",
            Self::Overlap { .. } => "choose another subnet, or leave the choice to gamut",
            Self::Outside { .. } | Self::Gateway { .. } => "give the subnet that it is in as well",
            Self::Ambiguous { .. } => "give more of the id, or the name",
            Self::InUse { .. } => {
                "remove the container first; `network prune` takes what nobody uses"
            }
            Self::NoHome => "leave it out: root has networks on bridges",
            Self::Egress => "name a bridge network, or none",
            Self::Mixed => "name networks only, or one of the others alone",
            Self::NoPlaces(_) => "name a bridge network: `gamut network ls` lists them",
            Self::Place { .. } => {
                "`gamut inspect -f '{{.NetworkSettings.Networks}}'` tells where it is"
            }
            Self::OptionValue { .. } | Self::Twice(_) => return None,
        };
        Some(hint.to_owned())
    }
}
