//! Which pods a verb is for.

use std::path::PathBuf;

use gamut_engine::Engine;
use gamut_engine::pods::{PodError, PodView};

use crate::error::Failure;
use crate::which::{self, Missing};

/// Of several pods.
#[derive(Debug, clap::Args)]
pub struct WhichPods {
    /// All of them
    #[arg(short, long, conflicts_with_all = ["latest", "pods"])]
    all: bool,

    /// The one made last
    #[arg(short, long, conflicts_with = "pods")]
    latest: bool,

    /// Names or ids
    #[arg(value_name = "POD", required_unless_present_any = ["all", "latest"])]
    pods: Vec<String>,
}

/// Of several pods, which a file can name as well.
#[derive(Debug, clap::Args)]
pub struct WhichPodsOrFiles {
    /// All of them
    #[arg(short, long, conflicts_with_all = ["latest", "pods", "files"])]
    all: bool,

    /// The one made last
    #[arg(short, long, conflicts_with_all = ["pods", "files"])]
    latest: bool,

    /// Also the one whose id is in this file, of `pod create --pod-id-file`
    #[arg(long = "pod-id-file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Names or ids
    #[arg(value_name = "POD", required_unless_present_any = ["all", "latest", "files"])]
    pods: Vec<String>,
}

/// Of one pod.
#[derive(Debug, clap::Args)]
pub struct OnePod {
    /// The one made last
    #[arg(short, long)]
    latest: bool,

    /// Name or id
    #[arg(
        value_name = "POD",
        required_unless_present = "latest",
        conflicts_with = "latest"
    )]
    pod: Option<String>,
}

impl WhichPods {
    /// The names as they were given, or the ids of those meant.
    pub fn names(&self, engine: &mut Engine) -> Result<Vec<String>, Failure> {
        names(engine, self.all, self.latest, self.pods.clone())
    }
}

impl WhichPodsOrFiles {
    /// As of [`WhichPods`]; what is not there is passed over, if it is to be.
    pub fn names(&self, engine: &mut Engine, missing: Missing) -> Result<Vec<String>, Failure> {
        let mut named = self.pods.clone();
        for file in &self.files {
            named.extend(which::read(file, missing)?);
        }
        if missing == Missing::Ignored {
            named.retain(|name| engine.pod_id(name).is_ok());
        }
        names(engine, self.all, self.latest, named)
    }
}

impl OnePod {
    /// The pod.
    pub fn view(&self, engine: &mut Engine) -> Result<PodView, Failure> {
        match &self.pod {
            Some(name) => engine.pod(name).map_err(Failure::engine),
            None => latest(engine),
        }
    }
}

fn names(
    engine: &mut Engine,
    all: bool,
    is_latest: bool,
    named: Vec<String>,
) -> Result<Vec<String>, Failure> {
    if is_latest {
        return Ok(vec![latest(engine)?.row.id]);
    }
    if all {
        let pods = engine.pods().map_err(Failure::engine)?;
        return Ok(pods.into_iter().map(|pod| pod.row.id).collect());
    }
    Ok(named)
}

/// The pod made last.
pub fn latest(engine: &mut Engine) -> Result<PodView, Failure> {
    let pods = engine.pods().map_err(Failure::engine)?;
    pods.into_iter()
        .next()
        .ok_or_else(|| Failure::engine(PodError::NoPod("latest".to_owned())))
}
