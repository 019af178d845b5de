//! `--platform`, `--isolation` and `--min-isolation`.

use super::ArgumentError;
use gamut_plan::request::{Isolation, Level, Platform};

/// `linux/amd64`, `linux/arm64/v8`, or an architecture alone; the kernel's names are understood.
pub fn parse_platform(text: &str) -> Result<Platform, ArgumentError> {
    let invalid = || ArgumentError::Platform {
        text: text.to_owned(),
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    };
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    if !parts.iter().all(|part| plain(part)) {
        return Err(invalid());
    }
    let (os, architecture, variant) = match parts[..] {
        [architecture] if normal_architecture(architecture).is_some() => {
            ("linux", architecture, None)
        }
        [os, architecture] => (os, architecture, None),
        [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
        _ => return Err(invalid()),
    };
    Ok(Platform {
        os: os.to_owned(),
        architecture: normal_architecture(architecture)
            .unwrap_or(architecture)
            .to_owned(),
        variant,
    })
}

/// OCI's names are Go's; people also type the kernel's.
fn normal_architecture(name: &str) -> Option<&'static str> {
    Some(match name {
        "amd64" | "x86_64" | "x86-64" => "amd64",
        "arm64" | "aarch64" => "arm64",
        "386" | "i386" | "i686" => "386",
        "arm" | "armhf" => "arm",
        "riscv64" => "riscv64",
        "ppc64le" => "ppc64le",
        "s390x" => "s390x",
        "loong64" | "loongarch64" => "loong64",
        _ => return None,
    })
}

/// A level, `auto`, `default`, or Docker's `process`.
pub fn parse_isolation(text: &str) -> Result<Isolation, ArgumentError> {
    match text {
        "default" => Ok(Isolation::Default),
        "auto" => Ok(Isolation::Auto),
        "process" => Ok(Isolation::Level(Level::Container)),
        other => parse_level(other).map(Isolation::Level),
    }
}

/// `--runtime`: a level, or the name of a runtime that is one.
pub fn parse_runtime(text: &str) -> Result<Isolation, ArgumentError> {
    let level = match text {
        "runc" | "crun" | "youki" | "io.containerd.runc.v2" => Level::Container,
        "runsc" | "gvisor" | "io.containerd.runsc.v1" => Level::Sandbox,
        "kata" | "kata-runtime" | "io.containerd.kata.v2" | "krun" => Level::Microvm,
        other => return parse_isolation(other),
    };
    Ok(Isolation::Level(level))
}

/// `container`, `sandbox`, `microvm` or `vm`.
pub fn parse_level(text: &str) -> Result<Level, ArgumentError> {
    match text {
        "container" => Ok(Level::Container),
        "sandbox" => Ok(Level::Sandbox),
        "microvm" => Ok(Level::Microvm),
        "vm" => Ok(Level::Vm),
        _ => Err(ArgumentError::Isolation {
            text: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_get_the_indexes_names() {
        for (text, os, architecture, variant) in [
            ("linux/amd64", "linux", "amd64", None),
            ("aarch64", "linux", "arm64", None),
            ("Linux/ARM64/v8", "linux", "arm64", Some("v8")),
            ("windows/amd64", "windows", "amd64", None),
        ] {
            let platform = parse_platform(text).unwrap();
            assert_eq!(platform.os, os);
            assert_eq!(platform.architecture, architecture);
            assert_eq!(platform.variant.as_deref(), variant);
        }
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(parse_platform(text).is_err(), "{text}");
        }
    }

    #[test]
    fn levels() {
        assert_eq!(parse_isolation("auto"), Ok(Isolation::Auto));
        assert_eq!(
            parse_isolation("process"),
            Ok(Isolation::Level(Level::Container))
        );
        assert!(parse_level("auto").is_err());
        assert!(Level::Container < Level::Vm);
    }
}
