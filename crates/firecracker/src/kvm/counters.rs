//! The devices' counters under Firecracker's names, where it has one for them.

use gamut_virtio::device::Counter;

/// By kind of device: our name, and Firecracker's.
const NAMES: [(&str, &str, &str); 19] = [
    ("block", "reads", "read_count"),
    ("block", "writes", "write_count"),
    ("block", "written_bytes", "write_bytes"),
    ("block", "flushes", "flush_count"),
    ("block", "errors", "execute_fails"),
    ("block", "unsupported", "invalid_reqs_count"),
    ("block", "throttled", "rate_limiter_throttled_events"),
    ("net", "received_packets", "rx_packets_count"),
    ("net", "received_bytes", "rx_bytes_count"),
    ("net", "received_dropped", "rx_fails"),
    ("net", "received_throttled", "rx_rate_limiter_throttled"),
    ("net", "sent_packets", "tx_packets_count"),
    ("net", "sent_bytes", "tx_bytes_count"),
    ("net", "sent_dropped", "tx_fails"),
    ("net", "sent_throttled", "tx_rate_limiter_throttled"),
    ("vsock", "received_packets", "rx_packets_count"),
    ("vsock", "sent_packets", "tx_packets_count"),
    ("entropy", "requests", "entropy_event_count"),
    ("entropy", "bytes", "entropy_bytes"),
];

/// What network cards count of the metadata service, which has a section of its own.
const METADATA: [(&str, &str); 6] = [
    ("detour_taken", "rx_accepted"),
    ("detour_dropped", "rx_accepted_unusual"),
    ("detour_sent_packets", "tx_frames"),
    ("detour_sent_bytes", "tx_bytes"),
    ("detour_opened", "connections_created"),
    ("detour_closed", "connections_destroyed"),
];

/// Each device's counters, and for each kind with several devices their sum.
pub(super) fn named(devices: Vec<(String, Vec<Counter>)>) -> Vec<(String, Vec<(String, u64)>)> {
    let mut all = Vec::with_capacity(devices.len() + 2);
    let mut sums: Vec<(String, Vec<(String, u64)>)> = Vec::new();
    for (device, counters) in devices {
        let kind = device.split('_').next().unwrap_or_default().to_owned();
        let (metadata, counters) = apart(counters);
        if !metadata.is_empty() {
            add(&mut sums, "mmds", &metadata);
        }
        let counters: Vec<_> = counters
            .into_iter()
            .map(|(name, number)| (theirs(&kind, name).to_owned(), number))
            .collect();
        if kind != device {
            add(&mut sums, &kind, &counters);
        }
        // Firecracker's name of the section.
        let section = if device == "vcpus" {
            "vcpu".to_owned()
        } else {
            device
        };
        all.push((section, counters));
    }
    all.extend(sums);
    all
}

fn apart(counters: Vec<Counter>) -> (Vec<(String, u64)>, Vec<Counter>) {
    let mut metadata = Vec::new();
    let mut rest = Vec::with_capacity(counters.len());
    for (name, number) in counters {
        match METADATA.iter().find(|(ours, _)| *ours == name) {
            Some((_, theirs)) => metadata.push(((*theirs).to_owned(), number)),
            None => rest.push((name, number)),
        }
    }
    (metadata, rest)
}

fn theirs<'a>(kind: &str, name: &'a str) -> &'a str {
    let mut names = NAMES.iter();
    let found = names.find(|(of, ours, _)| *of == kind && *ours == name);
    found.map_or(name, |(_, _, theirs)| theirs)
}

fn add(sums: &mut Vec<(String, Vec<(String, u64)>)>, kind: &str, counters: &[(String, u64)]) {
    match sums.iter_mut().find(|(known, _)| known == kind) {
        // Devices of one kind have the same counters in the same order.
        Some((_, sum)) => {
            for ((_, sum), (_, number)) in sum.iter_mut().zip(counters) {
                *sum = sum.saturating_add(*number);
            }
        }
        None => sums.push((kind.to_owned(), counters.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_their_sum_and_firecrackers_names() {
        let devices = vec![
            ("balloon".to_owned(), vec![("refused", 1)]),
            ("block_a".to_owned(), vec![("reads", 1), ("read_bytes", 10)]),
            ("block_b".to_owned(), vec![("reads", 2), ("read_bytes", 20)]),
            (
                "net_a".to_owned(),
                vec![("sent_packets", 1), ("detour_taken", 4)],
            ),
            (
                "net_b".to_owned(),
                vec![("sent_packets", 2), ("detour_taken", 5)],
            ),
            ("vcpus".to_owned(), vec![("port_exits", 3)]),
        ];
        let named = named(devices);
        let of = |section: &str| {
            named
                .iter()
                .find(|(name, _)| name == section)
                .map(|(_, c)| c.clone())
        };
        let counters =
            |pairs: [(&str, u64); 2]| Some(pairs.map(|(n, v)| (n.to_owned(), v)).to_vec());
        assert_eq!(
            of("block"),
            counters([("read_count", 3), ("read_bytes", 30)])
        );
        assert_eq!(
            of("block_b"),
            counters([("read_count", 2), ("read_bytes", 20)])
        );
        assert_eq!(of("balloon"), Some(vec![("refused".to_owned(), 1)]));
        assert_eq!(of("vcpu"), Some(vec![("port_exits".to_owned(), 3)]));
        assert_eq!(of("net"), Some(vec![("tx_packets_count".to_owned(), 3)]));
        assert_eq!(of("mmds"), Some(vec![("rx_accepted".to_owned(), 9)]));
        assert_eq!(named.len(), 9);
    }
}
