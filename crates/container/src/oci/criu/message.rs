//! CRIU's requests and answers, `images/rpc.proto` of CRIU: the fields that are asked for or read here;
//! protobuf allows to leave out the others.

use prost::{Enumeration, Message};

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    Empty = 0,
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// `criu_cg_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(crate) enum GroupsMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    Default = 6,
}

/// `criu_req`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) options: Option<Box<Options>>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) notify_success: Option<bool>,
    #[prost(message, optional, tag = "5")]
    pub(crate) features: Option<Features>,
}

/// `criu_opts`. Descriptors of directories are those of whoever asks; the others are the ones that CRIU
/// was started with.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Options {
    #[prost(int32, required, tag = "1")]
    pub(crate) images_dir_fd: i32,
    #[prost(int32, optional, tag = "2")]
    pub(crate) pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(crate) ext_unix_sk: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) tcp_established: Option<bool>,
    /// Any path to a device will do where the one that was open cannot be reached.
    #[prost(bool, optional, tag = "6")]
    pub(crate) evasive_devices: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub(crate) file_locks: Option<bool>,
    #[prost(int32, optional, tag = "9")]
    pub(crate) log_level: Option<i32>,
    /// Below the work directory.
    #[prost(string, optional, tag = "10")]
    pub(crate) log_file: Option<String>,
    #[prost(message, optional, tag = "11")]
    pub(crate) page_server: Option<PageServer>,
    #[prost(bool, optional, tag = "12")]
    pub(crate) notify_scripts: Option<bool>,
    /// A dump: what the root is called; a restore: a mount point.
    #[prost(string, optional, tag = "13")]
    pub(crate) root: Option<String>,
    /// Relative to the image directory.
    #[prost(string, optional, tag = "14")]
    pub(crate) parent_image: Option<String>,
    #[prost(bool, optional, tag = "15")]
    pub(crate) track_mem: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    pub(crate) auto_dedup: Option<bool>,
    #[prost(int32, optional, tag = "17")]
    pub(crate) work_dir_fd: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub(crate) link_remap: Option<bool>,
    #[prost(message, repeated, tag = "23")]
    pub(crate) external_mounts: Vec<ExternalMount>,
    /// Before [`Self::manage_cgroups_mode`].
    #[prost(bool, optional, tag = "24")]
    pub(crate) manage_cgroups: Option<bool>,
    #[prost(message, repeated, tag = "25")]
    pub(crate) cgroup_roots: Vec<CgroupRoot>,
    /// What is restored becomes a child of whoever asks.
    #[prost(bool, optional, tag = "26")]
    pub(crate) restore_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub(crate) inherit_fd: Vec<InheritFd>,
    #[prost(enumeration = "GroupsMode", optional, tag = "34")]
    pub(crate) manage_cgroups_mode: Option<i32>,
    /// Such as `net[4026531840]:name`.
    #[prost(string, repeated, tag = "37")]
    pub(crate) external: Vec<String>,
    /// Flags of clone(2).
    #[prost(uint32, optional, tag = "38")]
    pub(crate) empty_namespaces: Option<u32>,
    #[prost(message, repeated, tag = "39")]
    pub(crate) join_namespaces: Vec<JoinNamespace>,
    /// The group to freeze instead of stopping the processes one by one.
    #[prost(string, optional, tag = "44")]
    pub(crate) freeze_cgroup: Option<String>,
    #[prost(bool, optional, tag = "46")]
    pub(crate) tcp_skip_in_flight: Option<bool>,
    #[prost(bool, optional, tag = "48")]
    pub(crate) lazy_pages: Option<bool>,
    #[prost(int32, optional, tag = "49")]
    pub(crate) status_fd: Option<i32>,
    /// A terminal's master that nobody of the container has comes with a notification.
    #[prost(bool, optional, tag = "50")]
    pub(crate) orphan_pts_master: Option<bool>,
    /// Overrides what is here; one that is not there is passed over.
    #[prost(string, optional, tag = "51")]
    pub(crate) config_file: Option<String>,
    #[prost(string, optional, tag = "53")]
    pub(crate) lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub(crate) lsm_mount_context: Option<String>,
}

/// `criu_page_server_info`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PageServer {
    #[prost(string, optional, tag = "1")]
    pub(crate) address: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) port: Option<i32>,
}

/// `ext_mount_map`. A dump: from the mount point to a name; a restore: from the name to a source.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExternalMount {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(string, required, tag = "2")]
    pub(crate) value: String,
}

/// `cgroup_root`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CgroupRoot {
    /// Empty on version 2.
    #[prost(string, optional, tag = "1")]
    pub(crate) controllers: Option<String>,
    #[prost(string, required, tag = "2")]
    pub(crate) path: String,
}

/// `inherit_fd`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InheritFd {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(int32, required, tag = "2")]
    pub(crate) fd: i32,
}

/// `join_namespace`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JoinNamespace {
    #[prost(string, required, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, required, tag = "2")]
    pub(crate) path: String,
}

/// `criu_features`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Features {
    #[prost(bool, optional, tag = "1")]
    pub(crate) mem_track: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub(crate) lazy_pages: Option<bool>,
}

/// `criu_resp`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bool, required, tag = "2")]
    pub(crate) success: bool,
    #[prost(message, optional, tag = "5")]
    pub(crate) notify: Option<Notify>,
    #[prost(int32, optional, tag = "7")]
    pub(crate) errno: Option<i32>,
    #[prost(message, optional, tag = "8")]
    pub(crate) features: Option<Features>,
    #[prost(string, optional, tag = "9")]
    pub(crate) message: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub(crate) version: Option<Version>,
}

/// `criu_notify`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Notify {
    #[prost(string, optional, tag = "1")]
    pub(crate) script: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) pid: Option<i32>,
}

/// `criu_version`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Version {
    #[prost(int32, required, tag = "1")]
    pub(crate) major: i32,
    #[prost(int32, required, tag = "2")]
    pub(crate) minor: i32,
    /// Built between two releases.
    #[prost(string, optional, tag = "3")]
    pub(crate) git_id: Option<String>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) sublevel: Option<i32>,
}
