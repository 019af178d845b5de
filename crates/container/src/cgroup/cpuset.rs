//! The cpuset controller: which CPUs and memory nodes.
//!
//! Documentation/admin-guide/cgroup-v1/cpusets.rst, cgroup-v2.rst "Cpuset".

use oci_spec::runtime::LinuxCpu;

use super::dir::Dir;
use super::discover::Version;
use super::error::CgroupError;
use super::write::Write;

const FILES: [(&str, &str); 2] = [
    ("CPU list", "cpuset.cpus"),
    ("memory node list", "cpuset.mems"),
];

/// Whether anything is asked for that the cpuset controller does.
pub(super) fn asks(cpu: &LinuxCpu) -> bool {
    lists(cpu).iter().any(Option::is_some)
}

fn lists(cpu: &LinuxCpu) -> [Option<&str>; 2] {
    let set = |list: &'_ Option<String>| list.as_ref().is_some_and(|list| !list.is_empty());
    [
        cpu.cpus().as_deref().filter(|_| set(cpu.cpus())),
        cpu.mems().as_deref().filter(|_| set(cpu.mems())),
    ]
}

/// v2 takes a list of what isn't there and quietly uses the parent's, so lists are checked
/// against what `dir` may use.
pub(super) fn writes(
    dir: &Dir,
    version: Version,
    cpu: &LinuxCpu,
) -> Result<Vec<Write>, CgroupError> {
    let mut writes = Vec::new();
    for ((limit, file), list) in FILES.into_iter().zip(lists(cpu)) {
        let Some(list) = list else { continue };
        let Some(wanted) = Ranges::parse(list) else {
            return Err(CgroupError::InvalidLimit {
                limit,
                value: list.to_owned(),
                problem: "it must be numbers and ranges such as 0-3,7",
            });
        };
        if let Some(available) = available(dir, version, file)?
            && Ranges::parse(&available).is_some_and(|there| !there.covers(&wanted))
        {
            return Err(CgroupError::NotInCpuset {
                requested: list.to_owned(),
                available,
            });
        }
        writes.push(Write::new(limit, file, list));
    }
    Ok(writes)
}

/// What the group above may use. The group itself may have been narrowed before.
fn available(dir: &Dir, version: Version, file: &str) -> Result<Option<String>, CgroupError> {
    let above = match (version, file) {
        (Version::V1, file) => format!("../{file}"),
        (Version::V2, "cpuset.cpus") => "../cpuset.cpus.effective".to_owned(),
        (Version::V2, _) => "../cpuset.mems.effective".to_owned(),
    };
    let mut buffer = [0; 4096];
    match dir.read(&above, &mut buffer) {
        Ok(list) => Ok(Some(list.to_owned()).filter(|list| !list.is_empty())),
        Err(error) if error.is_missing_file() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a new v1 group the CPUs and memory nodes of the group above it.
pub(super) fn inherit(parent: &Dir, child: &Dir) -> Result<(), CgroupError> {
    for (_, file) in FILES {
        let mut buffer = [0; 4096];
        // Filled already where cgroup.clone_children is set.
        if !child.read(file, &mut buffer)?.is_empty() {
            continue;
        }
        let list = parent.read(file, &mut buffer)?;
        if !list.is_empty() {
            child.write(file, list)?;
        }
    }
    Ok(())
}

/// A list such as `0-3,7`: inclusive ranges, sorted and merged.
struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    fn parse(list: &str) -> Option<Self> {
        let mut ranges = Vec::new();
        for part in list.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (number(first)?, number(last)?);
            if range.0 > range.1 {
                return None;
            }
            ranges.push(range);
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => merged.push((first, last)),
            }
        }
        Some(Self(merged))
    }

    fn covers(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|&(first, last)| self.0.iter().any(|&(from, to)| from <= first && last <= to))
    }
}

/// A plain decimal number; `parse` alone would take `+1`.
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_merged_and_compared() {
        let there = Ranges::parse("0-3,4-7,9").expect("a list");
        for inside in ["0", "3-4", "0-7", "9,1", "2-3,9"] {
            assert!(
                there.covers(&Ranges::parse(inside).expect(inside)),
                "{inside}"
            );
        }
        for outside in ["8", "7-9", "10", "0-4294967295"] {
            assert!(
                !there.covers(&Ranges::parse(outside).expect(outside)),
                "{outside}"
            );
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in ["", "a", "1-", "-1", "3-1", "1,,2", "+1", "4294967296"] {
            assert!(Ranges::parse(bad).is_none(), "{bad:?}");
        }
    }
}
