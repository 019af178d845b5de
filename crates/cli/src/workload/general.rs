//! Name, labels, image policy, logs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::convert::{
    LogDriver, LogOption, parse_label, parse_label_file, parse_log_driver, parse_log_option,
    parse_platform, parse_restart,
};
use crate::error::Failure;
use crate::workload::Surroundings;
use gamut_plan::request::{AfterExit, LogConfig, Platform, PullPolicy};

/// Flags about the container as an object of the engine.
#[derive(Debug, clap::Args)]
pub struct GeneralArgs {
    /// Name of the container
    #[arg(long)]
    pub name: Option<String>,

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

    /// Platform of the image, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Suppress the progress of a pull
    #[arg(short, long)]
    pub quiet: bool,

    /// Remove the container when it ends
    #[arg(long = "rm")]
    pub remove: bool,

    /// Restart policy: only `no` so far
    #[arg(long, value_name = "POLICY", value_parser = parse_restart)]
    pub restart: Option<()>,

    /// Where output is kept: json-file or none
    #[arg(long, value_name = "DRIVER", value_parser = parse_log_driver)]
    pub log_driver: Option<LogDriver>,

    /// Option of the log driver: max-size=SIZE, max-file=COUNT
    #[arg(long = "log-opt", value_name = "OPTION", value_parser = parse_log_option)]
    pub log_options: Vec<LogOption>,
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

impl GeneralArgs {
    /// Labels of the files, then those of the flags.
    pub(super) fn labels(
        &self,
        surroundings: &Surroundings,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut labels = BTreeMap::new();
        for path in &self.label_files {
            let content = surroundings.read(path)?;
            labels.extend(
                parse_label_file(&content).map_err(|source| Failure::FileContent {
                    path: path.clone(),
                    source,
                })?,
            );
        }
        labels.extend(self.labels.iter().cloned());
        Ok(labels)
    }

    pub(super) fn logs(&self) -> LogConfig {
        if self.log_driver == Some(LogDriver::None) {
            return LogConfig::None;
        }
        let (mut max_size_bytes, mut max_files) = (None, 1);
        for option in &self.log_options {
            match option {
                LogOption::MaxSizeBytes(size) => max_size_bytes = *size,
                LogOption::MaxFiles(count) => max_files = *count,
            }
        }
        LogConfig::JsonFile {
            max_size_bytes,
            max_files,
        }
    }

    pub(super) fn after_exit(&self) -> AfterExit {
        match self.remove {
            true => AfterExit::Remove,
            false => AfterExit::Keep,
        }
    }
}
