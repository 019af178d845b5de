//! `gamut search`.

use std::io;
use std::process::ExitCode;

use crate::convert::{ArgumentError, Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::fetch;
use crate::format::ListFormat;
use crate::registry_args::RegistryArgs;
use crate::view::{Width, search as view};
use gamut_engine::search::{Found, search, tags};
use gamut_spec::reference::Reference;

/// Search a registry for images
///
/// Docker Hub, and other registries that have its search, search in names and descriptions; of
/// others the list of their repositories is searched, where they give it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those with KEY=VALUE: is-official, is-automated, stars
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 25,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,

    /// The tags of the repository TERM instead
    #[arg(long, conflicts_with_all = ["filters", "no_trunc"])]
    pub list_tags: bool,

    /// Do not shorten descriptions
    #[arg(long)]
    pub no_trunc: bool,

    #[command(flatten)]
    pub registry: RegistryArgs,

    /// What to look for, as [HOST/]TERM
    pub term: String,
}

/// Carries it out.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let rows: Vec<_> = if args.list_tags {
        let repository = fetch::parse_remote(&args.term)?;
        let tags = tags(&repository, args.registry.options(repository.registry())?)
            .map_err(Failure::engine)?;
        let tags = tags.iter().take(args.limit.into());
        tags.map(|tag| view::tag_row(&repository, tag)).collect()
    } else {
        let filters = Filters::new(&args.filters, &view::FILTERS).map_err(Failure::engine)?;
        let (registry, term) = registry_and_term(&args.term)?;
        let access = args.registry.options(registry.registry())?;
        let limit = usize::from(args.limit);
        let found = search(&registry, term, limit, access).map_err(Failure::engine)?;
        let width = match args.no_trunc {
            true => Width::Full,
            false => Width::Cut,
        };
        let mut rows = Vec::new();
        for found in &found {
            if takes(&filters, found)? {
                rows.push(view::row(&registry, found, width));
            }
        }
        rows
    };
    let (table, titles) = match args.list_tags {
        true => (view::TAG_TABLE, &view::TAG_TITLES[..]),
        false => (view::TABLE, &view::TITLES[..]),
    };
    let format = ListFormat::parse(args.format.as_deref(), table, titles)?;
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// `quay.io/podman` is a term at a registry; so is `quay.io/`, which means everything there.
fn registry_and_term(text: &str) -> Result<(Reference, &str), Failure> {
    if let Some((host, term)) = text.split_once('/')
        && let Ok(reference) = format!("{host}/x").parse::<Reference>()
        && reference.registry() == host
    {
        return Ok((reference, term));
    }
    Ok((fetch::parse("docker.io/x")?, text))
}

fn takes(filters: &Filters, found: &Found) -> Result<bool, Failure> {
    let wrong = |key: &str, value: &str| {
        Failure::engine(ArgumentError::Filter {
            text: format!("{key}={value}"),
        })
    };
    for value in filters.values("stars") {
        let least: u64 = value.parse().map_err(|_| wrong("stars", value))?;
        if found.star_count < least {
            return Ok(false);
        }
    }
    for (key, is) in [
        ("is-official", found.is_official),
        ("is-automated", found.is_automated),
    ] {
        for value in filters.values(key) {
            let wanted: bool = value.parse().map_err(|_| wrong(key, value))?;
            if wanted != is {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
