//! What the engine's operations fail with.

use gamut_plan::draw::DrawError;
use gamut_registry::RegistryError;
use gamut_registry::auth::AuthError;
use gamut_spec::{Fault, Kind};
use gamut_store::StoreError;
use gamut_store::db::DbError;
use thiserror::Error;

use crate::client::ClientError;
use crate::logs::LogError;
use crate::pull::PullError;
use crate::record::RecordError;

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
    Registry(#[from] RegistryError),
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
    #[error("`{flag}` is not supported yet")]
    NotYet { flag: &'static str },
    #[error("there is no network `{0}`")]
    NoNetwork(String),
    #[error("the default network has no names, and so no aliases")]
    Alias,
    #[error("{0}")]
    Subnet(#[from] gamut_net::subnet::SubnetError),
}

impl EngineError {
    fn fault(&self) -> Option<&dyn Fault> {
        Some(match self {
            EngineError::Store(e) => e,
            EngineError::Record(e) => e,
            EngineError::Client(e) => e,
            EngineError::Draw(e) => e,
            EngineError::Pull(e) => e.as_ref(),
            EngineError::Registry(e) => e,
            EngineError::Auth(e) => e,
            EngineError::Log(e) => e,
            EngineError::Network(e) => e,
            EngineError::Reference(e) => e,
            EngineError::Image(e) => e,
            EngineError::Subnet(e) => e,
            _ => return None,
        })
    }
}

impl From<PullError> for EngineError {
    fn from(error: PullError) -> Self {
        EngineError::Pull(Box::new(error))
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
            EngineError::NoImage(_) | EngineError::NoContainer(_) | EngineError::NoNetwork(_) => {
                Kind::NotFound
            }
            EngineError::Running { .. }
            | EngineError::NotRunning { .. }
            | EngineError::RunsAlready { .. }
            | EngineError::Busy { .. } => Kind::Conflict,
            EngineError::Level { .. } => Kind::HostLacks,
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
            EngineError::Alias => Some("leave `--network-alias` out".into()),
            EngineError::Level { .. } => Some("`gamut doctor` says what each level needs".into()),
            EngineError::HostPath { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Some("make it first, or check the path".into())
            }
            _ => self.fault().and_then(Fault::hint),
        }
    }
}
