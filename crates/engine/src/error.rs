//! What the engine's operations fail with.

use std::path::PathBuf;

use gamut_plan::draw::DrawError;
use gamut_registry::auth::AuthError;
use gamut_registry::{DownloadError, RegistryError};
use gamut_spec::image::change::ChangeError;
use gamut_spec::{Fault, Kind};
use gamut_store::StoreError;
use gamut_store::db::DbError;
use gamut_store::lazy::LazyError;
use gamut_store::reproduce::ReproduceError;
use gamut_store::tar::TarError;
use gamut_trust::TrustError;
use thiserror::Error;

use crate::client::ClientError;
use crate::cp::CopyError;
use crate::kernel::KernelError;
use crate::lazy_index::IndexError;
use crate::lists::ListError;
use crate::load::LoadError;
use crate::logs::LogError;
use crate::network::NetworksError;
use crate::pull::PullError;
use crate::push::PushError;
use crate::record::RecordError;
use crate::registries::RegistriesError;
use crate::save::SaveError;

#[derive(Debug, Error)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Draw(#[from] DrawError),
    #[error(transparent)]
    Pull(Box<PullError>),
    #[error(transparent)]
    Push(Box<PushError>),
    #[error(transparent)]
    Index(Box<IndexError>),
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Trust(Box<TrustError>),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Network(#[from] gamut_net::NetworkError),
    #[error("{0}")]
    Reference(#[from] gamut_spec::reference::ReferenceError),
    #[error("{0}")]
    Image(#[from] gamut_spec::image::ImageError),
    #[error("no such image: {0}")]
    NoImage(String),
    #[error("no such container: {0}")]
    NoContainer(String),
    #[error("invalid container name `{0}`")]
    Name(String),
    #[error(transparent)]
    Volume(#[from] crate::volumes::VolumeError),
    #[error(transparent)]
    Secret(#[from] crate::secrets::SecretError),
    #[error(transparent)]
    Pod(#[from] crate::pods::PodError),
    #[error(transparent)]
    Asked(#[from] gamut_plan::request::RequestError),
    #[error(transparent)]
    Group(#[from] gamut_container::cgroup::CgroupError),
    #[error("what was asked for when the container was made cannot be read: {0}")]
    Request(String),
    #[error("the container {name} is running")]
    Running { name: String },
    #[error("the container {name} is not running")]
    NotRunning { name: String },
    #[error("the container {name} is running already")]
    RunsAlready { name: String },
    #[error("the container {name} is being removed or started by another command")]
    Busy { name: String },
    #[error("cannot use {path}: {source}")]
    HostPath {
        path: String,
        source: std::io::Error,
    },
    #[error("{path} is not {what}")]
    NotDevice { path: String, what: &'static str },
    #[error("isolation `{wanted}` cannot be had here: {reason}")]
    Level { wanted: String, reason: String },
    #[error("the storage driver `{driver}` cannot be had here: {reason}")]
    StorageDriver {
        driver: &'static str,
        /// The best that can be had.
        best: &'static str,
        reason: String,
    },
    #[error("layers cannot be compressed with `{compression}` here: {reason}")]
    Compression { compression: String, reason: String },
    #[error("the storage option `{option}` cannot be had here: {reason}")]
    StorageOption {
        option: &'static str,
        reason: String,
    },
    #[error("cannot mount the image {}: {errno}", file.display())]
    ImageMount {
        file: PathBuf,
        errno: rustix::io::Errno,
    },
    #[error("the process that fills layers: {0}")]
    Filler(String),
    #[error("reads of a layer that is not whole cannot be held up here: {0}")]
    NoWatch(rustix::io::Errno),
    #[error(transparent)]
    Lazy(Box<LazyError>),
    #[error("`{flag}` is not supported yet")]
    NotYet { flag: &'static str },
    #[error("there is no network `{0}`")]
    NoNetwork(String),
    #[error("only networks of your own have names, and so aliases")]
    Alias,
    #[error(transparent)]
    Kernel(Box<KernelError>),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Load(Box<LoadError>),
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(transparent)]
    Reproduce(#[from] ReproduceError),
    #[error("{0}")]
    Change(#[from] ChangeError),
    #[error("the image {image} has lost its layer {layer}")]
    LayerLost { image: String, layer: String },
    #[error("the image {image} did not come with an attestation like `{kind}`")]
    NoAttestation {
        image: String,
        kind: String,
        /// What those that it came with state.
        there: Vec<String>,
    },
    #[error("{0}")]
    Subnet(#[from] gamut_net::subnet::SubnetError),
    #[error(transparent)]
    Networks(#[from] NetworksError),
}

impl EngineError {
    fn fault(&self) -> Option<&dyn Fault> {
        Some(match self {
            EngineError::Store(e) => e,
            EngineError::Record(e) => e,
            EngineError::Client(e) => e,
            EngineError::Draw(e) => e,
            EngineError::Pull(e) => e.as_ref(),
            EngineError::Push(e) => e.as_ref(),
            EngineError::Index(e) => e.as_ref(),
            EngineError::List(e) => e,
            EngineError::Registries(e) => e,
            EngineError::Registry(e) => e,
            EngineError::Download(e) => e,
            EngineError::Trust(e) => e.as_ref(),
            EngineError::Auth(e) => e,
            EngineError::Log(e) => e,
            EngineError::Network(e) => e,
            EngineError::Group(e) => e,
            EngineError::Volume(e) => e,
            EngineError::Secret(e) => e,
            EngineError::Pod(e) => e,
            EngineError::Asked(e) => e,
            EngineError::Reference(e) => e,
            EngineError::Image(e) => e,
            EngineError::Kernel(e) => e.as_ref(),
            EngineError::Copy(e) => e,
            EngineError::Load(e) => e.as_ref(),
            EngineError::Save(e) => e,
            EngineError::Tar(e) => e,
            EngineError::Reproduce(e) => e,
            EngineError::Change(e) => e,
            EngineError::Lazy(e) => e.as_ref(),
            EngineError::Subnet(e) => e,
            EngineError::Networks(e) => e,
            _ => return None,
        })
    }
}

impl From<PullError> for EngineError {
    fn from(error: PullError) -> Self {
        EngineError::Pull(Box::new(error))
    }
}

impl From<KernelError> for EngineError {
    fn from(error: KernelError) -> Self {
        EngineError::Kernel(Box::new(error))
    }
}

impl From<PushError> for EngineError {
    fn from(error: PushError) -> Self {
        EngineError::Push(Box::new(error))
    }
}

impl From<IndexError> for EngineError {
    fn from(error: IndexError) -> Self {
        EngineError::Index(Box::new(error))
    }
}

impl From<TrustError> for EngineError {
    fn from(error: TrustError) -> Self {
        EngineError::Trust(Box::new(error))
    }
}

impl From<LoadError> for EngineError {
    fn from(error: LoadError) -> Self {
        EngineError::Load(Box::new(error))
    }
}

impl From<LazyError> for EngineError {
    fn from(error: LazyError) -> Self {
        EngineError::Lazy(Box::new(error))
    }
}

impl From<DbError> for EngineError {
    fn from(error: DbError) -> Self {
        EngineError::Store(error.into())
    }
}

impl Fault for EngineError {
    fn kind(&self) -> Kind {
        match self {
            EngineError::NoImage(_)
            | EngineError::NoContainer(_)
            | EngineError::NoNetwork(_)
            | EngineError::NoAttestation { .. } => Kind::NotFound,
            EngineError::Running { .. }
            | EngineError::NotRunning { .. }
            | EngineError::RunsAlready { .. }
            | EngineError::Busy { .. } => Kind::Conflict,
            EngineError::Request(_) => Kind::Bug,
            EngineError::Level { .. }
            | EngineError::StorageDriver { .. }
            | EngineError::Compression { .. }
            | EngineError::StorageOption { .. }
            | EngineError::ImageMount { .. }
            | EngineError::NoWatch(_) => Kind::HostLacks,
            EngineError::LayerLost { .. } | EngineError::Filler(_) => Kind::Unavailable,
            _ => self.fault().map_or(Kind::Invalid, Fault::kind),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            EngineError::NoImage(name) => Some(format!("get it with `gamut pull {name}`")),
            EngineError::Name(_) => Some(
                "a name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit"
                    .into(),
            ),
            EngineError::NotRunning { name } => Some(format!("start it with `gamut start {name}`")),
            EngineError::Running { .. } => Some("stop it first, or use `-f`".into()),
            EngineError::LayerLost { .. } => {
                Some("remove the image with `-f` and pull or load it again".into())
            }
            EngineError::NoAttestation { there, .. } if !there.is_empty() => {
                Some(format!("it came with {}", there.join(", ")))
            }
            EngineError::NoAttestation { .. } => Some(
                "`gamut image referrers` lists what the registry has; a pull keeps what is small".into(),
            ),
            EngineError::NoNetwork(_) => Some("`gamut network ls` lists what there is".into()),
            EngineError::Alias => Some(
                "make a network with `gamut network create NAME`, and run with `--network NAME`".into(),
            ),
            EngineError::Level { .. } => Some("`gamut doctor` says what each level needs".into()),
            EngineError::StorageDriver { best, .. } => Some(format!(
                "use `--storage-driver {best}`; `gamut doctor` says what each needs"
            )),
            EngineError::Compression { .. } => Some(
                "use `--storage-opt erofs.compression=none`; `gamut doctor` says what each needs"
                    .into(),
            ),
            EngineError::StorageOption { .. } => Some(
                "`erofs.verity=auto` does without it where it must; `fs` needs the driver erofs and a \
                 file system with fs-verity, such as ext4 made with `-O verity`, `dm` the device mapper"
                    .into(),
            ),
            EngineError::ImageMount {
                errno: rustix::io::Errno::OPNOTSUPP,
                ..
            } => Some(
                "its layers may be compressed as this kernel cannot read them: remove the image, and pull \
                 it again with `--storage-opt erofs.compression=none`"
                    .into(),
            ),
            EngineError::ImageMount {
                errno: rustix::io::Errno::NOENT,
                ..
            } => Some("a layer is missing: remove the image and pull it again".into()),
            EngineError::ImageMount { .. } => Some(
                "remove the image and pull it again; if that does not help, with `--storage-driver overlay`"
                    .into(),
            ),
            EngineError::HostPath { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Some("make it first, or check the path".into())
            }
            _ => self.fault().and_then(Fault::hint),
        }
    }
}
