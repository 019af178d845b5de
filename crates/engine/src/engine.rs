//! [`Engine`]: one open store, and the directories of what runs.

use std::cell::{OnceCell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use gamut_plan::HostFacts;
use gamut_store::Store;
use gamut_store::snapshot::Driver;

use crate::dirs::Dirs;
use crate::error::EngineError;
use crate::storage::Storage;
use crate::summary::Images;

/// The library that every front end is a client of. Opening it is cheap; it holds no lock, so
/// any number of processes may each have one.
#[derive(Debug)]
pub struct Engine {
    pub(crate) dirs: Dirs,
    pub(crate) store: Store,
    host: OnceCell<HostFacts>,
    /// The storage driver that was asked for.
    pub(crate) driver: Option<Driver>,
    pub(crate) storage: OnceCell<Storage>,
    /// The policy that images are held against, if it is not this host's.
    pub(crate) policy: Option<PathBuf>,
    /// What has readers of layers that are not whole wait, once any is used ([`crate::filler`]).
    guard: OnceCell<OwnedFd>,
    pub(crate) images_seen: RefCell<Images>,
}

impl Engine {
    /// Opens the engine on its two roots, making them where they are missing.
    ///
    /// # Errors
    /// [`EngineError::Store`] if they cannot be used.
    pub fn open(dirs: Dirs) -> Result<Engine, EngineError> {
        crate::home::settle();
        let store = Store::open(&dirs.root)?;
        Ok(Engine {
            dirs,
            store,
            host: OnceCell::new(),
            driver: None,
            storage: OnceCell::new(),
            policy: None,
            guard: OnceCell::new(),
            images_seen: RefCell::default(),
        })
    }

    /// Holds images against another policy than this host's.
    pub fn set_policy(&mut self, path: Option<PathBuf>) {
        self.policy = path;
    }

    #[must_use]
    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    #[must_use]
    pub fn host(&self) -> &HostFacts {
        self.host.get_or_init(crate::host::facts)
    }

    /// Has layers that are not whole watched and filled from now on, for as long as this engine is
    /// there, and as whoever it starts is.
    ///
    /// # Errors
    /// [`EngineError::Filler`].
    pub(crate) fn guard_layers(&self) -> Result<(), EngineError> {
        let group = crate::filler::client::serve(&self.dirs)?;
        // A group that is held is never replaced by another.
        let _ = self.guard.set(group);
        Ok(())
    }

    /// To be held by whatever this engine starts.
    pub(crate) fn guard(&self) -> Option<BorrowedFd<'_>> {
        self.guard.get().map(AsFd::as_fd)
    }

    /// What keeps this engine's bridges, rules and cgroups apart from those of another root.
    #[must_use]
    pub fn instance(&self) -> Instance {
        Instance::of(&self.dirs)
    }
}

/// Names that are this engine's alone on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Parent of the containers' cgroups: `gamut`, or `gamut-` and eight digits for other roots.
    pub cgroup: String,
    /// The default network's bridge and the nftables table.
    pub bridge: String,
}

impl Instance {
    #[must_use]
    pub fn of(dirs: &Dirs) -> Instance {
        if dirs.root == std::path::Path::new(gamut_store::DEFAULT_ROOT) {
            return Instance {
                cgroup: "gamut".into(),
                bridge: "gamut0".into(),
            };
        }
        // FNV-1a: stable between builds, and no more than a name.
        let digest = dirs
            .root
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let digits = format!("{:08x}", (digest ^ (digest >> 32)) & 0xffff_ffff);
        Instance {
            cgroup: format!("gamut-{digits}"),
            bridge: format!("gm-{digits}"),
        }
    }
}
