//! `--device-read-bps` and its kin: `/dev/DEVICE:VALUE`.

use std::path::PathBuf;

use super::{ArgumentError, parse_size};
use gamut_plan::request::DeviceWeight;

/// Bytes a second, with a unit: `/dev/vda:10mb`.
pub fn parse_byte_rate(text: &str) -> Result<(PathBuf, u64), ArgumentError> {
    let (device, rate) = split(text).ok_or_else(|| invalid(text))?;
    match parse_size(rate) {
        Ok(rate) if rate > 0 => Ok((device, rate)),
        _ => Err(invalid(text)),
    }
}

/// Operations a second: `/dev/vda:1000`.
pub fn parse_operation_rate(text: &str) -> Result<(PathBuf, u64), ArgumentError> {
    let (device, rate) = split(text).ok_or_else(|| invalid(text))?;
    match rate.parse() {
        Ok(rate) if rate > 0 => Ok((device, rate)),
        _ => Err(invalid(text)),
    }
}

/// A weight from 10 to 1,000: `/dev/vda:500`.
pub fn parse_device_weight(text: &str) -> Result<DeviceWeight, ArgumentError> {
    split(text)
        .and_then(|(device, weight)| {
            let weight = weight
                .parse()
                .ok()
                .filter(|weight| (10..=1000).contains(weight))?;
            Some(DeviceWeight { device, weight })
        })
        .ok_or_else(|| ArgumentError::DeviceWeight {
            text: text.to_owned(),
        })
}

/// The last `:` divides: a path may contain others.
fn split(text: &str) -> Option<(PathBuf, &str)> {
    let (device, value) = text.rsplit_once(':')?;
    device
        .starts_with("/dev/")
        .then(|| (PathBuf::from(device), value))
}

fn invalid(text: &str) -> ArgumentError {
    ArgumentError::Throttle {
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_weights() {
        let device = PathBuf::from("/dev/vda");
        assert_eq!(
            parse_byte_rate("/dev/vda:1mb"),
            Ok((device.clone(), 1 << 20))
        );
        assert_eq!(
            parse_operation_rate("/dev/vda:100"),
            Ok((device.clone(), 100))
        );
        assert_eq!(
            parse_device_weight("/dev/vda:10").map(|weight| weight.weight),
            Ok(10)
        );
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse_byte_rate("/dev/vda").is_err());
        assert!(parse_byte_rate("/dev/vda:0").is_err());
        assert!(parse_byte_rate("vda:1").is_err());
        assert!(parse_operation_rate("/dev/vda:1m").is_err());
        assert!(parse_device_weight("/dev/vda:9").is_err());
    }
}
