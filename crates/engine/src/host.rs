//! The facts of this host that a drawing needs.

use gamut_plan::HostFacts;

/// Gathers them: four system calls.
#[must_use]
pub(crate) fn facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let capabilities = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    HostFacts {
        kernel: text(uname.release()),
        machine: text(uname.machine()),
        hostname: text(uname.nodename()),
        uid: rustix::process::geteuid().as_raw(),
        capabilities,
        cpus: rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count()),
        home: gamut_container::home::facts(),
        groups: groups(&std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default()),
    }
}

/// Of lines `INSIDE OUTSIDE COUNT` (user_namespaces(7)), the ids from 0 on.
fn groups(map: &str) -> u32 {
    let first = map.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next() == Some("0")).then(|| fields.nth(1))?
    });
    first
        .and_then(|count| count.parse().ok())
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_counted_from_the_first() {
        assert_eq!(
            super::groups("         0          0 4294967295\n"),
            u32::MAX
        );
        assert_eq!(super::groups("0 1777795072 65536\n65536 1 1\n"), 65_536);
        assert_eq!(super::groups(""), u32::MAX);
    }
}
