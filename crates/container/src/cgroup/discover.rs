//! Which cgroup hierarchies this host has, where they are mounted and what each controls.
//!
//! Two small files of /proc tell it all (cgroups(7), proc_pid_mountinfo(5)); the result is plain
//! data that can be kept and passed on.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode as FileMode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::controller::{Controller, ControllerSet};
use super::error::CgroupError;

/// How the host shares its controllers out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Only version 1 hierarchies.
    V1,
    /// Version 1 hierarchies with controllers, and a version 2 mount beside them.
    Hybrid,
    /// Only the version 2 hierarchy.
    V2,
}

/// The interface of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    pub version: Version,
    /// Where it is mounted, absolute, without a slash at the end.
    pub mount_point: String,
    /// Below `mount_point`, the group under which groups of ours are made: empty for whoever may
    /// write at the top, else this process's own group, as a path such as `/user.slice/a.scope`.
    pub base: String,
    /// v1: what is attached to it; v2: what may be enabled below `base`.
    pub controllers: ControllerSet,
}

impl Hierarchy {
    /// The absolute path of the group `path`.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let separator = if path.is_empty() { "" } else { "/" };
        format!("{}{}{separator}{path}", self.mount_point, self.base)
    }
}

/// The hierarchies of this host as this process sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchies {
    pub mode: Mode,
    /// Those with controllers, version 2 last. A v1 hierarchy with a name only is left out.
    pub mounted: Vec<Hierarchy>,
    pub extent: Extent,
}

/// How much of the hierarchies is this process's to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    All,
    /// What was delegated to this user, if anything.
    Delegated,
}

impl Hierarchies {
    /// Looks at this host.
    ///
    /// # Errors
    /// [`CgroupError::NotMounted`], or a file of /proc that cannot be read.
    pub fn discover() -> Result<Self, CgroupError> {
        let mountinfo = read_file("/proc/self/mountinfo")?;
        let mut found = Self::parse(&mountinfo, "")?;
        // Root may use all of a hierarchy, if it is the host's; others what was delegated to them.
        let first = found.mounted.first();
        let all = rustix::process::geteuid().is_root()
            && first.is_some_and(|first| writable(&first.mount_point));
        if !all {
            found = Self::parse(&mountinfo, &read_file("/proc/self/cgroup")?)?;
            found.extent = Extent::Delegated;
        }
        for hierarchy in &mut found.mounted {
            if !all {
                hierarchy.base = delegated(hierarchy);
            }
            if hierarchy.version == Version::V2 {
                let path = format!("{}/cgroup.controllers", hierarchy.absolute(""));
                hierarchy.controllers = ControllerSet::from_v2_names(&read_file(&path)?);
            }
        }
        Ok(found)
    }

    /// Which version the controllers of limits are of.
    #[must_use]
    pub fn limits_version(&self) -> Version {
        match self.mode {
            Mode::V2 => Version::V2,
            Mode::V1 | Mode::Hybrid => Version::V1,
        }
    }

    /// The same for groups that somebody else places: paths are those of the whole hierarchies.
    #[must_use]
    pub fn from_the_top(mut self) -> Self {
        for hierarchy in &mut self.mounted {
            hierarchy.base.clear();
        }
        self
    }

    /// Forgets v2's controllers that the group `path` was not given: who may not enable them has to
    /// do without. A group that is not there changes nothing.
    #[must_use]
    pub fn as_given_to(mut self, path: &str) -> Self {
        for hierarchy in &mut self.mounted {
            let file = format!("{}/cgroup.controllers", hierarchy.absolute(path));
            if hierarchy.version == Version::V2
                && let Ok(names) = read_file(&file)
            {
                hierarchy.controllers = ControllerSet::from_v2_names(&names);
            }
        }
        self
    }

    /// The same with each group that this process is in as the base.
    pub(crate) fn own_groups(self) -> Self {
        let own = read_file("/proc/self/cgroup");
        let mountinfo = read_file("/proc/self/mountinfo");
        match (own, mountinfo) {
            (Ok(own), Ok(mountinfo)) => Hierarchies {
                extent: Extent::Delegated,
                ..Self::parse(&mountinfo, &own).unwrap_or(self)
            },
            _ => self,
        }
    }

    /// Looks for a group that is this user's on the way to the absolute path `path`: where there is one,
    /// the group of that path is meant, and not one below this process's own.
    pub(crate) fn reach(&mut self, path: &str) {
        for hierarchy in &mut self.mounted {
            let top = Path::new(&hierarchy.mount_point);
            let wanted = top.join(path);
            let mut above = wanted.ancestors().take_while(|at| *at != top);
            let Some(found) = above.find(|at| at.exists()).and_then(Path::to_str) else {
                continue;
            };
            if !writable(found) {
                continue;
            }
            if hierarchy.version == Version::V2
                && let Ok(names) = read_file(&format!("{found}/cgroup.controllers"))
            {
                hierarchy.controllers = ControllerSet::from_v2_names(&names);
            }
            hierarchy.base.clear();
        }
    }

    /// A host whose only hierarchy is version 2, mounted (or imitated) at `mount_point`, with
    /// these controllers.
    pub fn unified_at(mount_point: &str, controllers: ControllerSet) -> Self {
        Self {
            mode: Mode::V2,
            mounted: vec![Hierarchy {
                version: Version::V2,
                mount_point: mount_point.to_owned(),
                base: String::new(),
                controllers,
            }],
            extent: Extent::All,
        }
    }

    /// Reads the text of `/proc/self/mountinfo` and `/proc/self/cgroup`. `base` is this process's
    /// own group in each hierarchy; v2's controllers stand in another file.
    fn parse(mountinfo: &str, own: &str) -> Result<Self, CgroupError> {
        let mut mounted: Vec<Hierarchy> = Vec::with_capacity(12);
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            let controllers = match mount.version {
                Version::V1 => ControllerSet::from_v1_names(mount.options),
                Version::V2 => ControllerSet::NONE,
            };
            if mount.version == Version::V1 && controllers.is_empty() {
                continue;
            }
            let seen = mounted.iter().any(|hierarchy| {
                hierarchy.version == mount.version && hierarchy.controllers == controllers
            });
            if !seen {
                mounted.push(Hierarchy {
                    version: mount.version,
                    base: mount.own_group(own, controllers),
                    mount_point: unescape(mount.mount_point),
                    controllers,
                });
            }
        }
        mounted.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
        let mode = match (mounted.first(), mounted.last()) {
            (None, _) | (_, None) => return Err(CgroupError::NotMounted),
            (Some(first), _) if first.version == Version::V2 => Mode::V2,
            (_, Some(last)) if last.version == Version::V2 => Mode::Hybrid,
            _ => Mode::V1,
        };
        Ok(Self {
            mode,
            mounted,
            extent: Extent::All,
        })
    }

    /// Which hierarchy does `controller`'s work: the v1 one that has it, else v2 where it is.
    pub fn find(&self, controller: Controller) -> Option<&Hierarchy> {
        self.index_of(controller).map(|index| &self.mounted[index])
    }

    pub(super) fn index_of(&self, controller: Controller) -> Option<usize> {
        let here = |hierarchy: &Hierarchy| {
            hierarchy.controllers.contains(controller)
                || (hierarchy.version == Version::V2 && controller.in_v2_core())
        };
        self.mounted.iter().position(here)
    }
}

/// The fields of one line of mountinfo that matter here.
struct Mount<'a> {
    version: Version,
    /// Which group of the hierarchy is mounted.
    root: &'a str,
    mount_point: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu`
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let version = match after.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = after.nth(1)?;
        let mut before = before.split(' ').skip(3);
        Some(Self {
            version,
            root: before.next()?,
            mount_point: before.next()?,
            options,
        })
    }

    /// This process's group, as a path below the mount point; empty where it cannot be seen.
    /// A line of /proc/self/cgroup is `4:cpu,cpuacct:/path` or, for v2, `0::/path`.
    fn own_group(&self, own: &str, controllers: ControllerSet) -> String {
        let path = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (names, path) = rest.split_once(':')?;
            let same = match self.version {
                Version::V1 => {
                    !names.is_empty() && ControllerSet::from_v1_names(names) == controllers
                }
                Version::V2 => line.starts_with("0::"),
            };
            same.then_some(path)
        });
        let root = if self.root == "/" { "" } else { self.root };
        match path.and_then(|path| path.strip_prefix(root)) {
            Some(below) if below.starts_with('/') && below != "/" && !below.contains("/..") => {
                below.to_owned()
            }
            _ => String::new(),
        }
    }
}

/// mountinfo writes space, tab, newline and backslash as three octal digits after a backslash.
fn unescape(field: &str) -> String {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = field.get(at + 1..at + 4);
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (bytes[at], code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                at += 4;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Where a user without privileges may make groups, if anywhere. On v2 a group with processes, as this
/// one's own is, shares no controllers out; the one above it can, where that was delegated, too.
fn delegated(hierarchy: &Hierarchy) -> String {
    let own = &hierarchy.base;
    let above = match hierarchy.version {
        Version::V1 => None,
        Version::V2 => own.rsplit_once('/').map(|(above, _)| above),
    };
    let mut candidates = [Some(""), above].into_iter().flatten();
    let at = |base: &&str| writable(&format!("{}{base}", hierarchy.mount_point));
    candidates.find(at).unwrap_or(own).to_owned()
}

fn writable(path: &str) -> bool {
    rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn read_file(path: &str) -> Result<String, CgroupError> {
    let read = || -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, FileMode::empty())?;
        let mut bytes = Vec::with_capacity(8192);
        while rustix::io::retry_on_intr(|| {
            rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes))
        })? > 0
        {
            bytes.reserve(4096);
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(errno) => Err(CgroupError::Read {
            path: path.to_owned(),
            errno,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn joined_v1_controllers_are_one_hierarchy() {
        let own = "9:name=systemd:/\n5:memory:/a/b\n4:cpu,cpuacct:/\n";
        let found = Hierarchies::parse(V1, own).expect("v1");
        assert_eq!(found.mode, Mode::V1);
        assert_eq!(found.mounted.len(), 2);
        assert_eq!(
            found.index_of(Controller::Cpu),
            found.index_of(Controller::Cpuacct)
        );
        let memory = found.find(Controller::Memory).expect("memory");
        assert_eq!(memory.base, "/a/b");
        assert_eq!(memory.absolute("x/y"), "/sys/fs/cgroup/memory/a/b/x/y");
        assert_eq!(found.find(Controller::Freezer), None);
    }

    #[test]
    fn hybrid_puts_v2_last_and_uses_it_for_what_v1_lacks() {
        let both = format!("{V2}{V1}");
        let mut found = Hierarchies::parse(&both, "0::/\n").expect("hybrid");
        assert_eq!(found.mode, Mode::Hybrid);
        found.mounted[2].controllers.insert(Controller::Hugetlb);
        assert_eq!(found.index_of(Controller::Hugetlb), Some(2));
        assert_eq!(found.index_of(Controller::Freezer), Some(2));
        assert_eq!(found.index_of(Controller::Memory), Some(1));
    }

    #[test]
    fn pure_v2_knows_its_own_group() {
        let found = Hierarchies::parse(V2, "0::/user.slice/x.scope\n").expect("v2");
        assert_eq!(found.mode, Mode::V2);
        assert_eq!(found.mounted[0].base, "/user.slice/x.scope");
    }

    #[test]
    fn the_mounted_part_is_taken_off_the_own_path() {
        let inside = V2.replace(" / /sys", " /docker/abc /sys");
        let found = Hierarchies::parse(&inside, "0::/docker/abc/init\n").expect("v2");
        assert_eq!(found.mounted[0].base, "/init");
        let found = Hierarchies::parse(&inside, "0::/docker/abc\n").expect("v2");
        assert_eq!(found.mounted[0].base, "");
        let outside = V2.replace(" / /sys", " /../other /sys");
        let found = Hierarchies::parse(&outside, "0::/\n").expect("v2");
        assert_eq!(found.mounted[0].base, "");
    }

    #[test]
    fn nothing_mounted_is_said() {
        let none = "31 23 0:28 / /sys rw - sysfs sysfs rw\n";
        assert!(matches!(
            Hierarchies::parse(none, "0::/\n"),
            Err(CgroupError::NotMounted)
        ));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(unescape(r"/mnt/ä\0"), r"/mnt/ä\0");
    }

    #[test]
    fn this_host_is_readable_and_survives_json() {
        let found = match Hierarchies::discover() {
            Ok(found) => found,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        let json = serde_json::to_string(&found).expect("plain data");
        let back: Hierarchies = serde_json::from_str(&json).expect("what was just written");
        assert_eq!(back, found);
    }
}
