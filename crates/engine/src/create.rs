//! Making a container: request → image → lease → drawing → record. Nothing runs yet.
//!
//! The directory comes first, then the row, then the plan: a directory without a row that nobody
//! holds is a leftover that the next repair removes, and a row without a plan was cut short.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::PathBuf;

use gamut_plan::draw::{self, Drawing};
use gamut_plan::launch::{Durability, FilesPlan, NetworkPlan, RootPlan, Trace};
use gamut_plan::request::{AfterExit, Isolation, NetworkMode, PodRole, RunRequest, UserNamespace};
use gamut_plan::{LaunchPlan, Level};
use gamut_spec::digest::Digest;
use gamut_spec::image::ImageConfig;
use gamut_store::db;
use gamut_store::layer::LayerRecord;
use gamut_store::snapshot::{Driver, Fresh};

use crate::client::Client;
use crate::device;
use crate::dirs::Container;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image_mounts::MergedMount;
use crate::network::{self, Addresses, LeaseOf};
use crate::{home, names, record};

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
    /// A pod that is recorded along with its infra container, which this is.
    pub pod: Option<&'a db::Pod>,
}

/// An image that a container can be made from.
#[derive(Debug, Clone)]
pub struct Source {
    /// `None`: nothing, which has no image.
    pub id: Option<Digest>,
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
        let created = self.create_quietly(request, source, options)?;
        let config = self.config_of(source)?;
        self.tell_of_made(&created, &request.image, labels(request, config));
        Ok(created)
    }

    fn create_quietly(
        &mut self,
        request: &RunRequest,
        source: &Source,
        options: CreateOptions<'_>,
    ) -> Result<Created, EngineError> {
        let stands_alone = request.requires.is_empty() && request.storage.volumes_from.is_empty();
        let request = &match stands_alone {
            true => Cow::Borrowed(request),
            false => Cow::Owned(self.with_others(request)?),
        };
        network::check(&request.network)?;
        for attachment in request
            .network
            .first()
            .iter()
            .chain(&request.network.further)
        {
            self.named_network(&NetworkMode::Named(attachment.network.clone()))?;
        }
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
        let created = self.create_quietly(request, source, options)?;
        self.forget(&created.id);
        Ok(created)
    }

    fn insert(&mut self, making: &Making<'_>, config: &ImageConfig) -> Result<String, EngineError> {
        let Making {
            request,
            source,
            level,
            id,
            options,
        } = *making;
        if let Some(name) = &request.name
            && !names::is_container_name(name)
        {
            return Err(EngineError::Name(name.clone()));
        }
        let row = |name: String| db::Container {
            id: id.to_owned(),
            name,
            image_id: source.id.clone(),
            image_ref: request.image.clone(),
            created_ns: i64::try_from(record::now_ns()).unwrap_or(i64::MAX),
            level: level.name().to_owned(),
            request: serde_json::to_string(request).unwrap_or_default(),
            labels: labels(request, config),
            auto_remove: request.after_exit == AfterExit::Remove,
            pod: request.pod.as_ref().map(|place| db::InPod {
                id: place.pod.clone(),
                name: String::new(),
                is_infra: place.role == PodRole::Infra,
            }),
        };
        let mut attempt = 0;
        loop {
            let name = request
                .name
                .clone()
                .unwrap_or_else(|| names::container_name(attempt));
            let row = row(name.clone());
            let inserted = self.store.db_mut().write(|transaction| {
                if let Some(pod) = options.pod {
                    transaction.insert_pod(pod)?;
                }
                transaction.insert_container(&row)
            });
            match inserted {
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
        let (network_plan, addresses) = self.network_of(making, config, name)?;
        let dirs = self.dirs.container(id);
        let volumes = self.behind_mounts(making.request, making.id, config, &root)?;
        let secrets = self.place_secrets(request, &dirs)?;
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
        let own_program = match request.process.init {
            true => std::env::current_exe().map_err(|source| EngineError::HostPath {
                path: "/proc/self/exe".to_owned(),
                source,
            })?,
            false => PathBuf::new(),
        };
        let drawn = draw::draw(Drawing {
            id,
            name,
            level,
            request,
            image: config,
            host: self.host(),
            hostname: &hostname,
            cgroup_parent: &self.group_parent(request)?,
            root,
            network: network_plan,
            files,
            mount_sources: volumes.sources,
            image_volumes: volumes.of_image,
            devices: device::devices(request)?,
            block_devices: device::block_devices(request)?,
            user_range: user_range(request, id),
            secrets,
            terminal_size: options.terminal_size,
            log_path: dirs.log(),
            trace: options.trace,
            own_program: &own_program,
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
        making: &Making<'_>,
        config: &ImageConfig,
        name: &str,
    ) -> Result<(NetworkPlan, Addresses), EngineError> {
        let Making {
            request, id, level, ..
        } = *making;
        Ok(match &request.network.mode {
            NetworkMode::None => (NetworkPlan::None, Addresses::default()),
            NetworkMode::Host => (NetworkPlan::Host, Addresses::default()),
            NetworkMode::Container(other) => {
                let other = self.store.db().container(other)?;
                (NetworkPlan::Container(other.id), Addresses::default())
            }
            NetworkMode::Namespace(path) => {
                (NetworkPlan::Namespace(path.clone()), Addresses::default())
            }
            NetworkMode::Pasta(options) => self.by_pasta(request, config, options)?,
            NetworkMode::Default
                if self.leads_by_pasta() && !home::wants_bridge(&request.network) =>
            {
                self.by_pasta(request, config, &[])?
            }
            NetworkMode::Default | NetworkMode::Named(_) => {
                let whose = LeaseOf::of(id, name, request);
                let bridged = self.lease_networks(&whose, request, config)?;
                let addresses =
                    network::addresses(&bridged.endpoints, bridged.egress.as_ref(), level);
                (NetworkPlan::Bridge(Box::new(bridged)), addresses)
            }
        })
    }

    /// Takes a container back: the row first, then what stands below it.
    pub(crate) fn forget(&mut self, id: &str) {
        let _ = self
            .store
            .db_mut()
            .write(|transaction| transaction.remove_container(id));
        let _ = self.store.remove_container_directory(id);
        crate::volumes::remove_nameless(&self.dirs.container(id).anonymous_volumes());
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
pub(crate) fn level(engine: &Engine, request: &RunRequest) -> Result<Level, EngineError> {
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

/// Where a container's directories are; for those who have an id.
impl Engine {
    #[must_use]
    pub fn container_dirs(&self, id: &str) -> Container {
        self.dirs.container(id)
    }
}
