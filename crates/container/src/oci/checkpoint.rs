//! `checkpoint`: a container's processes, read out into files by CRIU.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use gamut_plan::launch::LaunchPlan;
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};

use super::criu::message::{Features, GroupsMode, Kind, Options, PageServer, Request};
use super::criu::{Act, Criu, CriuError, Streams, external, text};
use super::error::OciError;
use super::record::Status;
use super::{Force, Known, bundle, check};
use crate::cgroup::{Controller, Hierarchies};

/// What a checkpoint and a restore have in common.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// The directory of the images.
    pub path: PathBuf,
    /// The directory of CRIU's log and the like; that of the images if there is none.
    pub work: Option<PathBuf>,
    pub groups: Groups,
    pub tcp_established: bool,
    pub external_unix_sockets: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
}

/// What CRIU does about control groups; "CGroups" in its wiki.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Groups {
    /// CRIU's own choice: those that it makes get their properties.
    #[default]
    Default,
    Soft,
    Full,
    Strict,
    Ignore,
}

/// How a container is to be read out.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    pub images: Images,
    /// Earlier images of the same container, relative to the images' directory: what did not change
    /// since is left there.
    pub parent: Option<PathBuf>,
    pub after: After,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    /// Address and port of who takes the memory's pages.
    pub page_server: Option<(String, u16)>,
    /// Takes a zero byte when lazy pages can be asked for.
    pub status_fd: Option<i32>,
}

/// What becomes of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum After {
    /// It ends, and is deleted.
    #[default]
    Gone,
    /// It goes on.
    Running,
    /// It goes on, and only its memory was read out.
    MemoryOnly,
}

/// The directories of a checkpoint or a restore, open.
#[derive(Debug)]
pub(super) struct Opened {
    images: OwnedFd,
    work: Option<OwnedFd>,
    pub(super) log: PathBuf,
}

/// Which standard streams were pipes, by their names: CRIU gives what is restored the ones of the
/// restore. runc's file.
pub(super) const DESCRIPTORS: &str = "descriptors.json";

impl Opened {
    pub(super) fn tell(&self, options: &mut Options) {
        options.images_dir_fd = self.images.as_raw_fd();
        options.work_dir_fd = self.work.as_ref().map(AsRawFd::as_raw_fd);
    }
}

impl Images {
    /// `log`: the name of CRIU's log.
    pub(super) fn open(&self, log: &str) -> Result<Opened, OciError> {
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|errno| OciError::io("open the directory", path, errno.into()))
        };
        let images = open(&self.path)?;
        let work = match &self.work {
            Some(path) => {
                make_directory(path)?;
                Some(open(path)?)
            }
            None => None,
        };
        let log = self.work.as_ref().unwrap_or(&self.path).join(log);
        Ok(Opened { images, work, log })
    }

    /// What is asked of CRIU in both directions.
    pub(super) fn options(&self, log: &str, spec: &Spec) -> Options {
        let groups = match self.groups {
            Groups::Default => GroupsMode::Default,
            Groups::Soft => GroupsMode::Soft,
            Groups::Full => GroupsMode::Full,
            Groups::Strict => GroupsMode::Strict,
            Groups::Ignore => GroupsMode::Ignore,
        };
        Options {
            // Debugging: without it a failure cannot be understood.
            log_level: Some(4),
            log_file: Some(log.to_owned()),
            notify_scripts: Some(true),
            orphan_pts_master: Some(true),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(groups.into()),
            // Who gave it a network will do so again.
            empty_namespaces: u32::try_from(gamut_sys::process::namespace::NET).ok(),
            config_file: configuration(spec),
            tcp_established: Some(self.tcp_established),
            ext_unix_sk: Some(self.external_unix_sockets),
            shell_job: Some(self.shell_job),
            file_locks: Some(self.file_locks),
            auto_dedup: Some(self.auto_dedup),
            lazy_pages: Some(self.lazy_pages),
            ..Options::default()
        }
    }
}

/// The file that overrides what is asked for here: one of the container's own, none, or the one that
/// runc takes, for whoever has taken this runtime in its place.
fn configuration(spec: &Spec) -> Option<String> {
    let given = spec.annotations().as_ref();
    match given.and_then(|annotations| annotations.get("org.criu.config")) {
        Some(path) => Some(path.clone()).filter(|path| !path.is_empty()),
        None => Some("/etc/criu/runc.conf".to_owned()),
    }
}

fn make_directory(path: &Path) -> Result<(), OciError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(|error| OciError::io("make", path, error))
}

impl Known {
    /// Reads the container out, and deletes it unless it is to go on. Gives what it told.
    ///
    /// # Errors
    /// [`OciError::State`] for one that does not run; [`OciError::Criu`]. The container goes on then.
    pub fn checkpoint(&self, wanted: &Checkpoint) -> Result<Vec<String>, OciError> {
        const LOG: &str = "dump.log";
        match self.status() {
            Status::Running | Status::Paused => {}
            status => {
                let act = "checkpoint";
                return Err(OciError::State { act, status });
            }
        }
        if !check::own_mounts(&self.record.spec) {
            return Err(OciError::SharedMounts { act: "checkpoint" });
        }
        make_directory(&wanted.images.path)?;
        check_parent(wanted)?;
        let criu = Criu::find()?;
        check_features(&criu, wanted)?;
        let mut status_file = open_status(&criu, wanted.status_fd)?;
        let opened = wanted.images.open(LOG)?;
        let record = &self.record;
        let plan = bundle::plan(&record.id, record.spec.clone(), &record.cgroup, "".into());
        let mut options = wanted.images.options(LOG, &record.spec);
        opened.tell(&mut options);
        self.describe(&criu, wanted, &plan, &mut options)?;
        let kind = match wanted.after {
            After::MemoryOnly => Kind::PreDump,
            After::Gone | After::Running => Kind::Dump,
        };
        let request = Request {
            kind: kind.into(),
            options: Some(Box::new(options)),
            ..Request::default()
        };
        let act = Act {
            name: "checkpoint",
            log: &opened.log,
        };
        let (session, ()) = criu.start(Streams::None, &[], || Ok::<_, OciError>(()))?;
        session.carry_out(act, &request, |notice| {
            if notice.name == "status-ready"
                && let Some(mut file) = status_file.take()
            {
                // Who asked for it may have gone.
                let _ = file.write_all(&[0]);
            }
            Ok(())
        })?;
        match wanted.after {
            After::Gone => self.delete(Force::Yes),
            After::Running | After::MemoryOnly => Ok(Vec::new()),
        }
    }

    /// What CRIU is told of this container.
    fn describe(
        &self,
        criu: &Criu,
        wanted: &Checkpoint,
        plan: &LaunchPlan,
        options: &mut Options,
    ) -> Result<(), OciError> {
        let record = &self.record;
        options.pid = Some(record.pid);
        options.root = Some(text(record.rootfs())?);
        options.leave_running = Some(wanted.after == After::Running);
        options.tcp_skip_in_flight = Some(wanted.tcp_skip_in_flight);
        options.link_remap = Some(wanted.link_remap);
        if let Some((address, port)) = &wanted.page_server {
            options.page_server = Some(PageServer {
                address: Some(address.clone()),
                port: Some(i32::from(*port)),
            });
        }
        if let Some(parent) = &wanted.parent {
            options.parent_image = Some(text(parent)?);
            options.track_mem = Some(true);
        }
        external::name_namespaces(criu, &record.spec, options)?;
        let hierarchies = Hierarchies::discover().map_err(OciError::Cgroup)?;
        // CRIU knows of version 2's freezer since then, and stops the processes one by one else.
        if let Some(freezer) = hierarchies.find(Controller::Freezer)
            && (freezer.version == crate::cgroup::Version::V1 || criu.is_at_least(31_400))
        {
            options.freeze_cgroup = Some(freezer.absolute(&record.cgroup));
        }
        if wanted.after == After::MemoryOnly {
            return Ok(());
        }
        let path = PathBuf::from(format!("/proc/{}/root", record.pid));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|errno| OciError::io("open", &path, errno.into()))?;
        options.external_mounts = external::of_running(plan, &hierarchies, root.as_fd())?;
        let path = wanted.images.path.join(DESCRIPTORS);
        let names = serde_json::to_vec(&record.streams).unwrap_or_default();
        super::record::replace(&path, &names, 0o600)
            .map_err(|error| OciError::io("write", &path, error))
    }
}

/// The words are runc's.
fn check_parent(wanted: &Checkpoint) -> Result<(), OciError> {
    let Some(parent) = &wanted.parent else {
        return Ok(());
    };
    let refuse = |reason: &str| {
        Err(OciError::Parent {
            path: parent.clone(),
            reason: reason.to_owned(),
        })
    };
    if parent.is_absolute() {
        return refuse("it must be relative to the images");
    }
    match std::fs::metadata(wanted.images.path.join(parent)) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => refuse("it is no directory"),
        Err(error) => refuse(&error.to_string()),
    }
}

fn check_features(criu: &Criu, wanted: &Checkpoint) -> Result<(), CriuError> {
    let needs_tracking = wanted.after == After::MemoryOnly;
    if !needs_tracking && !wanted.images.lazy_pages {
        return Ok(());
    }
    let has = criu.features(Features {
        mem_track: Some(needs_tracking),
        lazy_pages: Some(wanted.images.lazy_pages),
    })?;
    let lacks = |has: Option<bool>| has != Some(true);
    if needs_tracking && lacks(has.mem_track) {
        return Err(CriuError::Lacks {
            purpose: "a pre-dump",
            feature: "mem_dirty_track",
        });
    }
    if wanted.images.lazy_pages && lacks(has.lazy_pages) {
        return Err(CriuError::Lacks {
            purpose: "lazy pages",
            feature: "uffd-noncoop",
        });
    }
    Ok(())
}

/// Opens what the caller gave as a number anew: it is not this program's to take.
fn open_status(criu: &Criu, number: Option<i32>) -> Result<Option<std::fs::File>, OciError> {
    let Some(number) = number.filter(|number| *number >= 0) else {
        return Ok(None);
    };
    criu.at_least(31_500, "a status descriptor")?;
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    let file = std::fs::File::options().write(true).open(&path);
    file.map(Some)
        .map_err(|error| OciError::io("write to the status descriptor", &path, error))
}
