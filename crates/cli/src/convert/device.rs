//! `--device HOST[:INSIDE][:rwm]`.

use std::path::PathBuf;

use super::ArgumentError;
use super::error::DeviceProblem;
use super::mounted::clean_absolute;
use gamut_plan::request::{Device, DeviceAccess, DeviceRule, DeviceRuleKind};

/// A host device, where it is seen inside (the same path by default), and its access.
pub fn parse_device(text: &str) -> Result<Device, ArgumentError> {
    let failure = |problem| ArgumentError::Device {
        text: text.to_owned(),
        problem,
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, access] if is_access(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] => (source, target, access),
        _ => return Err(failure(DeviceProblem::Parts)),
    };
    if !source.starts_with('/') {
        return Err(failure(DeviceProblem::Relative));
    }
    Ok(Device {
        source: PathBuf::from(source),
        target: clean_absolute(target).ok_or_else(|| failure(DeviceProblem::Relative))?,
        access: access_of(access).ok_or_else(|| failure(DeviceProblem::Access))?,
    })
}

/// `c 13:* rwm`: a kind (a, b, c), numbers or `*`, what may be done.
pub fn parse_device_rule(text: &str) -> Result<DeviceRule, ArgumentError> {
    let wrong = || ArgumentError::DeviceRule {
        text: text.to_owned(),
    };
    let [kind, numbers, access] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(wrong());
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    Ok(DeviceRule {
        kind: match kind {
            "a" => DeviceRuleKind::All,
            "b" => DeviceRuleKind::Block,
            "c" => DeviceRuleKind::Character,
            _ => return Err(wrong()),
        },
        major: number(major)?,
        minor: number(minor)?,
        access: access_of(access).ok_or_else(wrong)?,
    })
}

fn access_of(text: &str) -> Option<DeviceAccess> {
    is_access(text).then(|| DeviceAccess {
        read: text.contains('r'),
        write: text.contains('w'),
        mknod: text.contains('m'),
    })
}

fn is_access(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| "rwm".contains(c))
        && text.chars().all(|c| text.matches(c).count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let read = DeviceAccess {
            read: true,
            write: false,
            mknod: false,
        };
        for (text, source, target, access) in [
            ("/dev/x", "/dev/x", "/dev/x", DeviceAccess::ALL),
            ("/dev/x:/dev/y", "/dev/x", "/dev/y", DeviceAccess::ALL),
            ("/dev/x:r", "/dev/x", "/dev/x", read),
            ("/dev/x:/dev/y:r", "/dev/x", "/dev/y", read),
        ] {
            let device = parse_device(text).unwrap();
            assert_eq!(device.source, PathBuf::from(source));
            assert_eq!(device.target, PathBuf::from(target));
            assert_eq!(device.access, access);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "x",
            "/dev/x:y",
            "/dev/x:/y:rr",
            "/dev/x:/y:z",
            "/a:/b:r:w",
            "/a:",
        ] {
            assert!(parse_device(text).is_err(), "{text}");
        }
    }
}
