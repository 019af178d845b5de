//! Name, labels, image policy, logs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::convert::{
    LogDriver, log_config, parse_label, parse_label_file, parse_log_driver, parse_log_option,
    parse_restart, parse_secret,
};
use crate::error::Failure;
use crate::platform_args::PlatformArgs;
use crate::registry_args::RegistryArgs;
use crate::workload::Surroundings;
use gamut_plan::request::{
    AfterExit, ExitPolicy, LogConfig, PodPlace, PodRole, PullPolicy, RestartPolicy, SecretUse,
};

/// Flags about the container as an object of the engine.
#[derive(Debug, clap::Args)]
pub struct GeneralArgs {
    /// Name of the container
    #[arg(long)]
    pub name: Option<String>,

    /// Pod to be in, whose namespaces are shared; new:NAME makes it, with the ports and the network of this
    /// container
    #[arg(long, value_name = "POD")]
    pub pod: Option<String>,

    /// Pod to be in, by the id in this file, of `pod create --pod-id-file`
    #[arg(long, value_name = "FILE", conflicts_with = "pod")]
    pub pod_id_file: Option<PathBuf>,

    /// Label as KEY=VALUE
    #[arg(short, long = "label", value_name = "LABEL", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// File with a label on each line
    #[arg(long = "label-file", value_name = "FILE")]
    pub label_files: Vec<PathBuf>,

    /// OCI annotation as KEY=VALUE
    #[arg(long = "annotation", value_name = "ANNOTATION", value_parser = parse_label)]
    pub annotations: Vec<(String, String)>,

    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,

    /// When to pull the image
    #[arg(long, value_enum, default_value = "missing", value_name = "POLICY")]
    pub pull: PullArg,

    #[command(flatten)]
    pub platform: PlatformArgs,

    #[command(flatten)]
    pub registry: RegistryArgs,

    /// Suppress the progress of a pull
    #[arg(short, long)]
    pub quiet: bool,

    /// Remove the container when it ends
    #[arg(long = "rm")]
    pub remove: bool,

    /// When to start it again: no, on-failure[:COUNT], on-unhealthy[:COUNT], always or
    /// unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = parse_restart)]
    pub restart: Option<RestartPolicy>,

    /// Container that is started before this one, whenever this one is
    #[arg(long, value_name = "CONTAINER", value_delimiter = ',')]
    pub requires: Vec<String>,

    /// Secret to be given, as NAME[,type=mount|env][,target=TARGET][,uid=N][,gid=N][,mode=OCTAL]; a file
    /// in /run/secrets unless it says otherwise
    #[arg(long = "secret", value_name = "SECRET", value_parser = parse_secret)]
    pub secrets: Vec<SecretUse>,

    /// Where output is kept, or told besides: json-file, local, syslog, journald or none
    #[arg(long, value_name = "DRIVER", value_parser = parse_log_driver)]
    pub log_driver: Option<LogDriver>,

    /// Option of the log driver: max-size=SIZE, max-file=COUNT, tag=TEXT, labels=NAMES, env=NAMES,
    /// syslog-address=URL, syslog-facility=NAME, syslog-format=NAME
    #[arg(long = "log-opt", value_name = "OPTION", value_parser = parse_log_option)]
    pub log_options: Vec<(String, String)>,
}

/// `--pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PullArg {
    /// Each time
    Always,
    /// If it is not here
    Missing,
    /// If it is not here, and begin before all of it is
    Lazy,
    Never,
}

impl From<PullArg> for PullPolicy {
    fn from(arg: PullArg) -> Self {
        match arg {
            PullArg::Always => Self::Always,
            PullArg::Missing => Self::Missing,
            PullArg::Lazy => Self::Lazy,
            PullArg::Never => Self::Never,
        }
    }
}

/// Labels of files, then those of flags.
pub(crate) fn labels(
    files: &[PathBuf],
    given: &[(String, String)],
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for path in files {
        let content = surroundings.read(path)?;
        labels.extend(
            parse_label_file(&content).map_err(|source| Failure::FileContent {
                path: path.clone(),
                source,
            })?,
        );
    }
    labels.extend(given.iter().cloned());
    Ok(labels)
}

impl GeneralArgs {
    pub(super) fn labels(
        &self,
        surroundings: &Surroundings,
    ) -> Result<BTreeMap<String, String>, Failure> {
        labels(&self.label_files, &self.labels, surroundings)
    }

    /// The place in a pod, as it was named.
    pub(super) fn pod(&self, surroundings: &Surroundings) -> Result<Option<PodPlace>, Failure> {
        let named = match (&self.pod, &self.pod_id_file) {
            (Some(pod), _) => Some(pod.clone()),
            (None, Some(file)) => {
                let text = surroundings.read(file)?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
            (None, None) => None,
        };
        Ok(named.map(|pod| PodPlace {
            pod,
            role: PodRole::Member,
            exit_policy: ExitPolicy::default(),
        }))
    }

    pub(super) fn logs(&self) -> Result<LogConfig, Failure> {
        let driver = self.log_driver.unwrap_or(LogDriver::JsonFile);
        log_config(driver, &self.log_options).map_err(Failure::engine)
    }

    pub(super) fn after_exit(&self) -> AfterExit {
        match self.remove {
            true => AfterExit::Remove,
            false => AfterExit::Keep,
        }
    }
}
