//! The image configuration: OCI image specification 1.1 (config.md), and the fields that only
//! Docker has (`Healthcheck`, `Shell`, `OnBuild`).
//!
//! Go writes an empty list as `null`, so `null` is everywhere the same as absent.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use super::manifest::json;
use super::{ImageError, MAX_CONFIG_BYTES, Manifest, Platform};
use crate::digest::Digest;

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub config: ContainerConfig,
    pub rootfs: RootFs,
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<History>,
}

/// How a container of the image is to be run, unless the user says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user`, `uid`, `user:group`, `uid:gid`; empty is root.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// `80/tcp`, `53/udp`, `8000-8010`.
    #[serde(
        deserialize_with = "keys",
        serialize_with = "as_keys",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Absolute paths in the container.
    #[serde(
        deserialize_with = "keys",
        serialize_with = "as_keys",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub volumes: BTreeSet<String>,
    /// Empty is `/`.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker only: seconds before the stop signal is followed by SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Docker only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker only: what the shell form of a command is given to.
    #[serde(deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Docker only: instructions for a build on top of this image.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
}

/// Docker's health check. Durations are nanoseconds; 0 is "as by default".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `[]` inherits, `["NONE"]` is none, `["CMD", …]` is run, `["CMD-SHELL", "…"]` by the shell.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(rename = "Interval", skip_serializing_if = "is_zero")]
    pub interval_ns: i64,
    #[serde(rename = "Timeout", skip_serializing_if = "is_zero")]
    pub timeout_ns: i64,
    #[serde(rename = "StartPeriod", skip_serializing_if = "is_zero")]
    pub start_period_ns: i64,
    #[serde(rename = "StartInterval", skip_serializing_if = "is_zero")]
    pub start_interval_ns: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// What the layers unpack to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests of the layers' uncompressed tars, base first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step of how the image came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The step left no layer.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Reads a configuration blob.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, ImageError> {
        if bytes.len() as u64 > MAX_CONFIG_BYTES {
            return Err(ImageError::TooLarge {
                document: "image configuration",
                size: bytes.len() as u64,
                limit: MAX_CONFIG_BYTES,
            });
        }
        let config: ImageConfig = json("image configuration", bytes)?;
        if config.rootfs.kind != "layers" {
            return Err(ImageError::RootFsType(config.rootfs.kind));
        }
        Ok(config)
    }

    /// Of an image without files, which says nothing.
    pub fn of_nothing(platform: Platform) -> ImageConfig {
        ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            os_version: platform.os_version,
            created: None,
            author: None,
            config: ContainerConfig::default(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: Vec::new(),
            },
            history: Vec::new(),
        }
    }

    /// What the image was built for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
        }
    }

    /// Whether each layer of `manifest` has its uncompressed digest here.
    pub fn check_layers(&self, manifest: &Manifest) -> Result<(), ImageError> {
        let (layers, diff_ids) = (manifest.layers.len(), self.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(ImageError::LayerCount { layers, diff_ids });
        }
        Ok(())
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// `null` is the default.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A list of words, or one string, which stands for itself (Docker's `strslice.StrSlice`).
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::deserialize(deserializer)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}

/// Go's set: a map to nothing.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let map: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(deserializer)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn as_keys<S: serde::Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Nothing {}
    serializer.collect_map(set.iter().map(|key| (key, Nothing {})))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{
        "architecture": "arm64", "os": "linux", "variant": "v8",
        "created": "2026-01-02T03:04:05Z", "author": "A", "container": "ignored",
        "config": {
            "Hostname": "", "User": "app:app", "AttachStdin": false, "ArgsEscaped": true,
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Env": ["PATH=/bin", "A=b=c"],
            "Entrypoint": ["/entry", "-x"], "Cmd": ["serve"],
            "Volumes": {"/data": {}}, "WorkingDir": "/srv",
            "Labels": {"k": "v"}, "StopSignal": "SIGQUIT", "StopTimeout": 7,
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000, "Retries": 3},
            "Shell": ["/bin/bash", "-c"], "OnBuild": ["RUN true"]
        },
        "rootfs": {"type": "layers", "diff_ids":
            ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
        "history": [{"created_by": "ADD", "empty_layer": true}, {"comment": null}]
    }"#;

    #[test]
    fn reads_everything_and_writes_it_back() {
        let image = ImageConfig::parse(FULL.as_bytes()).unwrap();
        assert_eq!(image.platform().to_string(), "linux/arm64/v8");
        let config = &image.config;
        assert_eq!(config.user, "app:app");
        assert!(config.exposed_ports.contains("53/udp"));
        assert_eq!(config.env[1], "A=b=c");
        assert_eq!(config.entrypoint.as_deref().unwrap(), ["/entry", "-x"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(config.stop_timeout, Some(7));
        let health = config.healthcheck.as_ref().unwrap();
        assert_eq!((health.interval_ns, health.retries), (30_000_000_000, 3));
        assert_eq!(config.shell.as_deref().unwrap(), ["/bin/bash", "-c"]);
        assert_eq!(config.on_build, ["RUN true"]);
        assert!(image.history[0].empty_layer && !image.history[1].empty_layer);
        let again = serde_json::to_vec(&image).unwrap();
        assert_eq!(ImageConfig::parse(&again).unwrap(), image);
    }

    #[test]
    fn null_is_absent() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,
            "Entrypoint":null,"Volumes":null,"ExposedPorts":null,"Labels":null,"OnBuild":null,
            "User":null,"WorkingDir":null,"Healthcheck":null,"Shell":null,"StopSignal":null},
            "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let image = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(image.config, ContainerConfig::default());
        let text = r#"{"architecture":"amd64","os":"linux","config":null,
            "rootfs":{"type":"layers"}}"#;
        assert_eq!(
            ImageConfig::parse(text.as_bytes()).unwrap().config,
            ContainerConfig::default()
        );
    }

    #[test]
    fn a_command_may_be_one_string() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":"sh","Entrypoint":[]},
            "rootfs":{"type":"layers"}}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap().config;
        assert_eq!(config.cmd.unwrap(), ["sh"]);
        assert_eq!(config.entrypoint.unwrap(), Vec::<String>::new());
    }

    #[test]
    fn required_fields_are_required() {
        for text in [
            "{}",
            r#"{"os":"linux","rootfs":{"type":"layers"}}"#,
            r#"{"architecture":"amd64","os":"linux"}"#,
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"tree"}}"#,
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["x"]}}"#,
        ] {
            assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
