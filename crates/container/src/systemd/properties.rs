//! OCI limits as properties of a unit: what systemd can set, so that it knows of it and does not set
//! something else later. The files of the group are written besides. systemd.resource-control(5);
//! the translation is runc's (`docs/systemd.md`).

use std::collections::HashMap;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::message::Value;
use super::{Bus, Unit};
use crate::cgroup::device_policy::{DeviceKind, DevicePolicy, DeviceRule, Verdict};
use crate::cgroup::{Bound, Version, cpu_weight, io_weight, swap_alone};

/// A property's name on the bus, and its value.
pub(crate) type Property = (String, Value);

/// systemd's word for no limit, in all of its numbers.
const INFINITY: u64 = u64::MAX;
const DEFAULT_PERIOD_US: u64 = 100_000;
/// systemd keeps a quota as a percentage: a hundredth of a second, in µs for each second.
const PERCENT_US: u64 = 10_000;
/// Linux has at most 8192 CPUs and 1024 memory nodes; a longer list is refused by the files.
const MOST_BITS: u32 = 8192;

/// For whom limits become properties.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    /// Of the control groups with the controllers.
    pub(crate) groups: Version,
    /// Such as 252: the properties that came later are left to the files.
    pub(crate) systemd: u32,
}

fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

/// What every scope is made with.
pub(super) fn of_scope(unit: &Unit, pid: u32, host: Host) -> Vec<Property> {
    let block = match host.groups {
        Version::V1 => "BlockIOAccounting",
        Version::V2 => "IOAccounting",
    };
    let what = format!("gamut container {}", unit.name.trim_end_matches(".scope"));
    let mut list = vec![
        property("Description", Value::Text(what)),
        property("Slice", Value::text(&unit.slice)),
        property("Delegate", Value::Bool(true)),
        property("PIDs", Value::array("u", vec![Value::U32(pid)])),
        property("DefaultDependencies", Value::Bool(false)),
    ];
    let accounts = [
        "MemoryAccounting",
        "CPUAccounting",
        block,
        "TasksAccounting",
    ];
    list.extend(accounts.map(|name| property(name, Value::Bool(true))));
    list
}

/// Limits that are properties as well. What cannot be meant is left to the files, which say so.
pub(crate) fn of_limits(limits: &LinuxResources, bus: Bus, host: Host) -> Vec<Property> {
    let mut list = Vec::new();
    if let (Some(rules), Bus::System) = (limits.devices(), bus)
        && let Ok(policy) = DevicePolicy::from_oci(rules)
    {
        list.extend(devices(&policy));
    }
    if let Some(limits) = limits.memory() {
        memory(limits, host, &mut list);
    }
    if let Some(limits) = limits.cpu() {
        cpu(limits, host, &mut list);
    }
    let weight = limits.block_io().as_ref().and_then(|block| block.weight());
    if let Some(weight) = weight.filter(|weight| *weight > 0) {
        list.push(match host.groups {
            Version::V1 => property("BlockIOWeight", Value::U64(weight.into())),
            Version::V2 => property("IOWeight", Value::U64(io_weight(weight))),
        });
    }
    let tasks = limits.pids().as_ref().map(|pids| match pids.limit() {
        // As it is written to the group.
        0 => 1,
        limit => limit,
    });
    if let Ok(Some(bound)) = Bound::from_oci("pids limit", tasks) {
        list.push(property("TasksMax", number(bound)));
    }
    if let (Version::V2, Some(files)) = (host.groups, limits.unified()) {
        unified(files, host, &mut list);
    }
    list
}

fn number(bound: Bound) -> Value {
    Value::U64(match bound {
        Bound::Unlimited => INFINITY,
        Bound::At(value) => value,
    })
}

fn memory(limits: &LinuxMemory, host: Host, list: &mut Vec<Property>) {
    let bound = |value| Bound::from_oci("memory", value).ok().flatten();
    let limit = bound(limits.limit());
    if host.groups == Version::V1 {
        list.extend(limit.map(|limit| property("MemoryLimit", number(limit))));
        return;
    }
    list.extend(limit.map(|limit| property("MemoryMax", number(limit))));
    let reservation = bound(limits.reservation());
    list.extend(reservation.map(|low| property("MemoryLow", number(low))));
    let swap = match (bound(limits.swap()), limit) {
        (None, Some(Bound::Unlimited)) => Some(Bound::Unlimited),
        (Some(total), Some(limit)) => swap_alone(total, limit).ok(),
        (Some(Bound::Unlimited), None) => Some(Bound::Unlimited),
        _ => None,
    };
    list.extend(swap.map(|swap| property("MemorySwapMax", number(swap))));
}

fn cpu(limits: &LinuxCpu, host: Host, list: &mut Vec<Property>) {
    let shares = limits.shares().filter(|shares| *shares > 0);
    match host.groups {
        Version::V1 => {
            list.extend(shares.map(|shares| property("CPUShares", Value::U64(shares))));
        }
        Version::V2 => {
            let idle = limits.idle() == Some(1);
            weight(shares.map(cpu_weight), idle, host, list);
        }
    }
    let quota = limits.quota().filter(|quota| *quota != 0);
    quota_of(quota, limits.period().filter(|us| *us > 0), host, list);
    if host.groups == Version::V2 {
        bits("AllowedCPUs", limits.cpus().as_deref(), host, list);
        bits("AllowedMemoryNodes", limits.mems().as_deref(), host, list);
    }
}

/// A weight of 0 is systemd's word for an idle group.
fn weight(weight: Option<u64>, idle: bool, host: Host, list: &mut Vec<Property>) {
    let weight = match idle && host.systemd >= 252 {
        true => Some(0),
        false => weight,
    };
    list.extend(weight.map(|weight| property("CPUWeight", Value::U64(weight))));
}

/// A quota below 0 is none.
fn quota_of(quota: Option<i64>, period: Option<u64>, host: Host, list: &mut Vec<Property>) {
    if quota.is_none() && period.is_none() {
        return;
    }
    if let Some(period) = period.filter(|_| host.systemd >= 242) {
        list.push(property("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    let quota = quota.and_then(|quota| u64::try_from(quota).ok());
    let per_second = quota.map_or(INFINITY, |quota| {
        let us = quota.saturating_mul(1_000_000) / period.unwrap_or(DEFAULT_PERIOD_US);
        // Rounded up, or systemd would take away what is below one percent.
        us.div_ceil(PERCENT_US).saturating_mul(PERCENT_US)
    });
    list.push(property("CPUQuotaPerSecUSec", Value::U64(per_second)));
}

/// A list such as `0-3,7` as a bit for each number, the first in the lowest bit of the first byte.
fn bits(name: &str, text: Option<&str>, host: Host, list: &mut Vec<Property>) {
    let text = text.filter(|text| !text.trim().is_empty() && host.systemd >= 244);
    let Some(mask) = text.and_then(mask) else {
        return;
    };
    let bytes = mask.into_iter().map(Value::Byte).collect();
    list.push(property(name, Value::array("y", bytes)));
}

fn mask(text: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().ok()?;
        let last: u32 = last.trim().parse().ok()?;
        if first > last || last >= MOST_BITS {
            return None;
        }
        for bit in first..=last {
            let byte = bit as usize / 8;
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            mask[byte] |= 1 << (bit % 8);
        }
    }
    Some(mask)
}

/// Files of version 2 that systemd has properties for.
fn unified(files: &HashMap<String, String>, host: Host, list: &mut Vec<Property>) {
    let file = |name: &str| files.get(name).map(|text| text.trim());
    for (name, of) in [
        ("memory.max", "MemoryMax"),
        ("memory.high", "MemoryHigh"),
        ("memory.low", "MemoryLow"),
        ("memory.min", "MemoryMin"),
        ("memory.swap.max", "MemorySwapMax"),
        ("pids.max", "TasksMax"),
    ] {
        let value = file(name).and_then(|text| match text {
            "max" => Some(INFINITY),
            text => text.parse().ok(),
        });
        list.extend(value.map(|value| property(of, Value::U64(value))));
    }
    let idle = file("cpu.idle") == Some("1");
    let shares = file("cpu.weight").and_then(|text| text.parse().ok());
    weight(shares, idle, host, list);
    if let Some(text) = file("cpu.max") {
        let mut words = text.split_ascii_whitespace();
        let quota = match words.next() {
            Some("max") | None => None,
            Some(word) => word.parse().ok(),
        };
        let period = words.next().and_then(|word| word.parse().ok());
        let period = period.unwrap_or(DEFAULT_PERIOD_US).max(1);
        quota_of(quota, Some(period), host, list);
    }
    bits("AllowedCPUs", file("cpuset.cpus"), host, list);
    bits("AllowedMemoryNodes", file("cpuset.mems"), host, list);
}

/// What systemd lets in. It has no list of what is kept out: there it lets nothing in, or all, and
/// the group's own list or program, which comes on top, decides.
fn devices(policy: &DevicePolicy) -> Vec<Property> {
    let open = policy.verdict == Verdict::Allow && policy.exceptions.is_empty();
    let allowed = match policy.verdict {
        Verdict::Allow => Vec::new(),
        Verdict::Deny => policy.exceptions.iter().filter_map(device).collect(),
    };
    let word = if open { "auto" } else { "strict" };
    vec![
        property("DevicePolicy", Value::text(word)),
        property("DeviceAllow", Value::array("(ss)", allowed)),
    ]
}

/// All minors of a major are named by the major (systemd 240); all majors of one minor cannot be.
fn device(rule: &DeviceRule) -> Option<Value> {
    let kind = match rule.kind {
        DeviceKind::Block => "block",
        DeviceKind::Char => "char",
    };
    let name = match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    };
    let access = rule.access.to_string();
    Some(Value::Struct(vec![Value::Text(name), Value::Text(access)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    const V2: Host = Host {
        groups: Version::V2,
        systemd: 252,
    };
    const V1: Host = Host {
        groups: Version::V1,
        systemd: 252,
    };

    fn of(limits: Json, host: Host) -> HashMap<String, Value> {
        let limits = serde_json::from_value(limits).expect("limits");
        of_limits(&limits, Bus::System, host).into_iter().collect()
    }

    fn numbers(limits: Json, host: Host) -> Vec<(String, u64)> {
        let list = of(limits, host).into_iter().filter_map(|(name, value)| {
            let Value::U64(number) = value else {
                return None;
            };
            Some((name, number))
        });
        let mut list: Vec<_> = list.collect();
        list.sort();
        list
    }

    fn named<const N: usize>(list: [(&str, u64); N]) -> Vec<(String, u64)> {
        list.map(|(name, number)| (name.to_owned(), number)).into()
    }

    #[test]
    fn limits_have_the_names_of_their_version() {
        let limits = json!({
            "memory": {"limit": 100, "swap": 250, "reservation": 50},
            "cpu": {"shares": 1024}, "pids": {"limit": 9}, "blockIO": {"weight": 1000},
        });
        let v2 = [
            ("CPUWeight", 100),
            ("IOWeight", 10_000),
            ("MemoryLow", 50),
            ("MemoryMax", 100),
            ("MemorySwapMax", 150),
            ("TasksMax", 9),
        ];
        assert_eq!(numbers(limits.clone(), V2), named(v2));
        let v1 = [
            ("BlockIOWeight", 1000),
            ("CPUShares", 1024),
            ("MemoryLimit", 100),
            ("TasksMax", 9),
        ];
        assert_eq!(numbers(limits, V1), named(v1));
        let none = json!({"memory": {"limit": -1}, "pids": {"limit": -1}});
        let all = [
            ("MemoryMax", INFINITY),
            ("MemorySwapMax", INFINITY),
            ("TasksMax", INFINITY),
        ];
        assert_eq!(numbers(none, V2), named(all));
    }

    #[test]
    fn quotas_are_per_second_and_rounded_up() {
        let quota = |cpu: Json| numbers(json!({ "cpu": cpu }), V2);
        let both = |period: u64, us: u64| {
            named([("CPUQuotaPerSecUSec", us), ("CPUQuotaPeriodUSec", period)])
        };
        assert_eq!(
            quota(json!({"quota": 50_000})),
            named([("CPUQuotaPerSecUSec", 500_000)])
        );
        assert_eq!(
            quota(json!({"quota": 5000, "period": 10_000})),
            both(10_000, 500_000)
        );
        assert_eq!(
            quota(json!({"quota": 1001, "period": 100_000})),
            both(100_000, 20_000)
        );
        assert_eq!(
            quota(json!({"quota": -1, "period": 100_000})),
            both(100_000, INFINITY)
        );
        let old = Host { systemd: 239, ..V2 };
        let limits = json!({"cpu": {"quota": 5000, "period": 10_000, "cpus": "0", "idle": 1}});
        assert_eq!(
            numbers(limits.clone(), old),
            named([("CPUQuotaPerSecUSec", 500_000)])
        );
        assert!(!of(limits, old).contains_key("AllowedCPUs"));
    }

    #[test]
    fn lists_are_bits() {
        assert_eq!(mask("0-3,9"), Some(vec![0x0f, 0x02]));
        assert_eq!(mask(" 1 , 8-8 "), Some(vec![0x02, 0x01]));
        for bad in ["a", "3-1", "", "0-4294967295", "1,"] {
            assert_eq!(mask(bad), None, "{bad}");
        }
    }

    #[test]
    fn files_of_version_2_are_properties_where_there_is_one() {
        let files = json!({"unified": {
            "memory.high": "200 ", "memory.swap.max": "max", "cpu.max": "max 50000", "cpu.idle": "1",
            "cpu.weight": "7", "pids.max": "no", "io.latency": "8:0 target=1",
        }});
        let expected = [
            ("CPUQuotaPerSecUSec", INFINITY),
            ("CPUQuotaPeriodUSec", 50_000),
            ("CPUWeight", 0),
            ("MemoryHigh", 200),
            ("MemorySwapMax", INFINITY),
        ];
        assert_eq!(numbers(files.clone(), V2), named(expected));
        assert!(numbers(files, V1).is_empty());
    }

    #[test]
    fn devices_are_a_list_of_what_is_let_in() {
        let of_rules = |rules: Json| {
            let all = of(json!({ "devices": rules }), V2);
            let Value::Array { items, .. } = &all["DeviceAllow"] else {
                panic!("no list")
            };
            (all["DevicePolicy"].clone(), items.clone())
        };
        let entry =
            |name: &str, access: &str| Value::Struct(vec![Value::text(name), Value::text(access)]);
        let (policy, list) = of_rules(json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            {"allow": true, "type": "c", "major": 136, "access": "rwm"},
            {"allow": true, "type": "b", "access": "m"},
        ]));
        assert_eq!(policy, Value::text("strict"));
        let expected = [
            ("/dev/char/1:3", "rw"),
            ("char-136", "rwm"),
            ("block-*", "m"),
        ];
        assert_eq!(list, expected.map(|(name, access)| entry(name, access)));
        let (policy, list) = of_rules(json!([{"allow": true, "access": "rwm"}]));
        assert_eq!((policy, list), (Value::text("auto"), vec![]));
    }
}
