//! What is done about an action: before the machine is started, while it runs, and never both. The rules are
//! Firecracker's (`src/vmm/src/rpc_interface.rs` of its repository).

use std::os::fd::BorrowedFd;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::action::Action;
use crate::log::{Log, Module};
use crate::machine::{Backend, Machine, Outcome};
use crate::metrics::{Metrics, Sections};
use crate::mmds::{Mmds, MmdsError};
use crate::model::{
    CpuConfigOrPath, FullConfig, HugePages, InstanceInfo, InstanceState, IoEngine, Level, Logger,
};
use crate::resources::Resources;
use crate::resources::error::{ControlError, DeviceError, StartError};
use crate::{API_VERSION, APPLICATION};

const SNAPSHOTS: &str = "snapshots";

/// One instance: its parts, then its machine.
#[derive(Debug)]
pub struct Controller {
    instance: String,
    resources: Resources,
    backend: Box<dyn Backend>,
    running: Option<Running>,
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
}

#[derive(Debug)]
struct Running {
    machine: Box<dyn Machine>,
    state: InstanceState,
}

/// A success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Empty,
    /// JSON.
    Document(String),
}

impl Reply {
    fn of(document: &impl Serialize) -> Self {
        // What is given here has text as keys only, and no serializer of its own that fails.
        Self::Document(serde_json::to_string(document).unwrap_or_default())
    }
}

impl Controller {
    /// An instance of a name, without anything yet.
    #[must_use]
    pub fn new(instance: &str, backend: Box<dyn Backend>, mmds_bytes_max: usize) -> Self {
        Self {
            instance: instance.to_owned(),
            resources: Resources::new(instance, mmds_bytes_max),
            backend,
            running: None,
            log: Log::new(instance),
            metrics: Metrics::new(instance),
        }
    }

    /// Does what is asked for.
    ///
    /// # Errors
    /// Why not.
    pub fn handle(&mut self, action: Action) -> Result<Reply, ControlError> {
        match action {
            Action::GetInstance => Ok(Reply::of(&self.info())),
            Action::GetVersion => {
                let version = serde_json::json!({ "firecracker_version": API_VERSION });
                Ok(Reply::of(&version))
            }
            Action::GetConfig => Ok(Reply::of(&self.resources.config())),
            Action::GetMachine => Ok(Reply::of(self.resources.machine())),
            action if self.running.is_none() => self.before(action),
            action => self.after(action),
        }
    }

    fn info(&self) -> InstanceInfo {
        let running = self.running.as_ref();
        InstanceInfo {
            id: self.instance.clone(),
            state: running.map_or(InstanceState::NotStarted, |running| running.state),
            vmm_version: API_VERSION,
            app_name: APPLICATION,
        }
    }

    /// Before the start: the machine's parts are collected.
    fn before(&mut self, action: Action) -> Result<Reply, ControlError> {
        match action {
            Action::PutLogger(logger) => self.configure_log(logger)?,
            Action::PutMetrics(metrics) => self.metrics.configure(metrics)?,
            Action::PutSerial(serial) => self.resources.set_serial(serial)?,
            Action::PutBootSource(source) => self.resources.set_boot(source)?,
            Action::PutCpuConfig(config) => self.resources.set_cpu_config(&config)?,
            Action::UpdateMachine(update) => self.resources.update_machine(&update)?,
            Action::PutDrive(drive) => {
                if drive.io_engine == Some(IoEngine::Async) {
                    self.warn("The Async IO engine is not there: the drive uses the Sync one.");
                }
                self.resources.set_drive(drive)?;
            }
            Action::PutNetwork(network) => {
                self.resources.set_network(self.backend.as_ref(), network)?;
            }
            Action::PutPmem(pmem) => self.resources.set_pmem(pmem)?,
            Action::PutVsock(vsock) => self.resources.set_vsock(vsock)?,
            Action::PutBalloon(balloon) => self.resources.set_balloon(balloon)?,
            Action::PutEntropy(entropy) => self.resources.set_entropy(entropy),
            Action::PutMemoryHotplug(memory) => self.resources.set_memory_hotplug(&memory)?,
            Action::PutMmdsConfig(config) => self.resources.set_mmds_config(config)?,
            Action::PutMmds(document) => put_mmds(&mut *self.resources.mmds()?, document)?,
            Action::PatchMmds(patch) => patch_mmds(&mut *self.resources.mmds()?, &patch)?,
            Action::GetMmds => return Ok(document(&*self.resources.mmds()?)),
            Action::GetBalloon => {
                let balloon = self.resources.balloon();
                let balloon = balloon.ok_or(crate::resources::error::BalloonError::None)?;
                return Ok(Reply::of(balloon));
            }
            Action::Start => self.start()?,
            Action::LoadSnapshot(_) => return Err(ControlError::NotSupported(SNAPSHOTS)),
            _ => return Err(ControlError::PreBoot),
        }
        Ok(Reply::Empty)
    }

    /// After the start: a machine is told what to do.
    fn after(&mut self, action: Action) -> Result<Reply, ControlError> {
        let Some(running) = &mut self.running else {
            return Err(ControlError::PreBoot);
        };
        let machine = running.machine.as_mut();
        let resources = &mut self.resources;
        match action {
            Action::Pause => self.pause()?,
            Action::Resume => self.resume()?,
            Action::SendCtrlAltDel => machine.send_ctrl_alt_del().map_err(internal)?,
            Action::FlushMetrics => {
                let written = self.write_metrics();
                written.map_err(DeviceError::Metrics)?;
            }
            Action::PatchDrive(update) => resources.update_drive(machine, update)?,
            Action::PatchNetwork(update) => resources.update_network(machine, &update)?,
            Action::PatchPmem(_) => {
                return Err(ControlError::NotSupported(
                    "a rate limiter of a pmem device",
                ));
            }
            Action::GetMmds => return Ok(document(&*resources.reachable_mmds()?)),
            Action::PutMmds(document) => put_mmds(&mut *resources.reachable_mmds()?, document)?,
            Action::PatchMmds(patch) => patch_mmds(&mut *resources.reachable_mmds()?, &patch)?,
            Action::GetMemoryHotplug => return Err(DeviceError::NotFound.into()),
            Action::PatchMemoryHotplug(_) => {
                return Err(ControlError::MemoryHotplugUpdate(DeviceError::NotFound));
            }
            Action::CreateSnapshot(_) => return Err(ControlError::NotSupported(SNAPSHOTS)),
            // To be plugged into a running machine, a device has to be on a bus that says so.
            Action::PutDrive(_)
            | Action::PutPmem(_)
            | Action::PutNetwork(_)
            | Action::Unplug(_) => {
                return Err(ControlError::NoPci);
            }
            Action::GetBalloon
            | Action::GetBalloonStatistics
            | Action::GetHinting
            | Action::PatchBalloon(_)
            | Action::PatchBalloonInterval(_)
            | Action::StartHinting(_)
            | Action::StopHinting => return balloon(resources, machine, action),
            _ => return Err(ControlError::PostBoot),
        }
        Ok(Reply::Empty)
    }

    fn start(&mut self) -> Result<(), ControlError> {
        self.warn_of_wishes();
        let blueprint = self.resources.blueprint()?;
        let started = self.backend.start(blueprint).map_err(StartError::Machine)?;
        self.running = Some(Running {
            machine: started,
            state: InstanceState::Running,
        });
        self.log.line(Level::Info, Module::Vmm, "The machine runs.");
        // The first line tells what the start was like; a machine does not fail for it.
        let _ = self.write_metrics();
        Ok(())
    }

    /// What is taken, and makes no difference here.
    fn warn_of_wishes(&mut self) {
        let machine = self.resources.machine();
        let wishes = [
            (
                machine.huge_pages == HugePages::Transparent,
                "Transparent huge pages are not asked for: the guest's memory has 4 KiB pages.",
            ),
            (
                machine.smt,
                "The guest does not see which processors share a core.",
            ),
            (
                machine.track_dirty_pages,
                "Dirty pages are not tracked: there are no snapshots.",
            ),
        ];
        for (_, text) in wishes.into_iter().filter(|(is_wished, _)| *is_wished) {
            self.warn(text);
        }
    }

    fn pause(&mut self) -> Result<(), ControlError> {
        let began = Instant::now();
        if let Some(running) = &mut self.running {
            running.machine.pause().map_err(internal)?;
            running.state = InstanceState::Paused;
            self.metrics.took("pause_vm", began.elapsed());
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), ControlError> {
        let began = Instant::now();
        if let Some(running) = &mut self.running {
            running.machine.resume().map_err(internal)?;
            running.state = InstanceState::Running;
            self.metrics.took("resume_vm", began.elapsed());
        }
        Ok(())
    }

    fn configure_log(&mut self, logger: Logger) -> Result<(), ControlError> {
        self.log.configure(logger).map_err(ControlError::Logger)
    }

    fn warn(&mut self, text: &str) {
        self.log.line(Level::Warn, Module::Vmm, text);
    }

    /// Configures all of it from one document, and starts the machine; `--config-file`.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn configure(
        &mut self,
        config: FullConfig,
        metadata: Option<Value>,
    ) -> Result<(), ControlError> {
        // In Firecracker's order, so that the same mistake is found first.
        let mut actions = Vec::new();
        actions.extend(config.logger.map(Action::PutLogger));
        actions.extend(config.metrics.map(Action::PutMetrics));
        actions.extend(
            config
                .machine_config
                .map(|machine| Action::UpdateMachine(machine.into())),
        );
        match config.cpu_config {
            Some(CpuConfigOrPath::Template(template)) => {
                actions.push(Action::PutCpuConfig(template))
            }
            Some(CpuConfigOrPath::Path(_)) => {
                return Err(ControlError::NotSupported("custom CPU templates"));
            }
            None => {}
        }
        actions.push(Action::PutBootSource(config.boot_source));
        actions.extend(config.drives.into_iter().map(Action::PutDrive));
        actions.extend(
            config
                .network_interfaces
                .into_iter()
                .map(Action::PutNetwork),
        );
        actions.extend(config.vsock.map(Action::PutVsock));
        actions.extend(config.balloon.map(Action::PutBalloon));
        actions.extend(metadata.map(Action::PutMmds));
        actions.extend(config.mmds_config.map(Action::PutMmdsConfig));
        actions.extend(config.entropy.map(Action::PutEntropy));
        actions.extend(config.pmem.into_iter().map(Action::PutPmem));
        actions.extend(config.memory_hotplug.map(Action::PutMemoryHotplug));
        actions.push(Action::Start);
        for action in actions {
            self.handle(action)?;
        }
        Ok(())
    }

    /// Writes a line of metrics, if somebody wants them.
    pub(crate) fn write_metrics(&mut self) -> std::io::Result<()> {
        let mut devices = Sections::new();
        if let Some(running) = &mut self.running {
            for (name, numbers) in running.machine.counters() {
                devices.insert(name, numbers.into_iter().collect());
            }
        }
        self.metrics.write(&devices)
    }

    /// Readable when the machine has ended.
    pub(crate) fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.machine.ended())
    }

    /// How the machine ended, if it did.
    pub(crate) fn outcome(&mut self) -> Option<Outcome> {
        self.running.as_mut()?.machine.outcome()
    }
}

fn internal(error: crate::machine::MachineError) -> ControlError {
    ControlError::Internal(error.into())
}

/// What is asked of a running machine's balloon.
fn balloon(
    resources: &mut Resources,
    machine: &mut dyn Machine,
    action: Action,
) -> Result<Reply, ControlError> {
    let memory_mib = resources.machine().mem_size_mib;
    let is_question = matches!(action, Action::GetBalloon | Action::GetBalloonStatistics);
    let Some(balloon) = resources.balloon_mut() else {
        return Err(match is_question {
            true => ControlError::Internal(DeviceError::NotFound),
            false => ControlError::BalloonUpdate(DeviceError::NotFound),
        });
    };
    let failed = |error: crate::machine::MachineError| ControlError::BalloonUpdate(error.into());
    match action {
        Action::GetBalloon => return Ok(Reply::of(balloon)),
        Action::GetBalloonStatistics if balloon.stats_polling_interval_s == 0 => {
            return Err(DeviceError::StatisticsDisabled.into());
        }
        Action::GetBalloonStatistics => {
            return Ok(Reply::of(&machine.balloon_statistics().map_err(internal)?));
        }
        Action::PatchBalloon(target) => {
            if target.amount_mib > memory_mib {
                let error = DeviceError::BalloonTooLarge(memory_mib);
                return Err(ControlError::BalloonUpdate(error));
            }
            machine.set_balloon(target.amount_mib).map_err(failed)?;
            balloon.amount_mib = target.amount_mib;
        }
        Action::PatchBalloonInterval(interval) => {
            let interval_s = interval.stats_polling_interval_s;
            if (interval_s == 0) != (balloon.stats_polling_interval_s == 0) {
                return Err(ControlError::BalloonUpdate(DeviceError::StatisticsChange));
            }
            machine.set_balloon_interval(interval_s).map_err(failed)?;
            balloon.stats_polling_interval_s = interval_s;
        }
        _ => return Err(ControlError::BalloonUpdate(DeviceError::HintingDisabled)),
    }
    Ok(Reply::Empty)
}

fn put_mmds(mmds: &mut Mmds, document: Value) -> Result<(), ControlError> {
    mmds.put(document).map_err(of_mmds)
}

fn patch_mmds(mmds: &mut Mmds, patch: &Value) -> Result<(), ControlError> {
    mmds.patch(patch).map_err(of_mmds)
}

fn of_mmds(error: MmdsError) -> ControlError {
    match error {
        MmdsError::TooLarge => ControlError::MmdsLimit(error),
        other => ControlError::Mmds(other),
    }
}

fn document(mmds: &Mmds) -> Reply {
    match mmds.document() {
        Value::Null => Reply::Document("{}".to_owned()),
        document => Reply::of(document),
    }
}
