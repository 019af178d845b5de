//! The blkio (v1) and io (v2) controllers: weights and rates per block device.
//!
//! Documentation/admin-guide/cgroup-v1/blkio-controller.rst, block/bfq-iosched.rst,
//! cgroup-v2.rst "IO".

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gamut_plan::stats;
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::convert::io_weight;
use super::dir::Dir;
use super::discover::Version;
use super::error::{CgroupError, Warning};
use super::write::Write;

const WEIGHT: &str = "block weight";
const DEVICE_WEIGHT: &str = "block weight of a device";
const LEAF_WEIGHT: &str = "block leaf weight";

/// One kind of rate: its name for the user, v1's file, v2's key in `io.max`, what is asked for.
type Rate<'a> = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'a [LinuxThrottleDevice]>,
);

fn rates(block: &LinuxBlockIo) -> [Rate<'_>; 4] {
    [
        (
            "device read rate (bytes)",
            "blkio.throttle.read_bps_device",
            "rbps",
            block.throttle_read_bps_device().as_deref(),
        ),
        (
            "device write rate (bytes)",
            "blkio.throttle.write_bps_device",
            "wbps",
            block.throttle_write_bps_device().as_deref(),
        ),
        (
            "device read rate (operations)",
            "blkio.throttle.read_iops_device",
            "riops",
            block.throttle_read_iops_device().as_deref(),
        ),
        (
            "device write rate (operations)",
            "blkio.throttle.write_iops_device",
            "wiops",
            block.throttle_write_iops_device().as_deref(),
        ),
    ]
}

/// Whether anything is asked for.
pub(super) fn asks(block: &LinuxBlockIo) -> bool {
    let weights = block.weight_device().as_deref().unwrap_or_default();
    block.weight().is_some_and(|weight| weight > 0)
        || block.leaf_weight().is_some_and(|weight| weight > 0)
        || !weights.is_empty()
        || rates(block)
            .iter()
            .any(|(_, _, _, devices)| devices.is_some_and(|devices| !devices.is_empty()))
}

pub(super) fn writes(
    version: Version,
    block: &LinuxBlockIo,
    warnings: &mut Vec<Warning>,
) -> Vec<Write> {
    let mut writes = weights(version, block, warnings);
    match version {
        Version::V1 => {
            for (limit, file, _, devices) in rates(block) {
                for device in devices.unwrap_or_default() {
                    let (major, minor) = (device.major(), device.minor());
                    let value = format!("{major}:{minor} {}", device.rate());
                    writes.push(Write::new(limit, file, value));
                }
            }
        }
        Version::V2 => writes.extend(io_max(block)),
    }
    writes
}

/// One line of `io.max` per device; a rate of 0 lifts the limit, as it does on v1.
fn io_max(block: &LinuxBlockIo) -> impl Iterator<Item = Write> {
    let mut lines: BTreeMap<(i64, i64), String> = BTreeMap::new();
    for (_, _, key, devices) in rates(block) {
        for device in devices.unwrap_or_default() {
            let line = lines.entry((device.major(), device.minor())).or_default();
            // Writing to a String cannot fail.
            let _ = match device.rate() {
                0 => write!(line, " {key}=max"),
                rate => write!(line, " {key}={rate}"),
            };
        }
    }
    lines.into_iter().map(|((major, minor), line)| {
        Write::new("device rate", "io.max", format!("{major}:{minor}{line}"))
    })
}

fn weights(version: Version, block: &LinuxBlockIo, warnings: &mut Vec<Warning>) -> Vec<Write> {
    let mut writes = Vec::new();
    let (bfq, plain, device_bfq, device_plain) = match version {
        Version::V1 => (
            "blkio.bfq.weight",
            "blkio.weight",
            "blkio.bfq.weight_device",
            "blkio.weight_device",
        ),
        Version::V2 => ("io.bfq.weight", "io.weight", "io.bfq.weight", "io.weight"),
    };
    let plain_value = |weight: u16| match version {
        Version::V1 => u64::from(weight),
        Version::V2 => io_weight(weight),
    };
    if let Some(weight) = block.weight().filter(|&weight| weight > 0) {
        let other = Write::new(WEIGHT, plain, plain_value(weight));
        writes.push(Write::new(WEIGHT, bfq, weight).or_try(other));
    }
    let mut leaf = block.leaf_weight().is_some_and(|weight| weight > 0);
    for device in block.weight_device().as_deref().unwrap_or_default() {
        leaf |= device.leaf_weight().is_some_and(|weight| weight > 0);
        if let Some(weight) = device.weight().filter(|&weight| weight > 0) {
            let number = format!("{}:{}", device.major(), device.minor());
            let value = format!("{number} {}", plain_value(weight));
            let other = Write::new(DEVICE_WEIGHT, device_plain, value);
            let value = format!("{number} {weight}");
            writes.push(Write::new(DEVICE_WEIGHT, device_bfq, value).or_try(other));
        }
    }
    if leaf {
        // Went away with the CFQ scheduler in Linux 5.0.
        let limit = LEAF_WEIGHT.to_owned();
        warnings.push(Warning::Obsolete { limit });
    }
    writes
}

pub(super) fn stats(dir: &Dir, version: Version) -> Result<stats::Block, CgroupError> {
    let mut read = stats::Block::default();
    match version {
        Version::V1 => {
            let bytes = read_if_there(dir, "blkio.throttle.io_service_bytes_recursive")?;
            (read.read_bytes, read.write_bytes) = sum_v1(&bytes);
            let operations = read_if_there(dir, "blkio.throttle.io_serviced_recursive")?;
            (read.reads, read.writes) = sum_v1(&operations);
        }
        Version::V2 => {
            for word in read_if_there(dir, "io.stat")?.split_ascii_whitespace() {
                let Some((key, value)) = word.split_once('=') else {
                    continue;
                };
                let sum = match key {
                    "rbytes" => &mut read.read_bytes,
                    "wbytes" => &mut read.write_bytes,
                    "rios" => &mut read.reads,
                    "wios" => &mut read.writes,
                    _ => continue,
                };
                *sum = sum.saturating_add(value.parse().unwrap_or(0));
            }
        }
    }
    Ok(read)
}

fn read_if_there(dir: &Dir, file: &str) -> Result<String, CgroupError> {
    match dir.read_all(file) {
        Err(error) if error.is_missing_file() => Ok(String::new()),
        read => read,
    }
}

/// Lines such as `8:0 Read 4096`: what was read and what was written.
fn sum_v1(text: &str) -> (u64, u64) {
    let mut sums = (0u64, 0u64);
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(_), Some(operation), Some(count)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let count = count.parse().unwrap_or(0);
        match operation {
            "Read" => sums.0 = sums.0.saturating_add(count),
            "Write" => sums.1 = sums.1.saturating_add(count),
            _ => {}
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{
        LinuxBlockIoBuilder, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
    };

    fn sample() -> LinuxBlockIo {
        let rate = |major: i64, rate: u64| {
            LinuxThrottleDeviceBuilder::default()
                .major(major)
                .minor(0i64)
                .rate(rate)
                .build()
                .expect("a device")
        };
        let weight = LinuxWeightDeviceBuilder::default()
            .major(8i64)
            .minor(16i64)
            .weight(300u16)
            .build()
            .expect("a device");
        LinuxBlockIoBuilder::default()
            .weight(500u16)
            .weight_device(vec![weight])
            .throttle_read_bps_device(vec![rate(8, 1_000), rate(9, 5)])
            .throttle_write_iops_device(vec![rate(8, 0)])
            .build()
            .expect("limits")
    }

    #[test]
    fn v2_has_one_line_per_device() {
        let mut warnings = Vec::new();
        let writes = writes(Version::V2, &sample(), &mut warnings);
        let max: Vec<&str> = writes
            .iter()
            .filter(|write| write.file == "io.max")
            .map(|write| write.value.as_str())
            .collect();
        assert_eq!(max, ["8:0 rbps=1000 wiops=max", "9:0 rbps=5"]);
        assert_eq!(writes[0].value, "500");
        assert!(warnings.is_empty());
    }

    #[test]
    fn v1_has_one_write_per_rate() {
        let writes = writes(Version::V1, &sample(), &mut Vec::new());
        let values: Vec<(&str, &str)> = writes
            .iter()
            .map(|write| (&*write.file, write.value.as_str()))
            .collect();
        assert_eq!(
            values,
            [
                ("blkio.bfq.weight", "500"),
                ("blkio.bfq.weight_device", "8:16 300"),
                ("blkio.throttle.read_bps_device", "8:0 1000"),
                ("blkio.throttle.read_bps_device", "9:0 5"),
                ("blkio.throttle.write_iops_device", "8:0 0"),
            ]
        );
    }

    #[test]
    fn v1_counters_are_summed_over_devices() {
        let text = "8:0 Read 10\n8:0 Write 3\n8:0 Total 13\n9:0 Read 5\nTotal 18\n";
        assert_eq!(sum_v1(text), (15, 3));
    }
}
