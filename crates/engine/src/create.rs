//! Making a container: request → image → lease → drawing → record. Nothing runs yet.
//!
//! The directory comes first, then the row, then the plan: a directory without a row that nobody
//! holds is a leftover that the next repair removes, and a row without a plan was cut short.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use gamut_plan::draw::{self, Drawing};
use gamut_plan::launch::{Durability, FilesPlan, NetworkPlan, RootPlan, Trace};
use gamut_plan::request::{
    AfterExit, IpcNamespace, Isolation, MountSource, NetworkMode, RunRequest, Sharing,
    UserNamespace,
};
use gamut_plan::{LaunchPlan, Level};
use gamut_spec::digest::Digest;
use gamut_spec::image::ImageConfig;
use gamut_store::db;
use gamut_store::layer::LayerRecord;
use gamut_store::snapshot::{Driver, Fresh};

use crate::client::Client;
use crate::device::{self, stat};
use crate::dirs::Container;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image_mounts::MergedMount;
use crate::network::{self, Addresses, LeaseOf};
use crate::{names, record};

/// A container that has been made.
#[derive(Debug, Clone)]
pub struct Created {
    pub id: String,
    pub name: String,
    pub plan: LaunchPlan,
    pub warnings: Vec<String>,
}

/// What the front end knows and the request does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct CreateOptions<'a> {
    /// Rows and columns of the caller's terminal.
    pub terminal_size: Option<(u16, u16)>,
    pub trace: Trace,
    /// A keeper that the container is to be started by at once: it begins while the rest is drawn.
    pub keeper: Option<&'a Client>,
}

/// An image that a container can be made from.
#[derive(Debug, Clone)]
pub struct Source {
    pub id: Digest,
    pub(crate) shown: Shown,
    /// Read when it is needed: the root is not drawn from it.
    pub(crate) config: OnceCell<ImageConfig>,
}

/// What shows an image.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    /// One mount, which is there already: of the layers nothing need be known.
    Mount(MergedMount),
    /// The bottom one first.
    Layers(Vec<LayerRecord>),
}

impl Engine {
    /// Makes a container of an image that is here.
    ///
    /// # Errors
    /// Whatever is wrong with the request or the host; nothing is left behind.
    pub fn create(
        &mut self,
        request: &RunRequest,
        source: &Source,
        options: CreateOptions<'_>,
    ) -> Result<Created, EngineError> {
        network::check(&request.network)?;
        let level = level(self, request)?;
        let id = names::container_id();
        let driver = self.driver()?;
        let (drawing, layers) = match &source.shown {
            Shown::Mount(MergedMount { at, root }) => {
                (self.store.draw_over(&id, at.clone(), *root), &[][..])
            }
            Shown::Layers(layers) => {
                if driver == Driver::Copy {
                    // Nothing is mounted, which would look.
                    self.store.check_sealed_files(layers)?;
                }
                let snapshots = self.store.snapshots(driver);
                (snapshots.draw(&id, layers), &layers[..])
            }
        };
        let drawing = drawing.map_err(gamut_store::StoreError::from)?;
        let drawing = match level {
            Level::Container | Level::Sandbox => drawing,
            Level::Microvm | Level::Vm => drawing.apart(),
        };
        let lower = self.directories(&drawing.mount.lower, layers)?;
        let fresh = drawing.make().map_err(gamut_store::StoreError::from)?;
        let making = Making {
            request,
            source,
            options,
            level,
            id: &id,
        };
        let root = RootPlan {
            lower,
            upper: drawing.mount.upper,
            work: drawing.mount.work,
            durability: match request.after_exit {
                AfterExit::Remove => Durability::Volatile,
                AfterExit::Keep => Durability::Durable,
            },
        };
        let made = self.make(&making, root, fresh);
        if made.is_err() {
            self.forget(&id);
        }
        made
    }

    /// Makes the rest of a container whose directory is there, and kept from a repair by `fresh`
    /// until it has a row.
    fn make(
        &mut self,
        making: &Making<'_>,
        root: RootPlan,
        fresh: Fresh,
    ) -> Result<Created, EngineError> {
        let is_simple =
            making.level == Level::Container && making.request.namespaces.user.is_none();
        if let Some(keeper) = making.options.keeper.filter(|_| is_simple) {
            // One that is gone is noticed when it is to start the container.
            let _ = keeper.mount_root(root.clone());
        }
        let config = self.config_of(making.source)?;
        let name = self.insert(making, config)?;
        drop(fresh);
        self.furnish(making, config, &name, root)
    }

    /// What `create` would record, and nothing is: `--dry-run`. A bridge address is the one that
    /// would be next.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn plan_only(
        &mut self,
        request: &RunRequest,
        source: &Source,
        options: CreateOptions<'_>,
    ) -> Result<Created, EngineError> {
        let created = self.create(request, source, options)?;
        self.forget(&created.id);
        Ok(created)
    }

    fn insert(&mut self, making: &Making<'_>, config: &ImageConfig) -> Result<String, EngineError> {
        let Making {
            request,
            source,
            level,
            id,
            ..
        } = *making;
        if let Some(name) = &request.name
            && !names::is_container_name(name)
        {
            return Err(EngineError::Name(name.clone()));
        }
        let row = |name: String| db::Container {
            id: id.to_owned(),
            name,
            image_id: Some(source.id.clone()),
            image_ref: request.image.clone(),
            created_ns: i64::try_from(record::now_ns()).unwrap_or(i64::MAX),
            level: level.name().to_owned(),
            request: serde_json::to_string(request).unwrap_or_default(),
            labels: labels(request, config),
            auto_remove: request.after_exit == AfterExit::Remove,
        };
        let mut attempt = 0;
        loop {
            let name = request
                .name
                .clone()
                .unwrap_or_else(|| names::container_name(attempt));
            let row = row(name.clone());
            match self
                .store
                .db_mut()
                .write(|transaction| transaction.insert_container(&row))
            {
                Ok(()) => return Ok(name),
                Err(db::DbError::NameTaken { .. }) if request.name.is_none() && attempt < 20 => {
                    attempt += 1
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Everything that a recorded container needs besides its row.
    fn furnish(
        &mut self,
        making: &Making<'_>,
        config: &ImageConfig,
        name: &str,
        root: RootPlan,
    ) -> Result<Created, EngineError> {
        let Making {
            request,
            options,
            level,
            id,
            ..
        } = *making;
        let (network_plan, addresses) = self.network_of(request, config, id)?;
        let dirs = self.dirs.container(id);
        let volumes = self.volumes(making, config, &root)?;
        let other = self.network_owner(&network_plan)?;
        let hostname = hostname(self, request, id, other.as_ref());
        let (hosts, hostname_file, resolv_conf) = match other {
            Some(other) => (
                other.files.hosts,
                other.files.hostname,
                other.files.resolv_conf,
            ),
            None => network::texts(request, &hostname, &addresses),
        };
        let files = FilesPlan {
            directory: dirs.run.clone(),
            cache: self.dirs.cache(),
            hosts,
            hostname: hostname_file,
            resolv_conf,
        };
        let request = &self.with_ids(request)?;
        let drawn = draw::draw(Drawing {
            id,
            name,
            level,
            request,
            image: config,
            host: self.host(),
            hostname: &hostname,
            cgroup_parent: &self.instance().cgroup,
            root,
            network: network_plan,
            files,
            mount_sources: volumes.sources,
            image_volumes: volumes.of_image,
            devices: device::devices(request)?,
            block_devices: device::block_devices(request)?,
            user_range: user_range(request, id),
            terminal_size: options.terminal_size,
            log_path: dirs.log(),
            trace: options.trace,
            machine: self.machine(id, level, request, making.source)?,
        })?;
        record::write_plan(&dirs, &drawn.plan, |document| {
            if let Some(keeper) = options.keeper {
                keeper.show_plan(document);
            }
        })?;
        Ok(Created {
            id: id.to_owned(),
            name: name.to_owned(),
            plan: drawn.plan,
            warnings: drawn.warnings,
        })
    }

    fn network_of(
        &mut self,
        request: &RunRequest,
        config: &ImageConfig,
        id: &str,
    ) -> Result<(NetworkPlan, Addresses), EngineError> {
        Ok(match &request.network.mode {
            NetworkMode::None => (NetworkPlan::None, Addresses::default()),
            NetworkMode::Host => (NetworkPlan::Host, Addresses::default()),
            NetworkMode::Container(other) => {
                let other = self.store.db().container(other)?;
                (NetworkPlan::Container(other.id), Addresses::default())
            }
            NetworkMode::Default | NetworkMode::Named(_) => {
                let network = self.default_network()?;
                self.lease_network(
                    &LeaseOf {
                        id,
                        request,
                        image: config,
                    },
                    &network,
                )?
            }
        })
    }

    /// The plan of the container whose network is shared.
    fn network_owner(&self, network: &NetworkPlan) -> Result<Option<LaunchPlan>, EngineError> {
        match network {
            NetworkPlan::Container(id) => Ok(Some(record::read_plan(&self.dirs.container(id))?)),
            _ => Ok(None),
        }
    }

    /// The request with other containers named by their ids.
    fn with_ids(&self, request: &RunRequest) -> Result<RunRequest, EngineError> {
        let mut request = request.clone();
        let id_of = |named: &str| self.store.db().container(named).map(|c| c.id);
        let namespaces = &mut request.namespaces;
        for sharing in [
            &mut namespaces.pid,
            &mut namespaces.uts,
            &mut namespaces.cgroup,
        ] {
            if let Some(Sharing::Container(named)) = sharing {
                *named = id_of(named)?;
            }
        }
        if let Some(IpcNamespace::Container(named)) = &mut namespaces.ipc {
            *named = id_of(named)?;
        }
        Ok(request)
    }

    /// Takes a container back: the row first, then what stands below it.
    pub(crate) fn forget(&mut self, id: &str) {
        let _ = self
            .store
            .db_mut()
            .write(|transaction| transaction.remove_container(id));
        let _ = self.store.remove_container_directory(id);
        let _ = std::fs::remove_dir_all(self.dirs.container(id).anonymous_volumes());
    }
}

/// A container that is being made.
struct Making<'a> {
    request: &'a RunRequest,
    source: &'a Source,
    options: CreateOptions<'a>,
    level: Level,
    id: &'a str,
}

fn labels(
    request: &RunRequest,
    config: &ImageConfig,
) -> std::collections::BTreeMap<String, String> {
    let mut labels = config.config.labels.clone();
    labels.extend(request.labels.clone());
    labels
}

/// The level that a request gets here.
fn level(engine: &Engine, request: &RunRequest) -> Result<Level, EngineError> {
    let floor = request.min_isolation.unwrap_or(Level::Container);
    let wanted = match request.isolation {
        Isolation::Default => Level::Container.max(floor),
        Isolation::Auto => floor,
        Isolation::Level(level) => level,
    };
    if wanted < floor {
        return Err(EngineError::Level {
            wanted: wanted.to_string(),
            reason: format!("`--min-isolation {floor}` asks for more"),
        });
    }
    draw::check(wanted, request)?;
    // Looking takes a quarter of a millisecond: for the level that is nearly always there, only a
    // start that failed looks ([`Engine::start`]).
    let lack = match wanted {
        Level::Container => None,
        Level::Microvm if crate::machine::are_likely() => None,
        _ => crate::cells::lack(wanted, engine.host()),
    };
    match lack {
        None => Ok(wanted),
        Some(reason) => Err(EngineError::Level {
            wanted: wanted.to_string(),
            reason,
        }),
    }
}

fn hostname(engine: &Engine, request: &RunRequest, id: &str, other: Option<&LaunchPlan>) -> String {
    match (&request.namespaces.hostname, other) {
        (Some(name), _) => name.clone(),
        (None, Some(other)) => other.spec.hostname().clone().unwrap_or_default(),
        (None, None) if request.network.mode == NetworkMode::Host => engine.host().hostname.clone(),
        (None, None) => id.chars().take(12).collect(),
    }
}

/// 65,536 host ids for a container of its own: which of the 16,384 ranges above 2³⁰ follows from
/// its id, so that two containers rarely share one.
fn user_range(request: &RunRequest, id: &str) -> Option<(u32, u32)> {
    const IDS: u32 = 65_536;
    matches!(request.namespaces.user, Some(UserNamespace::Auto)).then(|| {
        let number = u32::from_str_radix(id.get(..4).unwrap_or("0"), 16).unwrap_or(0) % 16_384;
        ((1 << 30) + number * IDS, IDS)
    })
}

/// Directories behind the request's mounts, in their order, and behind the image's volumes.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    pub(crate) sources: Vec<Option<PathBuf>>,
    pub(crate) of_image: Vec<(PathBuf, PathBuf)>,
}

impl Engine {
    fn volumes(
        &self,
        making: &Making<'_>,
        config: &ImageConfig,
        root: &RootPlan,
    ) -> Result<Volumes, EngineError> {
        let Making { request, id, .. } = *making;
        // What shows the image: below every overlay lies a directory of the store's own, and a root that
        // is no overlay is a copy that nobody has changed yet.
        let image = match root.lower.split_last() {
            Some((_base, image)) => image,
            None => std::slice::from_ref(&root.upper),
        };
        let mut volumes = Volumes::default();
        let dirs = self.dirs.container(id);
        let mut anonymous = 0;
        let mut next = |target: &Path| -> Result<PathBuf, EngineError> {
            anonymous += 1;
            let path = dirs.anonymous_volumes().join(format!("{anonymous}/_data"));
            crate::volume::make(&path, image, target)?;
            Ok(path)
        };
        for mount in &request.storage.mounts {
            volumes.sources.push(match &mount.source {
                MountSource::Tmpfs(_) => None,
                MountSource::Bind { path, create, .. } => {
                    if *create && !path.exists() {
                        std::fs::create_dir_all(path).map_err(|source| EngineError::HostPath {
                            path: path.display().to_string(),
                            source,
                        })?;
                    }
                    stat(path)?;
                    Some(path.clone())
                }
                MountSource::Volume { name: None, .. } => Some(next(&mount.target)?),
                MountSource::Volume {
                    name: Some(name),
                    copy_image_content,
                } => {
                    let path = self.dirs.volumes().join(name).join("_data");
                    if !path.exists() {
                        let from: &[PathBuf] = if *copy_image_content { image } else { &[] };
                        crate::volume::make(&path, from, &mount.target)?;
                    }
                    Some(path)
                }
            });
        }
        for target in &config.config.volumes {
            let target = PathBuf::from(target);
            let covered = request.storage.mounts.iter().any(|m| m.target == target);
            if !covered && target.is_absolute() {
                let path = next(&target)?;
                volumes.of_image.push((target, path));
            }
        }
        Ok(volumes)
    }
}

/// Where a container's directories are; for those who have an id.
impl Engine {
    #[must_use]
    pub fn container_dirs(&self, id: &str) -> Container {
        self.dirs.container(id)
    }
}
