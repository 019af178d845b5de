//! [`Engine`]: one open store, and the directories of what runs.

use std::cell::OnceCell;

use gamut_plan::HostFacts;
use gamut_store::Store;

use crate::dirs::Dirs;
use crate::error::EngineError;

/// The library that every front end is a client of. Opening it is cheap; it holds no lock, so
/// any number of processes may each have one.
#[derive(Debug)]
pub struct Engine {
    pub(crate) dirs: Dirs,
    pub(crate) store: Store,
    host: OnceCell<HostFacts>,
}

impl Engine {
    /// Opens the engine on its two roots, making them where they are missing.
    ///
    /// # Errors
    /// [`EngineError::Store`] if they cannot be used.
    pub fn open(dirs: Dirs) -> Result<Engine, EngineError> {
        let store = Store::open(&dirs.root)?;
        Ok(Engine {
            dirs,
            store,
            host: OnceCell::new(),
        })
    }

    #[must_use]
    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    #[must_use]
    pub fn host(&self) -> &HostFacts {
        self.host.get_or_init(crate::host::facts)
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
