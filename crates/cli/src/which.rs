//! Which containers a verb is for, beside their names: podman's `--all`, `--latest`, `--cidfile` and
//! `--filter`. Each verb has those of them that it can mean.

use std::path::{Path, PathBuf};

use gamut_engine::{Engine, View};

use crate::convert::{ArgumentError, Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::listing::{Selection, line};
use crate::view::containers;

/// Of several containers.
#[derive(Debug, Default, clap::Args)]
pub struct Which {
    /// All of them
    #[arg(long)]
    all: bool,

    /// The one made last
    #[arg(short, long)]
    latest: bool,

    /// Also the one whose id is in this file, of `run --cidfile`
    #[arg(long = "cidfile", value_name = "FILE")]
    cidfiles: Vec<PathBuf>,

    /// Those with KEY=VALUE, as in ps
    #[arg(long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    filters: Vec<Filter>,

    /// Names or ids
    #[arg(value_name = "CONTAINER", required_unless_present_any = ["all", "latest", "cidfiles", "filters"])]
    containers: Vec<String>,
}

/// Whether a file or a container that is not there is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Error,
    Ignored,
}

impl Missing {
    /// Of a flag `--ignore`.
    #[must_use]
    pub fn of(ignore: bool) -> Self {
        match ignore {
            true => Self::Ignored,
            false => Self::Error,
        }
    }
}

impl Which {
    /// The names as they were given; or the ids of those meant, which for `--all` are those that `applies` to.
    ///
    /// # Errors
    /// Several ways of naming at once, a file that is not there, a filter that is wrong, or the engine's.
    pub fn names(
        &self,
        engine: &mut Engine,
        missing: Missing,
        applies: impl Fn(&View) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let mut names = self.containers.clone();
        for file in &self.cidfiles {
            names.extend(read(file, missing)?);
        }
        let listed = self.all || !self.filters.is_empty();
        let ways = [!names.is_empty(), listed, self.latest];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(Failure::engine(ArgumentError::SeveralWays));
        }
        if missing == Missing::Ignored {
            names.retain(|name| engine.container(name).is_ok());
        }
        if self.latest {
            names.push(latest(engine)?);
        } else if listed {
            let views = engine.containers().map_err(Failure::engine)?;
            let filters =
                Filters::new(&self.filters, &containers::FILTERS).map_err(Failure::engine)?;
            let selection = Selection::new(engine, &views, &filters)?;
            for view in views.iter().filter(|view| applies(view)) {
                let summary = engine.summary(view);
                if selection.takes(view, &summary, &line(view, &summary)) {
                    names.push(view.row.id.clone());
                }
            }
        }
        Ok(names)
    }
}

/// Of one container.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The one made last
    #[arg(short, long)]
    latest: bool,

    /// Name or id
    #[arg(required_unless_present = "latest", conflicts_with = "latest")]
    container: Option<String>,
}

impl One {
    /// Its name, or its id if it was not named.
    ///
    /// # Errors
    /// There is none, or the engine's.
    pub fn name(&self, engine: &mut Engine) -> Result<String, Failure> {
        match &self.container {
            Some(name) => Ok(name.clone()),
            None => latest(engine),
        }
    }
}

/// The id of the container made last.
///
/// # Errors
/// There is none, or the engine's.
pub fn latest(engine: &mut Engine) -> Result<String, Failure> {
    let views = engine.containers().map_err(Failure::engine)?;
    let last = views.into_iter().max_by_key(|view| view.row.created_ns);
    last.map(|view| view.row.id)
        .ok_or_else(|| Failure::engine(ArgumentError::NoLatest))
}

/// The id in a file of `--cidfile`.
///
/// # Errors
/// [`Failure::Read`], unless what is missing is to be ignored.
pub fn read(file: &Path, missing: Missing) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.lines().next().unwrap_or_default().to_owned())),
        Err(error)
            if missing == Missing::Ignored && error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(source) => Err(Failure::Read {
            path: file.to_owned(),
            source,
        }),
    }
}

/// Its process is there.
#[must_use]
pub fn is_live(view: &View) -> bool {
    view.status.is_live()
}
