//! Classes of cache and memory bandwidth of a processor, by the resctrl file system: `linux.intelRdt`.
//! Runtime specification 1.3, "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst.
//!
//! A class (CLOS) is a directory of that file system, with the files `tasks` and `schemata`; a monitoring
//! group is a directory in the class's `mon_groups`. Whose class has no name gets one of its own, named
//! like the container, which goes with it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gamut_plan::cell::StartError;
use oci_spec::runtime::LinuxIntelRdt;
use serde::{Deserialize, Serialize};

/// What of it is a container's: kept with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resctrl {
    /// The directory of the class, absolute.
    class: PathBuf,
    /// Whether the class is the container's own, and goes with it.
    own: bool,
    /// The directory of its monitoring group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor: Option<PathBuf>,
}

/// Whether what is asked for can be meant.
pub(crate) fn check(rdt: &LinuxIntelRdt) -> Result<(), String> {
    let class = rdt.clos_id().as_deref().unwrap_or_default();
    if matches!(class, "." | "..") || (class.len() > 1 && class.contains('/')) {
        return Err(format!("invalid intelRdt.closID {class:?}"));
    }
    let bandwidth = rdt.mem_bw_schema().as_deref().unwrap_or_default();
    if !bandwidth.is_empty() && !bandwidth.starts_with("MB:") {
        return Err(format!(
            "intelRdt.memBwSchema {bandwidth:?} does not begin with `MB:`"
        ));
    }
    let lines = lines(rdt);
    match lines.iter().find(|line| line.contains('\n')) {
        Some(line) => Err(format!("intelRdt: the schema {line:?} is more than a line")),
        None => Ok(()),
    }
}

/// What is written to `schemata`: "l3CacheSchema first and memBwSchema last", and `schemata` after both.
fn lines(rdt: &LinuxIntelRdt) -> Vec<&str> {
    let both = [rdt.l3_cache_schema(), rdt.mem_bw_schema()].into_iter();
    let both = both.flatten().map(String::as_str);
    let more = rdt.schemata().iter().flatten().map(String::as_str);
    both.chain(more).filter(|line| !line.is_empty()).collect()
}

/// Where a resctrl is mounted: proc_pid_mountinfo(5).
fn root() -> Result<PathBuf, StartError> {
    let listed = std::fs::read_to_string("/proc/self/mountinfo");
    let listed = listed.map_err(|error| crate::launch::io_failed("read the mounts", &error))?;
    mounted(&listed).ok_or_else(|| StartError::Request {
        message:
            "intelRdt is specified in config, but Intel RDT is not enabled: no resctrl is mounted"
                .into(),
        hint: Some(
            "where the processor and the kernel have it: mount -t resctrl resctrl /sys/fs/resctrl"
                .into(),
        ),
    })
}

fn mounted(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        (system.split(' ').next() == Some("resctrl"))
            .then(|| mount.split(' ').nth(4))
            .flatten()
            .map(PathBuf::from)
    })
}

impl Resctrl {
    /// What a container is to have, and nothing made of it yet.
    ///
    /// # Errors
    /// No resctrl; a class that should be there and is not, or has another schema.
    pub(crate) fn of(rdt: &LinuxIntelRdt, id: &str) -> Result<Resctrl, StartError> {
        Resctrl::below(&root()?, rdt, id)
    }

    fn below(root: &Path, rdt: &LinuxIntelRdt, id: &str) -> Result<Resctrl, StartError> {
        let named = rdt.clos_id().as_deref().filter(|name| !name.is_empty());
        let class = match named {
            None => root.join(id),
            Some("/") => root.to_owned(),
            Some(name) => root.join(name),
        };
        let there = class.is_dir();
        if there && named.is_some() {
            compare(&class, rdt)?;
        } else if !there && named.is_some() && lines(rdt).is_empty() {
            return Err(StartError::Request {
                message: format!("intelRdt: there is no class {}", class.display()),
                hint: Some("make it before, or give the schema that it is to be made with".into()),
            });
        }
        let monitors = *rdt.enable_monitoring() == Some(true);
        Ok(Resctrl {
            monitor: monitors.then(|| class.join("mon_groups").join(id)),
            own: named.is_none() && !there,
            class,
        })
    }

    /// Makes it, and puts a process there.
    ///
    /// # Errors
    /// What the kernel refuses, in its words where it gives any. Nothing is left behind.
    pub(crate) fn enter(&self, rdt: &LinuxIntelRdt, pid: i32) -> Result<Entered, StartError> {
        let mut entered = Entered::default();
        entered.make(&self.class)?;
        let lines = lines(rdt);
        if !lines.is_empty() {
            let text = lines.join("\n") + "\n";
            self.write(&self.class.join("schemata"), &text)?;
        }
        self.write(&self.class.join("tasks"), &pid.to_string())?;
        if let Some(monitor) = &self.monitor {
            entered.make(monitor)?;
            self.write(&monitor.join("tasks"), &pid.to_string())?;
        }
        Ok(entered)
    }

    fn write(&self, file: &Path, text: &str) -> Result<(), StartError> {
        std::fs::write(file, text).map_err(|error| {
            // Its file says which part of a schema is wrong.
            let status = self
                .class
                .ancestors()
                .map(|above| above.join("info/last_cmd_status"));
            let said = status
                .take(2)
                .find_map(|path| std::fs::read_to_string(path).ok());
            let said = said.filter(|said| said.trim() != "ok");
            StartError::Step {
                step: format!("write {:?} to {}", text.trim_end(), file.display()),
                reason: match said {
                    Some(said) => format!("{error}: {}", said.trim()),
                    None => error.to_string(),
                },
                hint: None,
            }
        })
    }

    /// The directory of its class.
    pub(crate) fn class(&self) -> &Path {
        &self.class
    }

    /// Takes away what is the container's own. What is gone is gone.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        let own = self.own.then_some(&self.class);
        for directory in self.monitor.iter().chain(own) {
            match std::fs::remove_dir(directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Directories that were made, taken away again unless they are kept.
#[derive(Debug, Default)]
pub(crate) struct Entered {
    made: Vec<PathBuf>,
}

impl Entered {
    fn make(&mut self, path: &Path) -> Result<(), StartError> {
        match std::fs::create_dir(path) {
            Ok(()) => self.made.push(path.to_owned()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(StartError::Step {
                    step: format!("make {}", path.display()),
                    reason: error.to_string(),
                    hint: (error.kind() == ErrorKind::StorageFull)
                        .then(|| "the processor has no more classes or monitors".into()),
                });
            }
        }
        Ok(())
    }

    /// They are the container's, or whoever's the class is.
    pub(crate) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// A class that is there has the schema that is asked for, in whatever way that is written.
fn compare(class: &Path, rdt: &LinuxIntelRdt) -> Result<(), StartError> {
    let asked = [rdt.l3_cache_schema(), rdt.mem_bw_schema()].into_iter();
    let asked: Vec<_> = asked.flatten().filter(|line| !line.is_empty()).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let file = class.join("schemata");
    let there = std::fs::read_to_string(&file)
        .map_err(|error| crate::launch::io_failed("read the schema of a class", &error))?;
    let there: BTreeMap<_, _> = there.lines().filter_map(schema).collect();
    for line in asked {
        let same = schema(line).is_some_and(|(resource, domains)| {
            let known = there.get(resource);
            known.is_some_and(|known| {
                domains
                    .iter()
                    .all(|(at, value)| known.get(at) == Some(value))
            })
        });
        if !same {
            return Err(StartError::Conflict {
                message: format!(
                    "intelRdt: {} has another schema than {line:?}",
                    class.display()
                ),
                hint: Some("leave the schema out, or name another class".into()),
            });
        }
    }
    Ok(())
}

/// `L3:0=7f0;1=1f`: the resource, and a value for each domain. As the kernel reads it: without regard to
/// zeroes in front, and to the order.
fn schema(line: &str) -> Option<(&str, BTreeMap<u32, &str>)> {
    let (resource, domains) = line.split_once(':')?;
    let domains = domains.split(';').map(|domain| {
        let (at, value) = domain.split_once('=')?;
        let value = value.trim().trim_start_matches('0');
        Some((at.trim().parse().ok()?, value))
    });
    Some((resource.trim(), domains.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rdt(value: serde_json::Value) -> LinuxIntelRdt {
        serde_json::from_value(value).unwrap()
    }

    /// A directory in place of the kernel's, which makes no files by itself.
    fn fake() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("gold/mon_groups")).unwrap();
        std::fs::write(
            root.path().join("gold/schemata"),
            "    MB:0=100;1=100\n    L3:0=00f;1=ff\n",
        )
        .unwrap();
        root
    }

    #[test]
    fn the_mount_is_found() {
        let listed = "36 35 0:30 / /sys rw - sysfs sysfs rw\n40 36 0:33 / /sys/fs/resctrl rw shared:9 - resctrl resctrl rw\n";
        assert_eq!(mounted(listed), Some("/sys/fs/resctrl".into()));
        assert_eq!(
            mounted("36 35 0:30 / /resctrl rw - sysfs resctrl rw\n"),
            None
        );
    }

    #[test]
    fn a_class_of_its_own_goes_with_the_container() {
        let root = fake();
        let wanted = rdt(
            json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=f"]}),
        );
        let made = Resctrl::below(root.path(), &wanted, "c").unwrap();
        assert!(
            !root.path().join("c").exists(),
            "nothing is made before it is written down"
        );
        made.enter(&wanted, 42).unwrap().keep();
        let read = |file: &str| std::fs::read_to_string(root.path().join(file)).unwrap();
        assert_eq!(read("c/schemata"), "L3:0=f\nMB:0=20\nL2:0=f\n");
        assert_eq!(read("c/tasks"), "42");
        for file in ["c/schemata", "c/tasks"] {
            std::fs::remove_file(root.path().join(file)).unwrap();
        }
        made.remove().unwrap();
        made.remove().unwrap();
        assert!(!root.path().join("c").exists());
        std::fs::create_dir(root.path().join("d")).unwrap();
        let others = Resctrl::below(root.path(), &wanted, "d").unwrap();
        others.remove().unwrap();
        assert!(root.path().join("d").exists(), "it was somebody else's");
    }

    #[test]
    fn a_named_class_is_joined_and_stays() {
        let root = fake();
        let wanted = rdt(
            json!({"closID": "gold", "l3CacheSchema": "L3:1=ff;0=f", "enableMonitoring": true}),
        );
        let made = Resctrl::below(root.path(), &wanted, "c").unwrap();
        made.enter(&wanted, 42).unwrap().keep();
        let group = root.path().join("gold/mon_groups/c");
        assert_eq!(std::fs::read_to_string(group.join("tasks")).unwrap(), "42");
        std::fs::remove_file(group.join("tasks")).unwrap();
        made.remove().unwrap();
        assert!(!group.exists() && root.path().join("gold").exists());
        let whole = Resctrl::below(root.path(), &rdt(json!({"closID": "/"})), "c").unwrap();
        assert_eq!((whole.class.as_path(), whole.own), (root.path(), false));
        for (asked, words) in [
            (
                json!({"closID": "gold", "l3CacheSchema": "L3:0=1"}),
                "another schema",
            ),
            (
                json!({"closID": "gold", "memBwSchema": "MB:7=1"}),
                "another schema",
            ),
            (json!({"closID": "nosuch"}), "no class"),
        ] {
            let error = Resctrl::below(root.path(), &rdt(asked), "c").unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            json!({"closID": ".."}),
            json!({"closID": "a/b"}),
            json!({"memBwSchema": "L3:0=1"}),
            json!({"schemata": ["a\nb"]}),
        ] {
            assert!(check(&rdt(wrong.clone())).is_err(), "{wrong}");
        }
        assert!(check(&rdt(json!({"closID": "/"}))).is_ok());
    }
}
