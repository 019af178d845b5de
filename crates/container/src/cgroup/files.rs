//! Every limit of a group as the kernel shows it, for `explain`.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::controller::Controller;
use super::dir::Dir;
use super::discover::Version;
use super::error::CgroupError;
use super::group::Cgroup;

/// One limit file with its value, and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitFile {
    pub controller: Controller,
    /// Absolute.
    pub path: String,
    /// As the file says it; several lines where it has them.
    pub value: String,
    /// What the file beside it that counts says.
    pub used: Option<String>,
}

/// A controller's limit file and the file that shows the use.
type Row = (Controller, &'static str, Option<&'static str>);

const V1: [Row; 24] = [
    (
        Controller::Memory,
        "memory.limit_in_bytes",
        Some("memory.usage_in_bytes"),
    ),
    (
        Controller::Memory,
        "memory.memsw.limit_in_bytes",
        Some("memory.memsw.usage_in_bytes"),
    ),
    (Controller::Memory, "memory.soft_limit_in_bytes", None),
    (Controller::Memory, "memory.swappiness", None),
    (Controller::Memory, "memory.oom_control", None),
    (Controller::Cpu, "cpu.shares", None),
    (Controller::Cpu, "cpu.cfs_quota_us", None),
    (Controller::Cpu, "cpu.cfs_period_us", None),
    (Controller::Cpu, "cpu.cfs_burst_us", None),
    (Controller::Cpu, "cpu.idle", None),
    (Controller::Cpuacct, "cpuacct.usage", None),
    (Controller::Cpuset, "cpuset.cpus", None),
    (Controller::Cpuset, "cpuset.mems", None),
    (Controller::Pids, "pids.max", Some("pids.current")),
    (Controller::Block, "blkio.bfq.weight", None),
    (Controller::Block, "blkio.weight", None),
    (Controller::Block, "blkio.throttle.read_bps_device", None),
    (Controller::Block, "blkio.throttle.write_bps_device", None),
    (Controller::Block, "blkio.throttle.read_iops_device", None),
    (Controller::Block, "blkio.throttle.write_iops_device", None),
    (Controller::Devices, "devices.list", None),
    (Controller::Freezer, "freezer.state", None),
    (Controller::NetCls, "net_cls.classid", None),
    (Controller::NetPrio, "net_prio.ifpriomap", None),
];

const V2: [Row; 17] = [
    (Controller::Memory, "memory.max", Some("memory.current")),
    (Controller::Memory, "memory.high", None),
    (Controller::Memory, "memory.low", None),
    (
        Controller::Memory,
        "memory.swap.max",
        Some("memory.swap.current"),
    ),
    (Controller::Memory, "memory.oom.group", None),
    (Controller::Cpu, "cpu.weight", None),
    (Controller::Cpu, "cpu.max", None),
    (Controller::Cpu, "cpu.max.burst", None),
    (Controller::Cpu, "cpu.idle", None),
    (
        Controller::Cpuset,
        "cpuset.cpus",
        Some("cpuset.cpus.effective"),
    ),
    (
        Controller::Cpuset,
        "cpuset.mems",
        Some("cpuset.mems.effective"),
    ),
    (Controller::Pids, "pids.max", Some("pids.current")),
    (Controller::Block, "io.max", None),
    (Controller::Block, "io.weight", None),
    (Controller::Block, "io.bfq.weight", None),
    (Controller::Rdma, "rdma.max", Some("rdma.current")),
    (Controller::Freezer, "cgroup.freeze", None),
];

impl Cgroup {
    /// The limit files of every group there is, in a fixed order. On v2 the number of attached
    /// device programs stands for the device rules.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub fn files(&self) -> Result<Vec<LimitFile>, CgroupError> {
        let mut files = Vec::new();
        for (version, table) in [(Version::V1, &V1[..]), (Version::V2, &V2[..])] {
            for &(controller, file, used) in table {
                match self.dir(controller)? {
                    Some((at, dir)) if at == version => {
                        files.extend(limit_file(dir, controller, file, used)?);
                    }
                    _ => {}
                }
            }
        }
        if let Some((version, dir)) = self.dir(Controller::Hugetlb)? {
            files.append(&mut huge_pages(dir, version)?);
        }
        if let Some((Version::V2, dir)) = self.dir(Controller::Devices)?
            && let Ok(programs) = gamut_sys::bpf::attached_device_programs(dir.fd())
        {
            files.push(LimitFile {
                controller: Controller::Devices,
                path: dir.path().to_owned(),
                value: format!("{} eBPF program(s) {programs:?}", programs.len()),
                used: None,
            });
        }
        Ok(files)
    }
}

fn limit_file(
    dir: &Dir,
    controller: Controller,
    file: &str,
    used: Option<&str>,
) -> Result<Option<LimitFile>, CgroupError> {
    let Some(value) = read_if_there(dir, file)? else {
        return Ok(None);
    };
    let used = match used {
        Some(used) => read_if_there(dir, used)?,
        None => None,
    };
    Ok(Some(LimitFile {
        controller,
        path: format!("{}/{file}", dir.path()),
        value,
        used,
    }))
}

fn read_if_there(dir: &Dir, file: &str) -> Result<Option<String>, CgroupError> {
    match dir.read_all(file) {
        Ok(text) => Ok(Some(text.trim_ascii_end().to_owned())),
        Err(CgroupError::Read {
            errno: Errno::NOENT | Errno::OPNOTSUPP,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The page sizes of the host, by the names the controller gives them.
fn huge_pages(dir: &Dir, version: Version) -> Result<Vec<LimitFile>, CgroupError> {
    let (limit, usage) = match version {
        Version::V1 => ("limit_in_bytes", "usage_in_bytes"),
        Version::V2 => ("max", "current"),
    };
    let mut files = Vec::new();
    for size in [
        "64KB", "1MB", "2MB", "16MB", "32MB", "512MB", "1GB", "2GB", "16GB",
    ] {
        let (file, used) = (
            format!("hugetlb.{size}.{limit}"),
            format!("hugetlb.{size}.{usage}"),
        );
        files.extend(limit_file(dir, Controller::Hugetlb, &file, Some(&used))?);
    }
    Ok(files)
}
