//! What a request asks for: [`Action`], from a path and a JSON body. Nothing is looked up and nothing is
//! changed here.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::{Endpoint, Method, Request};
use crate::model::{
    Balloon, BalloonInterval, BalloonTarget, BootSource, CpuConfig, Drive, DriveUpdate, Entropy,
    HintingStart, Instruction, InstructionKind, Logger, Machine, MachineUpdate, MemoryHotplug,
    MemoryHotplugSize, Metrics, MmdsConfig, MmdsVersion, Network, NetworkUpdate, Pmem, PmemUpdate,
    Running, RunningState, Serial, SnapshotCreate, SnapshotLoad, SnapshotLoadRequest,
    SnapshotRequestError, Vsock,
};

/// Everything that can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    GetInstance,
    GetVersion,
    GetConfig,
    GetMachine,
    GetBalloon,
    GetBalloonStatistics,
    GetHinting,
    GetMemoryHotplug,
    GetMmds,
    Start,
    SendCtrlAltDel,
    FlushMetrics,
    Pause,
    Resume,
    PutBalloon(Balloon),
    PatchBalloon(BalloonTarget),
    PatchBalloonInterval(BalloonInterval),
    StartHinting(HintingStart),
    StopHinting,
    PutBootSource(BootSource),
    PutCpuConfig(CpuConfig),
    PutDrive(Drive),
    PatchDrive(DriveUpdate),
    PutPmem(Pmem),
    PatchPmem(PmemUpdate),
    PutNetwork(Network),
    PatchNetwork(NetworkUpdate),
    /// A device is to be taken out of a running machine.
    Unplug(String),
    PutLogger(Logger),
    PutMetrics(Metrics),
    PutSerial(Serial),
    /// A `PUT` says everything, a `PATCH` some.
    UpdateMachine(MachineUpdate),
    PutMmds(Value),
    PatchMmds(Value),
    PutMmdsConfig(MmdsConfig),
    PutMemoryHotplug(MemoryHotplug),
    PatchMemoryHotplug(MemoryHotplugSize),
    PutVsock(Vsock),
    PutEntropy(Entropy),
    CreateSnapshot(SnapshotCreate),
    LoadSnapshot(SnapshotLoad),
}

/// Why a request asks for nothing. The words are Firecracker's: its clients look at them.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error("The ID cannot be empty.")]
    EmptyId,
    #[error("API Resource IDs can only contain alphanumeric characters and underscores.")]
    InvalidId,
    #[error("The id from the path does not match the id from the body!")]
    OtherId,
    #[error("The id from the path [{path}] does not match the id from the body [{body}]!")]
    OtherInterface { path: String, body: String },
    #[error("Invalid request method and/or path: {method} {path}.")]
    PathMethod { method: Method, path: String },
    #[error("Unrecognized {method} request path `{path}`.")]
    Path { method: Method, path: String },
    #[error("GET request cannot have a body.")]
    GetWithBody,
    #[error("Empty {0} request.")]
    Empty(Method),
    #[error("Empty Delete request.")]
    DeleteWithBody,
    #[error("Missing snapshot operation type.")]
    SnapshotKind,
    #[error("An error occurred when deserializing the json body of a request: {0}.")]
    Json(#[from] serde_json::Error),
    #[error("An error occurred when deserializing the json body of a request: {0}.")]
    Snapshot(#[from] SnapshotRequestError),
}

/// An action, and what its client should know of the way it asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub action: Action,
    /// What is deprecated about it.
    pub deprecation: Option<&'static str>,
}

impl Asked {
    /// How it is answered.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        match self.deprecation {
            Some(_) => Endpoint::Deprecated,
            None => Endpoint::Current,
        }
    }
}

impl From<Action> for Asked {
    fn from(action: Action) -> Self {
        Self {
            action,
            deprecation: None,
        }
    }
}

/// The first part of a path, by which requests are counted.
#[must_use]
pub fn resource(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or("")
}

/// Reads what `request` asks for.
///
/// # Errors
/// That it asks for nothing that there is, or in the wrong way.
pub fn read(request: &Request) -> Result<Asked, ActionError> {
    let mut parts = request.path.trim_start_matches('/').split_terminator('/');
    let resource = parts.next().unwrap_or("");
    let rest: Vec<&str> = parts.collect();
    match (request.method, request.body.as_deref()) {
        (Method::Get, None) => get(resource, &rest),
        (Method::Get, Some(_)) => Err(ActionError::GetWithBody),
        (Method::Put, Some(body)) => put(resource, &rest, body),
        (Method::Put, None) => Err(ActionError::Empty(Method::Put)),
        (Method::Patch, Some(body)) => patch(resource, &rest, body),
        (Method::Patch, None) if resource == "balloon" => patch_balloon(&rest, None),
        (Method::Patch, None) => Err(ActionError::Empty(Method::Patch)),
        (Method::Delete, None) => delete(resource, &rest),
        (Method::Delete, Some(_)) => Err(ActionError::DeleteWithBody),
    }
}

fn get(resource: &str, rest: &[&str]) -> Result<Asked, ActionError> {
    let action = match (resource, rest.first().copied()) {
        ("", _) => Action::GetInstance,
        ("version", _) => Action::GetVersion,
        ("vm", Some("config")) => Action::GetConfig,
        ("machine-config", _) => Action::GetMachine,
        ("mmds", _) => Action::GetMmds,
        ("hotplug", Some("memory")) => Action::GetMemoryHotplug,
        ("balloon", None) => Action::GetBalloon,
        ("balloon", Some("statistics")) => Action::GetBalloonStatistics,
        ("balloon", Some("hinting")) => match rest.get(1).copied() {
            Some("status") => Action::GetHinting,
            other => return Err(unknown_hinting(Method::Get, other)),
        },
        ("balloon", Some(path)) => return Err(unknown(Method::Get, path)),
        (resource, _) => return Err(path_method(Method::Get, resource)),
    };
    Ok(action.into())
}

fn put(resource: &str, rest: &[&str], body: &[u8]) -> Result<Asked, ActionError> {
    let second = rest.first().copied();
    let action = match (resource, second) {
        ("actions", _) => match json::<Instruction>(body)?.action_type {
            InstructionKind::FlushMetrics => Action::FlushMetrics,
            InstructionKind::InstanceStart => Action::Start,
            InstructionKind::SendCtrlAltDel => Action::SendCtrlAltDel,
        },
        ("balloon", _) => Action::PutBalloon(json(body)?),
        ("boot-source", _) => Action::PutBootSource(json(body)?),
        ("cpu-config", _) => Action::PutCpuConfig(json(body)?),
        ("drives", id) => {
            let id = checked_id(id)?;
            let drive: Drive = json(body)?;
            same_id(id, &drive.drive_id)?;
            Action::PutDrive(drive)
        }
        ("pmem", id) => {
            let id = checked_id(id)?;
            let pmem: Pmem = json(body)?;
            same_id(id, &pmem.id)?;
            Action::PutPmem(pmem)
        }
        ("network-interfaces", id) => {
            let id = checked_id(id)?;
            let network: Network = json(body)?;
            same_interface(id, &network.iface_id)?;
            Action::PutNetwork(network)
        }
        ("logger", _) => Action::PutLogger(json(body)?),
        ("serial", _) => Action::PutSerial(json(body)?),
        ("machine-config", _) => return put_machine(body),
        ("metrics", _) => Action::PutMetrics(json(body)?),
        ("mmds", None) => Action::PutMmds(json(body)?),
        ("mmds", Some("config")) => return put_mmds_config(body),
        ("mmds", Some(path)) => return Err(unknown(Method::Put, path)),
        ("snapshot", Some("create")) => Action::CreateSnapshot(json(body)?),
        ("snapshot", Some("load")) => return load_snapshot(body),
        ("snapshot", Some(kind)) => {
            return Err(path_method(Method::Put, &format!("/snapshot/{kind}")));
        }
        ("snapshot", None) => return Err(ActionError::SnapshotKind),
        ("vsock", _) => return put_vsock(body),
        ("entropy", _) => Action::PutEntropy(json(body)?),
        ("hotplug", Some("memory")) => Action::PutMemoryHotplug(json(body)?),
        (resource, _) => return Err(path_method(Method::Put, resource)),
    };
    Ok(action.into())
}

fn patch(resource: &str, rest: &[&str], body: &[u8]) -> Result<Asked, ActionError> {
    let second = rest.first().copied();
    let action = match (resource, second) {
        ("balloon", _) => return patch_balloon(rest, Some(body)),
        ("drives", id) => {
            let id = checked_id(id)?;
            let update: DriveUpdate = json(body)?;
            same_id(id, &update.drive_id)?;
            Action::PatchDrive(update)
        }
        ("pmem", id) => {
            let id = checked_id(id)?;
            let update: PmemUpdate = json(body)?;
            same_id(id, &update.id)?;
            Action::PatchPmem(update)
        }
        ("network-interfaces", id) => {
            let id = checked_id(id)?;
            let update: NetworkUpdate = json(body)?;
            same_interface(id, &update.iface_id)?;
            Action::PatchNetwork(update)
        }
        ("machine-config", _) => return patch_machine(body),
        ("mmds", _) => Action::PatchMmds(json(body)?),
        ("vm", _) => match json::<Running>(body)?.state {
            RunningState::Paused => Action::Pause,
            RunningState::Resumed => Action::Resume,
        },
        ("hotplug", Some("memory")) => Action::PatchMemoryHotplug(json(body)?),
        (resource, _) => return Err(path_method(Method::Patch, resource)),
    };
    Ok(action.into())
}

fn patch_balloon(rest: &[&str], body: Option<&[u8]>) -> Result<Asked, ActionError> {
    let action = match (rest.first().copied(), body) {
        (Some("hinting"), body) => match (rest.get(1).copied(), body) {
            (Some("start"), None) => Action::StartHinting(HintingStart {
                acknowledge_on_stop: true,
            }),
            (Some("start"), Some(body)) => Action::StartHinting(json(body)?),
            (Some("stop"), _) => Action::StopHinting,
            (other, _) => return Err(unknown_hinting(Method::Patch, other)),
        },
        (Some("statistics"), Some(body)) => Action::PatchBalloonInterval(json(body)?),
        (_, Some(body)) => Action::PatchBalloon(json(body)?),
        (_, None) => return Err(ActionError::Empty(Method::Patch)),
    };
    Ok(action.into())
}

fn delete(resource: &str, rest: &[&str]) -> Result<Asked, ActionError> {
    match resource {
        "drives" | "pmem" | "network-interfaces" => {
            let id = checked_id(rest.first().copied())?;
            Ok(Action::Unplug(id.to_owned()).into())
        }
        other => Err(path_method(Method::Delete, other)),
    }
}

fn put_machine(body: &[u8]) -> Result<Asked, ActionError> {
    let machine: Machine = json(body)?;
    let is_deprecated = machine.cpu_template.is_some();
    Ok(Asked {
        action: Action::UpdateMachine(machine.into()),
        deprecation: is_deprecated
            .then_some("PUT /machine-config: cpu_template field is deprecated."),
    })
}

fn patch_machine(body: &[u8]) -> Result<Asked, ActionError> {
    let update: MachineUpdate = json(body)?;
    if update == MachineUpdate::default() {
        return Err(ActionError::Empty(Method::Patch));
    }
    let is_deprecated = update.cpu_template.is_some();
    Ok(Asked {
        action: Action::UpdateMachine(update),
        deprecation: is_deprecated
            .then_some("PATCH /machine-config: cpu_template field is deprecated."),
    })
}

fn put_mmds_config(body: &[u8]) -> Result<Asked, ActionError> {
    let config: MmdsConfig = json(body)?;
    let is_deprecated = config.version == MmdsVersion::V1;
    Ok(Asked {
        action: Action::PutMmdsConfig(config),
        deprecation: is_deprecated.then_some("PUT /mmds/config: V1 is deprecated. Use V2 instead."),
    })
}

fn put_vsock(body: &[u8]) -> Result<Asked, ActionError> {
    let vsock: Vsock = json(body)?;
    let is_deprecated = vsock.vsock_id.is_some();
    Ok(Asked {
        action: Action::PutVsock(vsock),
        deprecation: is_deprecated.then_some("PUT /vsock: vsock_id field is deprecated."),
    })
}

fn load_snapshot(body: &[u8]) -> Result<Asked, ActionError> {
    let request: SnapshotLoadRequest = json(body)?;
    let is_deprecated = request.has_deprecated_fields();
    Ok(Asked {
        action: Action::LoadSnapshot(request.try_into()?),
        deprecation: is_deprecated.then_some(
            "PUT /snapshot/load: mem_file_path and enable_diff_snapshots fields are deprecated.",
        ),
    })
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ActionError> {
    Ok(serde_json::from_slice(body)?)
}

fn checked_id(id: Option<&str>) -> Result<&str, ActionError> {
    match id {
        None | Some("") => Err(ActionError::EmptyId),
        Some(id) if id.chars().all(|c| c == '_' || c.is_alphanumeric()) => Ok(id),
        Some(_) => Err(ActionError::InvalidId),
    }
}

fn same_id(path: &str, body: &str) -> Result<(), ActionError> {
    if path == body {
        Ok(())
    } else {
        Err(ActionError::OtherId)
    }
}

fn same_interface(path: &str, body: &str) -> Result<(), ActionError> {
    if path == body {
        return Ok(());
    }
    Err(ActionError::OtherInterface {
        path: path.to_owned(),
        body: body.to_owned(),
    })
}

fn path_method(method: Method, path: &str) -> ActionError {
    ActionError::PathMethod {
        method,
        path: path.to_owned(),
    }
}

fn unknown(method: Method, path: &str) -> ActionError {
    ActionError::Path {
        method,
        path: path.to_owned(),
    }
}

fn unknown_hinting(method: Method, path: Option<&str>) -> ActionError {
    unknown(method, &format!("/hinting/{}", path.unwrap_or_default()))
}
