//! The ids that a user may give away: subuid(5), subgid(5).

use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

use super::HomeError;
use crate::launch::idmap::Maps;

/// Ids of the host that belong to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub first: u32,
    pub count: u32,
}

/// The maps of the caller's home: root is the caller, and 1, 2, … are the ranges, one after the other.
pub(super) fn maps() -> Result<Maps, HomeError> {
    if std::fs::read_to_string("/proc/sys/user/max_user_namespaces")
        .is_ok_and(|text| text.trim() == "0")
    {
        return Err(HomeError::NoNamespaces);
    }
    for program in ["newuidmap", "newgidmap"] {
        if !is_in_path(program) {
            return Err(HomeError::NoProgram(program));
        }
    }
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let name = name_of(uid);
    let of = |file: &'static str, own: u32| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let ranges = listed(&text, name.as_deref(), uid);
        if ranges.is_empty() {
            let user = name.clone().unwrap_or_else(|| uid.to_string());
            return Err(HomeError::NoRanges { user, file });
        }
        Ok(drawn(own, &ranges))
    };
    let (uids, gids) = (of("/etc/subuid", uid)?, of("/etc/subgid", gid)?);
    Maps::new(Some(&uids), Some(&gids)).ok_or(HomeError::Gone)
}

pub(super) fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The user's name, by passwd(5).
fn name_of(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let line = text.lines().find(|line| {
        let mut fields = line.split(':');
        fields.nth(2).and_then(|id| id.parse().ok()) == Some(uid)
    })?;
    line.split(':').next().map(str::to_owned)
}

/// The lines `USER:FIRST:COUNT` of a user, by its name or its number. subgid(5) names users, too.
fn listed(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let of = fields.next()?;
        let is_own = Some(of) == name || of == number;
        let range = Range {
            first: fields.next()?.trim().parse().ok()?,
            count: fields.next()?.trim().parse().ok()?,
        };
        (is_own && range.count > 0).then_some(range)
    };
    text.lines().filter_map(line).collect()
}

fn drawn(own: u32, ranges: &[Range]) -> Vec<LinuxIdMapping> {
    let mut next = 0u32;
    let all = std::iter::once(Range {
        first: own,
        count: 1,
    })
    .chain(ranges.iter().copied());
    all.filter_map(|range| {
        let map = LinuxIdMappingBuilder::default()
            .container_id(next)
            .host_id(range.first)
            .size(range.count);
        next = next.checked_add(range.count)?;
        map.build().ok()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_ranges_are_found_by_name_and_number() {
        let text = "root:1:2\nruth:100000:65536\n# ruth:9:9\n2000:300000:10\nruth:x:1\nruth:5:0\n";
        let range = |first, count| Range { first, count };
        let found = listed(text, Some("ruth"), 2000);
        assert_eq!(found, [range(100_000, 65_536), range(300_000, 10)]);
        assert_eq!(listed(text, None, 7), []);
    }

    #[test]
    fn root_is_the_user_and_the_rest_follows() {
        let ranges = [
            Range {
                first: 100_000,
                count: 65_536,
            },
            Range { first: 9, count: 1 },
        ];
        let maps = drawn(2000, &ranges);
        let seen: Vec<_> = maps
            .iter()
            .map(|map| (map.container_id(), map.host_id(), map.size()))
            .collect();
        assert_eq!(seen, [(0, 2000, 1), (1, 100_000, 65_536), (65_537, 9, 1)]);
    }
}
