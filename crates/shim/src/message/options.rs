//! What a user says of the runtime: `api/types/runc/options/oci.proto` of containerd (`ctr`, Docker), and
//! `api/types/runtimeoptions/v1/api.proto`, which CRI sends for a runtime that it does not know: TOML, as it
//! stands in containerd's configuration, or the path of such a file.

use prost::Message;

use super::Any;
use crate::error::ShimError;

/// `containerd.runc.v1.Options`, without what only checkpoints need.
#[derive(Clone, PartialEq, Eq, Hash, Message, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Options {
    #[prost(bool, tag = "1")]
    pub no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    pub no_new_keyring: bool,
    /// Where the shim itself is put.
    #[prost(string, tag = "3")]
    pub shim_cgroup: String,
    /// Who owns the container's pipes.
    #[prost(uint32, tag = "4")]
    pub io_uid: u32,
    #[prost(uint32, tag = "5")]
    pub io_gid: u32,
    /// The OCI runtime; empty: ours.
    #[prost(string, tag = "6")]
    pub binary_name: String,
    /// The runtime's state directory.
    #[prost(string, tag = "7")]
    pub root: String,
    #[prost(bool, tag = "9")]
    pub systemd_cgroup: bool,
}

/// `containerd.runc.v1.CheckpointOptions`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct CheckpointOptions {
    /// Whether it ends the container.
    #[prost(bool, tag = "1")]
    pub exit: bool,
    #[prost(bool, tag = "2")]
    pub open_tcp: bool,
    #[prost(bool, tag = "3")]
    pub external_unix_sockets: bool,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    #[prost(bool, tag = "5")]
    pub file_locks: bool,
    #[prost(string, repeated, tag = "6")]
    pub empty_namespaces: Vec<String>,
    #[prost(string, tag = "7")]
    pub cgroups_mode: String,
    /// Where CRIU's logs go; empty: into the bundle.
    #[prost(string, tag = "9")]
    pub work_path: String,
}

impl CheckpointOptions {
    /// Reads the options of a request; without any, or with ones of a kind that is not ours, the container goes on.
    ///
    /// # Errors
    /// Bytes that are not what they are called.
    pub fn unpack(any: Option<&Any>) -> Result<CheckpointOptions, ShimError> {
        match any {
            Some(any) if any.name() == "containerd.runc.v1.CheckpointOptions" => {
                Ok(CheckpointOptions::decode(&*any.value)?)
            }
            _ => Ok(CheckpointOptions::default()),
        }
    }

    /// Flags of the runtime's `checkpoint`.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let flags = [
            (!self.exit, "--leave-running"),
            (self.open_tcp, "--tcp-established"),
            (self.external_unix_sockets, "--ext-unix-sk"),
            (self.terminal, "--shell-job"),
            (self.file_locks, "--file-locks"),
        ];
        let asked = flags.into_iter().filter(|(asked, _)| *asked);
        let mut flags: Vec<String> = asked.map(|(_, flag)| flag.to_owned()).collect();
        let empty = self.empty_namespaces.iter();
        flags.extend(empty.map(|kind| format!("--empty-ns={kind}")));
        if !self.cgroups_mode.is_empty() {
            flags.push(format!("--manage-cgroups-mode={}", self.cgroups_mode));
        }
        flags
    }
}

/// `runtimeoptions.v1.Options`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct RuntimeOptions {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    config_path: String,
    #[prost(bytes = "vec", tag = "3")]
    config_body: Vec<u8>,
}

/// `containerd.runc.v1.ProcessDetails`: the exec behind a process id.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct ProcessDetails {
    #[prost(string, tag = "1")]
    pub exec_id: String,
}

/// The name of an [`Options`] in an [`Any`].
pub const NAME: &str = "containerd.runc.v1.Options";

impl Options {
    /// Reads the options of a request; none, or ones of a kind that is not ours, are the defaults.
    ///
    /// # Errors
    /// Bytes that are not what they are called; a named file that cannot be read.
    pub fn unpack(any: Option<&Any>) -> Result<Options, ShimError> {
        let Some(any) = any else {
            return Ok(Options::default());
        };
        match any.name() {
            NAME => Ok(Options::decode(&*any.value)?),
            "runtimeoptions.v1.Options" => {
                let general = RuntimeOptions::decode(&*any.value)?;
                if general.config_path.is_empty() {
                    let text = String::from_utf8_lossy(&general.config_body);
                    return Ok(Options::from_toml(&text));
                }
                let text = std::fs::read_to_string(&general.config_path)
                    .map_err(|source| ShimError::file(&general.config_path, source))?;
                Ok(Options::from_toml(&text))
            }
            _ => Ok(Options::default()),
        }
    }

    /// The flat keys that containerd's documentation gives for runc, in either spelling. Whatever else TOML
    /// can say is not ours to judge: the file may be another program's as well.
    fn from_toml(text: &str) -> Options {
        let mut options = Options::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim();
            let text = value
                .get(1..)
                .and_then(|rest| rest.split(['"', '\'']).next())
                .filter(|_| value.starts_with(['"', '\'']))
                .unwrap_or_default();
            let word = value.split([' ', '\t', '#']).next().unwrap_or_default();
            match key.trim().trim_matches('"') {
                "BinaryName" | "binary_name" => options.binary_name = text.to_owned(),
                "Root" | "root" => options.root = text.to_owned(),
                "ShimCgroup" | "shim_cgroup" => options.shim_cgroup = text.to_owned(),
                "SystemdCgroup" | "systemd_cgroup" => options.systemd_cgroup = word == "true",
                "NoPivotRoot" | "no_pivot_root" => options.no_pivot_root = word == "true",
                "NoNewKeyring" | "no_new_keyring" => options.no_new_keyring = word == "true",
                "IoUid" | "io_uid" => options.io_uid = word.parse().unwrap_or(0),
                "IoGid" | "io_gid" => options.io_gid = word.parse().unwrap_or(0),
                _ => {}
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runcs_options_are_read() {
        let given = Options {
            binary_name: "crun".to_owned(),
            systemd_cgroup: true,
            ..Options::default()
        };
        let any = Any::pack(NAME, &given);
        assert_eq!(Options::unpack(Some(&any)).unwrap(), given);
    }

    #[test]
    fn the_toml_of_an_unknown_runtime_is_read() {
        let general = RuntimeOptions {
            config_body:
                b"BinaryName = \"/usr/bin/crun\" # ours\nSystemdCgroup = true\nother = 1\n".to_vec(),
            ..RuntimeOptions::default()
        };
        let any = Any::pack("runtimeoptions.v1.Options", &general);
        let read = Options::unpack(Some(&any)).unwrap();
        assert_eq!(read.binary_name, "/usr/bin/crun");
        assert!(read.systemd_cgroup);
    }

    #[test]
    fn another_kind_of_options_is_not_ours() {
        let any = Any {
            type_url: "kata.Options".to_owned(),
            value: vec![0xff],
        };
        assert_eq!(Options::unpack(Some(&any)).unwrap(), Options::default());
    }
}
