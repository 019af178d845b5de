//! The flags that describe a workload, shared by `run` and `create`, and the one function that
//! turns them into a [`RunRequest`]. A file per group of flags, each with its own part of it.

mod general;
mod health;
mod limits;
mod namespaces;
mod network;
mod process;
mod security;
mod storage;
mod surroundings;
mod system;

use crate::cidfile::Cidfile;
use crate::error::Failure;
use gamut_plan::request::RunRequest;

pub use general::GeneralArgs;
pub(crate) use general::labels;
pub use health::HealthArgs;
pub use limits::LimitArgs;
pub use namespaces::NamespaceArgs;
pub use network::NetworkArgs;
pub use process::ProcessArgs;
pub(crate) use process::environment;
pub use security::SecurityArgs;
pub use storage::StorageArgs;
pub(crate) use storage::mount;
pub use surroundings::Surroundings;

/// Everything about a workload.
#[derive(Debug, clap::Args)]
pub struct WorkloadArgs {
    #[command(flatten)]
    pub general: GeneralArgs,
    #[command(flatten)]
    pub process: ProcessArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub health: HealthArgs,
    #[command(flatten)]
    pub security: SecurityArgs,
    #[command(flatten)]
    pub namespaces: NamespaceArgs,

    /// The image, and the command to run in it instead of the image's own
    ///
    /// Everything after the image belongs to the command, flags included.
    // One list, not two arguments: only so does clap leave flags after the image alone.
    #[arg(value_name = "IMAGE [COMMAND [ARG...]]", required = true, num_args = 1.., trailing_var_arg = true)]
    pub image_and_command: Vec<String>,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

impl WorkloadArgs {
    /// Whether a pull says nothing.
    pub fn quiet(&self) -> bool {
        self.general.quiet
    }

    /// Makes the file of `--cidfile`.
    pub fn reserve_cidfile(&self) -> Result<Cidfile, Failure> {
        Cidfile::reserve(self.general.cidfile.as_ref())
    }

    /// The request, with the host's variables, files and current directory put in.
    pub fn request(&self, surroundings: &Surroundings) -> Result<RunRequest, Failure> {
        let mut words = self.image_and_command.iter().cloned();
        let mut request = RunRequest {
            // clap requires one.
            image: words.next().unwrap_or_default(),
            platform: self.general.platform.wanted(),
            pull: self.general.pull.into(),
            name: self.general.name.clone(),
            labels: self.general.labels(surroundings)?,
            annotations: self.general.annotations.iter().cloned().collect(),
            isolation: self.security.isolation(),
            min_isolation: self.security.min_isolation,
            kernel: self.security.kernel.clone(),
            process: self.process.request(words.collect(), surroundings)?,
            limits: self.limits.request(),
            security: self.security.request(surroundings)?,
            namespaces: self.namespaces.request(),
            network: self.network.request()?,
            storage: self.storage.request(surroundings)?,
            logs: self.general.logs()?,
            after_exit: self.general.after_exit(),
            restart: self.general.restart.unwrap_or_default(),
            health: self.health.request()?,
            requires: self.general.requires.clone(),
            secrets: self.general.secrets.clone(),
            pod: self.general.pod(surroundings)?,
        };
        if self.process.system {
            system::complete(&mut request);
        }
        request.check()?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests;
