//! `gamut pod create`.

use std::path::PathBuf;
use std::process::ExitCode;

use gamut_engine::pods::NewPod;
use gamut_engine::{Engine, Force};
use gamut_plan::request::{
    Bound, Device, ExitPolicy, Limits, PodRequest, RestartPolicy, RunRequest, Sharing, VolumesFrom,
};
use gamut_spec::{Fault, Kind};

use crate::args::Context;
use crate::cidfile::Cidfile;
use crate::command::run::print_line;
use crate::convert::{
    Cpus, MountArg, NumberSet, Share, parse_cpu_set, parse_cpus, parse_device, parse_label,
    parse_memory, parse_memory_bound, parse_node_set, parse_restart, parse_share, parse_sharing,
    parse_size, parse_sysctl, parse_volume, parse_volumes_from,
};
use crate::error::Failure;
use crate::fetch;
use crate::registry_args::RegistryArgs;
use crate::workload::{NetworkArgs, Surroundings, labels, mount};

/// Make a pod without starting it
///
/// Ports, addresses and the host name are the pod's, not those of the containers in it.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Name of the pod, as a flag
    #[arg(
        short = 'n',
        long = "name",
        value_name = "NAME",
        conflicts_with = "name"
    )]
    pub name_flag: Option<String>,

    /// Remove a pod of the same name first, with what runs in it
    #[arg(long)]
    pub replace: bool,

    /// Write the pod's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub pod_id_file: Option<PathBuf>,

    /// Label as KEY=VALUE
    #[arg(short, long = "label", value_name = "LABEL", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// File with a label on each line
    #[arg(long = "label-file", value_name = "FILE")]
    pub label_files: Vec<PathBuf>,

    /// Which namespaces the containers share: cgroup, ipc, net, pid, uts; none; with a + before it, besides
    /// ipc, net and uts
    #[arg(long, value_name = "NAMESPACES", value_parser = parse_share, allow_hyphen_values = true)]
    pub share: Option<Share>,

    /// Have the containers' control groups below the pod's
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub share_parent: bool,

    /// Have an infra container, which holds the shared namespaces
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub infra: bool,

    /// Name of the infra container
    #[arg(long, value_name = "NAME")]
    pub infra_name: Option<String>,

    /// Image of the infra container, in place of none
    #[arg(long, value_name = "IMAGE")]
    pub infra_image: Option<String>,

    /// What the infra container runs of its image
    #[arg(long, value_name = "COMMAND", requires = "infra_image")]
    pub infra_command: Option<String>,

    /// When to start its containers again, unless they say so themselves: no, on-failure[:COUNT],
    /// on-unhealthy[:COUNT], always or unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = parse_restart)]
    pub restart: Option<RestartPolicy>,

    /// What becomes of the infra container when nobody else runs any more: it continues, or it stops
    #[arg(long, value_enum, default_value = "continue", value_name = "POLICY")]
    pub exit_policy: ExitPolicyArg,

    /// Host name inside; the pod's name unless said otherwise
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Process namespace of the infra container: private, host, container:NAME or ns:PATH; the others share it
    /// with --share pid
    #[arg(long, value_name = "MODE", value_parser = parse_sharing)]
    pub pid: Option<Sharing>,

    /// UTS namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", value_parser = parse_sharing)]
    pub uts: Option<Sharing>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub shm_size: Option<u64>,

    /// Kernel setting of the shared namespaces, as NAME=VALUE
    #[arg(long = "sysctl", value_name = "SETTING", value_parser = parse_sysctl)]
    pub sysctls: Vec<(String, String)>,

    /// Mount a host path or a volume into every container, as [SOURCE:]TARGET[:ro]
    #[arg(short, long = "volume", value_name = "VOLUME", value_parser = parse_volume)]
    pub volumes: Vec<MountArg>,

    /// Mount what another container has mounted into every one, as CONTAINER[:ro]
    #[arg(long = "volumes-from", value_name = "CONTAINER", value_parser = parse_volumes_from)]
    pub volumes_from: Vec<VolumesFrom>,

    /// Device of the host for every container, as /dev/HOST[:/dev/INSIDE][:rwm]
    #[arg(long = "device", value_name = "DEVICE", value_parser = parse_device)]
    pub devices: Vec<Device>,

    #[command(flatten)]
    pub limits: PodLimits,

    #[command(flatten)]
    pub network: NetworkArgs,

    #[command(flatten)]
    pub registry: RegistryArgs,

    /// Name of the pod; one is made up if it is not given
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// `--exit-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExitPolicyArg {
    Continue,
    Stop,
}

/// What all containers of a pod may use together.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits of all containers together")]
pub struct PodLimits {
    /// Memory limit, such as 512m
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,

    /// Memory and swap together; -1 for as much swap as there is
    #[arg(long, value_name = "SIZE", value_parser = parse_memory_bound, allow_hyphen_values = true)]
    pub memory_swap: Option<Bound>,

    /// Number of CPUs, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    pub cpus: Option<Cpus>,

    /// CPU weight against other pods and containers; 1024 is usual
    #[arg(short, long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,

    /// CPUs to run on, such as 0-3,5
    #[arg(long, value_name = "CPUS", value_parser = parse_cpu_set)]
    pub cpuset_cpus: Option<NumberSet>,

    /// Memory nodes to use
    #[arg(long, value_name = "NODES", value_parser = parse_node_set)]
    pub cpuset_mems: Option<NumberSet>,

    /// Weight of block I/O, 10 to 1000; 0 for none
    #[arg(long, value_name = "WEIGHT", value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub blkio_weight: Option<u16>,
}

impl PodLimits {
    fn request(&self) -> Limits {
        let some = |number: Option<u64>| number.filter(|number| *number != 0);
        let set = |set: &Option<NumberSet>| set.clone().unwrap_or_default().0;
        let cpus = self.cpus.filter(|cpus| cpus.quota_us != 0);
        Limits {
            memory_bytes: some(self.memory),
            memory_and_swap_bytes: self.memory_swap.filter(|swap| *swap != Bound::At(0)),
            cpu_quota_us: cpus.map(|cpus| cpus.quota_us),
            cpu_period_us: cpus.map(|cpus| cpus.period_us),
            cpu_shares: some(self.cpu_shares),
            cpuset_cpus: set(&self.cpuset_cpus),
            cpuset_mems: set(&self.cpuset_mems),
            blkio_weight: self.blkio_weight.filter(|weight| *weight != 0),
            ..Limits::default()
        }
    }
}

impl Args {
    fn pod(&self) -> PodRequest {
        let share = match (&self.share, self.infra) {
            (Some(share), _) => share.0.clone(),
            // Nobody would hold them.
            (None, false) => Default::default(),
            (None, true) => Share::default().0,
        };
        PodRequest {
            share,
            infra: self.infra,
            share_parent: self.share_parent,
            restart: self.restart.unwrap_or_default(),
            exit_policy: match self.exit_policy {
                ExitPolicyArg::Continue => ExitPolicy::Continue,
                ExitPolicyArg::Stop => ExitPolicy::Stop,
            },
            limits: self.limits.request(),
            command: std::env::args().collect(),
        }
    }

    fn infra(&self, surroundings: &Surroundings) -> Result<RunRequest, Failure> {
        let mut infra = RunRequest::of_image(self.infra_image.clone().unwrap_or_default());
        infra.name = self.infra_name.clone();
        infra.network = self.network.request()?;
        infra.namespaces.hostname = self.hostname.clone().filter(|name| !name.is_empty());
        infra.namespaces.pid = self.pid.clone();
        infra.namespaces.uts = self.uts.clone();
        infra.namespaces.sysctls = self.sysctls.iter().cloned().collect();
        infra.security.devices = self.devices.clone();
        infra.storage.shm_size_bytes = self.shm_size.filter(|size| *size != 0);
        infra.storage.volumes_from = self.volumes_from.clone();
        let mounts = self.volumes.iter().map(|arg| mount(arg, surroundings));
        infra.storage.mounts = mounts.collect::<Result<_, _>>()?;
        if let Some(command) = &self.infra_command {
            infra.process.entrypoint =
                Some(command.split_whitespace().map(str::to_owned).collect());
        }
        Ok(infra)
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let surroundings = Surroundings::of_process();
    let mut engine = context.engine()?;
    let infra = args.infra(&surroundings)?;
    let infra_image = match &args.infra_image {
        Some(_) => Some(fetch::source(&mut engine, &infra, false, &args.registry)?),
        None => None,
    };
    let new = NewPod {
        name: args.name.clone().or_else(|| args.name_flag.clone()),
        labels: labels(&args.label_files, &args.labels, &surroundings)?,
        request: args.pod(),
        infra,
        infra_image,
    };
    let file = Cidfile::reserve(args.pod_id_file.as_ref())?;
    if args.replace {
        replace(&mut engine, &new)?;
    }
    let id = engine.create_pod(new).map_err(Failure::engine)?;
    file.write(&id)?;
    print_line(&id)
}

/// Takes the pod of the same name away; that there is none is fine.
fn replace(engine: &mut Engine, new: &NewPod) -> Result<(), Failure> {
    let Some(name) = &new.name else {
        return Err(Failure::NeedsFlag {
            flag: "--name",
            what: "a pod is replaced by its name",
        });
    };
    match engine.remove_pod(name, Force::Yes) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        Err(error) => Err(Failure::engine(error)),
    }
}
