//! The hugetlb controller: huge pages by size.
//! Documentation/admin-guide/cgroup-v1/hugetlb.rst, cgroup-v2.rst "HugeTLB".

use std::borrow::Cow;

use oci_spec::runtime::LinuxHugepageLimit;

use super::convert::Bound;
use super::dir::Dir;
use super::discover::Version;
use super::error::{CgroupError, Warning};
use super::write::{IfMissing, Write, carry_out};

const LIMIT: &str = "huge page limit";

/// Limits both pages in use and, where the kernel counts them (Linux 5.7), reservations: a
/// reservation fails with ENOMEM, a page that is touched beyond the limit with SIGBUS.
pub(super) fn apply(
    dir: &Dir,
    version: Version,
    limits: &[LinuxHugepageLimit],
    warnings: &mut Vec<Warning>,
) -> Result<(), CgroupError> {
    for limit in limits {
        let size = limit.page_size();
        if !is_page_size(size) {
            return Err(CgroupError::InvalidLimit {
                limit: LIMIT,
                value: size.clone(),
                problem: "the page size must look like 64KB, 2MB or 1GB",
            });
        }
        // 0 is a limit here: no huge pages of that size.
        let bound = match limit.limit() {
            0 => Bound::At(0),
            value => Bound::from_oci(LIMIT, Some(value))?.unwrap_or(Bound::Unlimited),
        };
        let (file, reserved, value) = match version {
            Version::V1 => ("limit_in_bytes", "rsvd.limit_in_bytes", bound.v1()),
            Version::V2 => ("max", "rsvd.max", bound.v2()),
        };
        match dir.write(&format!("hugetlb.{size}.{file}"), &value) {
            Err(error) if error.is_missing_file() => {
                let size = size.clone();
                return Err(CgroupError::NoSuchPageSize { size });
            }
            written => written?,
        }
        let reserved = Write {
            limit: LIMIT,
            file: Cow::Owned(format!("hugetlb.{size}.{reserved}")),
            value,
            if_missing: IfMissing::Ignore,
        };
        carry_out(dir, &[reserved], warnings)?;
    }
    Ok(())
}

fn is_page_size(size: &str) -> bool {
    let digits = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit));
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.len() < 8 && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}
