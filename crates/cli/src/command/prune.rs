//! `gamut container prune`, `gamut image prune`, `gamut network prune`, `gamut system prune`: Docker's words, and what they
//! print.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::command::rmi::familiar;
use crate::confirm::confirmed;
use crate::convert::{Filter, Filters, parse_filter, parse_moment};
use crate::error::Failure;
use crate::human;
use gamut_engine::images::Removed;
use gamut_engine::network::list::NetworkView;
use gamut_engine::prune::Unused;
use gamut_engine::usage::{DiskUsage, Owner};
use gamut_engine::{Engine, record};

/// Remove stopped containers
#[derive(Debug, clap::Args)]
pub struct ContainerArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,

    /// Only those with KEY=VALUE: label, label!, until
    #[arg(long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,
}

/// Remove images without a tag
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// Remove all images that no container relies on
    #[arg(short, long)]
    pub all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,

    /// Only those with KEY=VALUE: label, label!, until
    #[arg(long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,
}

/// Remove networks that no container has a place on
#[derive(Debug, clap::Args)]
pub struct NetworkArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,

    /// Only those with KEY=VALUE: label, label!, until
    #[arg(long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,
}

/// Remove what nothing uses
///
/// Stopped pods and containers, networks without a container, images without a tag, and what pulls have left.
#[derive(Debug, clap::Args)]
pub struct SystemArgs {
    /// Remove all images that no container relies on
    #[arg(short, long)]
    pub all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,

    /// Anonymous volumes that have outlived their containers, too
    #[arg(long)]
    pub volumes: bool,

    /// Only those with KEY=VALUE: label, label!, until
    #[arg(long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,
}

/// Carries out `container prune`.
pub fn containers(args: &ContainerArgs, context: &Context) -> Result<ExitCode, Failure> {
    let selection = Selection::new(&args.filters)?;
    let warning = "WARNING! This will remove all stopped containers.\n\
                   Are you sure you want to continue?";
    pruned(args.force, warning, context, |engine, output| {
        prune_containers(engine, &selection, output)
    })
}

/// Carries out `image prune`.
pub fn images(args: &ImageArgs, context: &Context) -> Result<ExitCode, Failure> {
    let selection = Selection::new(&args.filters)?;
    let what = match args.all {
        true => "images without at least one container associated to them",
        false => "dangling images",
    };
    let warning =
        format!("WARNING! This will remove all {what}.\nAre you sure you want to continue?");
    pruned(args.force, &warning, context, |engine, output| {
        prune_images(engine, unused(args.all), &selection, output)
    })
}

/// Carries out `network prune`.
pub fn networks(args: &NetworkArgs, context: &Context) -> Result<ExitCode, Failure> {
    let selection = Selection::new(&args.filters)?;
    let warning = "WARNING! This will remove all custom networks not used by at least one container.\n\
                   Are you sure you want to continue?";
    if !args.force && !confirmed(warning)? {
        return Ok(ExitCode::FAILURE);
    }
    let mut engine = context.engine()?;
    prune_networks(&mut engine, &selection, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Carries out `system prune`.
pub fn system(args: &SystemArgs, context: &Context) -> Result<ExitCode, Failure> {
    let selection = Selection::new(&args.filters)?;
    let mut parts = vec![
        "all stopped pods",
        "all stopped containers",
        "all networks not used by at least one container",
    ];
    if args.volumes {
        parts.push("all anonymous volumes not used by at least one container");
    }
    parts.push(match args.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    });
    parts.push("downloads that were cut, and content that no image has");
    let warning = format!(
        "WARNING! This will remove:\n  - {}\n\nAre you sure you want to continue?",
        parts.join("\n  - ")
    );
    pruned(args.force, &warning, context, |engine, output| {
        // First: what their infra containers hold is free then.
        let takes = |pod: &gamut_engine::pods::PodView| {
            selection.takes(&pod.row.labels, pod.row.created_ns)
        };
        let pods = engine.prune_pods(takes).map_err(Failure::engine)?;
        section("Deleted Pods:", &pods, output)?;
        prune_containers(engine, &selection, output)?;
        prune_networks(engine, &selection, output)?;
        if args.volumes {
            let volumes = engine.prune_volumes().map_err(Failure::engine)?;
            section("Deleted Volumes:", &volumes, output)?;
        }
        prune_images(engine, unused(args.all), &selection, output)?;
        prune_cache(engine, output)
    })
}

fn unused(all: bool) -> Unused {
    match all {
        true => Unused::All,
        false => Unused::Dangling,
    }
}

/// Asks, does it, and says what it has given back.
fn pruned(
    force: bool,
    warning: &str,
    context: &Context,
    act: impl FnOnce(&mut Engine, &mut dyn Write) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    if !force && !confirmed(warning)? {
        return Ok(ExitCode::FAILURE);
    }
    let mut engine = context.engine()?;
    let before = engine.disk_usage().map_err(Failure::engine)?;
    let mut output = io::stdout().lock();
    let done = act(&mut engine, &mut output);
    // What is gone is gone, whatever came after it.
    let reclaimed = human::precise_size(engine.reclaimed_bytes(&before));
    writeln!(output, "Total reclaimed space: {reclaimed}").map_err(Failure::Output)?;
    done.map(|()| ExitCode::SUCCESS)
}

fn section(title: &str, lines: &[String], output: &mut dyn Write) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(output, "{title}\n{}\n", lines.join("\n")).map_err(Failure::Output)
}

fn prune_containers(
    engine: &mut Engine,
    selection: &Selection,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let takes = |view: &gamut_engine::View| selection.takes(&view.row.labels, view.row.created_ns);
    let removed = engine.prune_containers(takes).map_err(Failure::engine)?;
    section("Deleted Containers:", &removed, output)
}

fn prune_networks(
    engine: &mut Engine,
    selection: &Selection,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let takes = |view: &NetworkView| selection.takes(&view.labels(), view.created_ns());
    let removed = engine.prune_networks(takes).map_err(Failure::engine)?;
    section("Deleted Networks:", &removed, output)
}

fn prune_images(
    engine: &mut Engine,
    unused: Unused,
    selection: &Selection,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let removed = engine.prune_images(unused, |engine, view| {
        // One whose configuration is damaged has no labels.
        let config = engine.image_config(&view.image);
        let labels = config.map(|config| config.config.labels);
        selection.takes(&labels.unwrap_or_default(), view.image.created_ns)
    });
    let lines: Vec<String> = removed
        .map_err(Failure::engine)?
        .iter()
        .map(|one| match one {
            Removed::Untagged(name) => format!("untagged: {}", familiar(name)),
            Removed::Deleted(id) => format!("deleted: {id}"),
        })
        .collect();
    section("Deleted Images:", &lines, output)
}

fn prune_cache(engine: &mut Engine, output: &mut dyn Write) -> Result<(), Failure> {
    let listed = |usage: DiskUsage| usage.cache.into_iter().map(|one| one.owner);
    let usage = engine.disk_usage().map_err(Failure::engine)?;
    let before: Vec<Owner> = listed(usage).collect();
    engine.prune_cache().map_err(Failure::engine)?;
    let usage = engine.disk_usage().map_err(Failure::engine)?;
    let after: Vec<Owner> = listed(usage).collect();
    let lines: Vec<String> = before
        .iter()
        .filter(|owner| !after.contains(owner))
        .filter_map(|owner| Some(owner.path()?.display().to_string()))
        .collect();
    section("Deleted cache objects:", &lines, output)
}

/// What `--filter` means.
struct Selection {
    filters: Filters,
    /// Made before this: nanoseconds since the epoch.
    until_ns: Option<i64>,
}

impl Selection {
    fn new(filters: &[Filter]) -> Result<Self, Failure> {
        let filters = Filters::new(filters, &["label", "label!", "until"]);
        let filters = filters.map_err(Failure::engine)?;
        let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
        let mut until_ns = None;
        for value in filters.values("until") {
            let moment = parse_moment(value).map_err(Failure::engine)?;
            let ns = moment.resolve_ns(now_ns);
            until_ns = Some(until_ns.map_or(ns, |other: i64| other.min(ns)));
        }
        Ok(Self { filters, until_ns })
    }

    fn takes(&self, labels: &BTreeMap<String, String>, created_ns: i64) -> bool {
        self.until_ns.is_none_or(|until| created_ns < until)
            && self.filters.labels(labels)
            && self.filters.unlabelled(labels)
    }
}
