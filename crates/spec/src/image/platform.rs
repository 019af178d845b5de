//! Platforms: what an image was built for, written `linux/arm64/v8`.
//!
//! Names and defaults follow github.com/containerd/platforms: `x86_64` is `amd64`, `arm64` is
//! `arm64/v8`, `arm` is `arm/v7`, and a processor runs what was built for an older variant of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};

/// Operating system, processor architecture and its variant, in Go's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform")]
pub struct PlatformError(String);

impl Fault for PlatformError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write it as OS/ARCHITECTURE[/VARIANT], for example `linux/arm64`".into())
    }
}

const ARCHITECTURES: [&str; 11] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm",
    "ppc64",
];

impl Platform {
    /// The platform this program was compiled for.
    pub fn host() -> Platform {
        let (architecture, variant) = normal(std::env::consts::ARCH, None);
        Platform {
            os: std::env::consts::OS.to_owned(),
            architecture,
            variant,
            os_version: None,
        }
    }

    /// How well an image of `offered` suits this platform: 0 is exact, larger is older, `None` is
    /// not at all.
    pub fn rank(&self, offered: &Platform) -> Option<u32> {
        let (wanted_architecture, wanted) = self.normalised();
        let (architecture, variant) = offered.normalised();
        if !self.os.eq_ignore_ascii_case(&offered.os) || wanted_architecture != architecture {
            return None;
        }
        match (
            generation(&architecture, &wanted),
            generation(&architecture, &variant),
        ) {
            (Some(wanted), Some(offered)) => wanted.checked_sub(offered),
            _ => (wanted == variant).then_some(0),
        }
    }

    /// Whether an image of `offered` runs here.
    pub fn accepts(&self, offered: &Platform) -> bool {
        self.rank(offered).is_some()
    }

    /// Architecture and variant in their canonical names.
    fn normalised(&self) -> (String, Option<String>) {
        normal(&self.architecture, self.variant.as_deref())
    }

    /// `unknown/unknown`, the place holder that build attestations stand under.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

/// The number of a variant that builds on its predecessors; the absent one is the default.
fn generation(architecture: &str, variant: &Option<String>) -> Option<u32> {
    let default = match architecture {
        "amd64" => "v1",
        "arm" => "v7",
        "arm64" => "v8",
        _ => return None,
    };
    let variant = variant.as_deref().unwrap_or(default);
    let number = variant.strip_prefix('v')?;
    // `v9.1` of arm64 counts as v9.
    number.split('.').next()?.parse().ok()
}

/// `normalizeArch` of containerd/platforms, with the kernel's and Rust's names added.
fn normal(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant
        .filter(|variant| !variant.is_empty())
        .map(str::to_ascii_lowercase);
    let (name, variant) = match architecture.as_str() {
        "i386" | "i486" | "i586" | "i686" | "x86" => ("386", None),
        "x86_64" | "x86-64" | "amd64" => ("amd64", variant.filter(|v| v != "v1")),
        "aarch64" | "arm64" => (
            "arm64",
            match variant.as_deref() {
                None | Some("8" | "v8") => Some("v8".to_owned()),
                Some("9") => Some("v9".to_owned()),
                Some(other) => Some(other.to_owned()),
            },
        ),
        "armhf" => ("arm", Some("v7".to_owned())),
        "armel" => ("arm", Some("v6".to_owned())),
        "arm" => (
            "arm",
            match variant.as_deref() {
                None | Some("7") => Some("v7".to_owned()),
                Some(digit @ ("5" | "6" | "8")) => Some(format!("v{digit}")),
                Some(other) => Some(other.to_owned()),
            },
        ),
        // Rust calls both byte orders of POWER `powerpc64`.
        "powerpc64" if cfg!(target_endian = "big") => ("ppc64", variant),
        "powerpc64" => ("ppc64le", variant),
        "loongarch64" => ("loong64", variant),
        other => return (other.to_owned(), variant),
    };
    (name.to_owned(), variant)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// `OS/ARCH[/VARIANT]`; one word alone is an architecture, or an operating system on this
    /// host's architecture.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let fits = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| fits(part)) {
            return Err(PlatformError(text.to_owned()));
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [word] => {
                let (name, variant) = normal(word, None);
                if ARCHITECTURES.contains(&name.as_str()) {
                    (std::env::consts::OS, name, variant)
                } else if matches!(*word, "linux" | "windows" | "freebsd" | "darwin") {
                    let host = Platform::host();
                    (*word, host.architecture, host.variant)
                } else {
                    return Err(PlatformError(text.to_owned()));
                }
            }
            [os, architecture] => {
                let (architecture, variant) = normal(architecture, None);
                (*os, architecture, variant)
            }
            [os, architecture, variant] => {
                let (architecture, variant) = normal(architecture, Some(variant));
                (*os, architecture, variant)
            }
            _ => return Err(PlatformError(text.to_owned())),
        };
        Ok(Platform {
            os: os.to_ascii_lowercase(),
            architecture,
            variant,
            os_version: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn parses_and_normalises() {
        for (text, canonical) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("Linux/AMD64", "linux/amd64"),
            ("windows/amd64", "windows/amd64"),
            ("linux/i386", "linux/386"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(parse(text).to_string(), canonical, "{text}");
        }
        assert_eq!(parse("arm64").architecture, "arm64");
        assert_eq!(parse("linux").architecture, Platform::host().architecture);
        for text in [
            "",
            "/",
            "linux/",
            "a/b/c/d",
            "linux/am d64",
            "quux",
            "linux//v8",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranks_by_variant() {
        let offered = |architecture: &str, variant: Option<&str>| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
            os_version: None,
        };
        let arm64 = parse("linux/arm64");
        assert_eq!(arm64.rank(&offered("arm64", None)), Some(0));
        assert_eq!(arm64.rank(&offered("arm64", Some("v8"))), Some(0));
        assert_eq!(arm64.rank(&offered("aarch64", Some(""))), Some(0));
        assert_eq!(arm64.rank(&offered("arm64", Some("v9"))), None);
        assert_eq!(arm64.rank(&offered("arm", Some("v7"))), None);
        let arm = parse("linux/arm/v7");
        assert_eq!(arm.rank(&offered("arm", Some("v7"))), Some(0));
        assert_eq!(arm.rank(&offered("arm", Some("v6"))), Some(1));
        assert_eq!(arm.rank(&offered("arm", Some("v8"))), None);
        let amd64 = parse("linux/amd64");
        assert!(amd64.accepts(&offered("amd64", None)));
        assert!(!amd64.accepts(&offered("amd64", Some("v3"))));
        assert_eq!(
            parse("linux/amd64/v3").rank(&offered("amd64", None)),
            Some(2)
        );
        assert!(!parse("windows/amd64").accepts(&offered("amd64", None)));
        assert!(!amd64.accepts(&offered("s390x", None)));
    }
}
