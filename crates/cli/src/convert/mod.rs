//! Command-line text → typed values, a file per kind of value. Nothing here touches the host;
//! what needs it (a host variable, a file, the current directory) is left for `workload`.

mod capability;
mod cpus;
mod detach_keys;
mod device;
mod duration;
mod env;
pub mod error;
mod filter;
mod identity;
mod log;
mod mode;
mod mount;
mod mounted;
mod network;
mod number_set;
mod platform;
mod port;
mod restart;
mod secret;
mod security_option;
mod share;
mod signal;
mod size;
mod storage_driver;
mod storage_option;
mod throttle;
mod time;
mod ulimit;
mod volume;

pub use capability::parse_capability;
pub use cpus::{Cpus, parse_cpus};
pub use detach_keys::{DetachKeys, parse_detach_keys};
pub use device::{parse_device, parse_device_rule};
pub use duration::{format_duration, parse_duration_ns, parse_stop_timeout};
pub use env::{EnvArg, parse_env, parse_env_file, parse_label, parse_label_file, parse_sysctl};
pub use error::ArgumentError;
pub use filter::{Filter, Filters, parse_filter};
pub use identity::{parse_identity, parse_user};
pub use log::{LogDriver, log_config, parse_log_driver, parse_log_option};
pub use mode::{parse_huge_pages, parse_umask};
pub use mount::{parse_mount, parse_tmpfs};
pub use mounted::{MountArg, SourceArg};
pub use network::{
    NetworkArg, parse_alias, parse_aux_address, parse_dns_server, parse_egress, parse_extra_host,
    parse_ipc, parse_mac, parse_network_arg, parse_sharing, parse_subnet, parse_user_namespace,
};
pub use number_set::{NumberSet, parse_cpu_set, parse_node_set};
pub use platform::{parse_isolation, parse_level, parse_platform, parse_runtime};
pub use port::{PublishList, parse_expose, parse_publish};
pub use restart::parse_restart;
pub use secret::parse_secret;
pub use security_option::{SecurityOption, parse_security_option};
pub use share::{Share, parse_share};
pub use signal::{parse_signal, signal_name};
pub use size::{parse_memory, parse_memory_bound, parse_size};
pub use storage_driver::parse_storage_driver;
pub use storage_option::parse_storage_option;
pub use throttle::{parse_byte_rate, parse_device_weight, parse_operation_rate};
pub use time::{
    Moment, Tail, TimeOffset, parse_moment, parse_tail, parse_time_offset, parse_timezone,
};
pub use ulimit::parse_ulimit;
pub use volume::{parse_volume, parse_volumes_from};
