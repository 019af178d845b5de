//! The text of the files that tell a container its name and how names are resolved:
//! `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`. Pure; who writes them is not decided here.

mod hosts;
mod resolv;

pub use hosts::{AddHost, AddHostError, HostTarget, hosts};
pub use resolv::{
    DnsOptions, HostResolver, Origin, ResolvConf, public_servers, resolv_conf,
    resolv_conf_of_names, servers,
};

/// The content of `/etc/hostname` (hostname(5)).
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}
