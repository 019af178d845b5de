//! `gamut images`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{ArgumentError, Filter, Filters, parse_filter, parse_moment};
use crate::error::Failure;
use crate::format::ListFormat;
use crate::pattern;
use crate::view::{Width, images};
use gamut_engine::images::ImageView;
use gamut_engine::{Engine, record};
use gamut_spec::reference::Reference;

/// List images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Accepted for Docker's sake: there are no intermediate images
    #[arg(short, long)]
    pub all: bool,

    /// With digests
    #[arg(long)]
    pub digests: bool,

    /// Only those with KEY=VALUE: reference, dangling, label, before, since, until
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,

    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// Only images of this repository, or this one
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: Option<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let (default, titles) = match (args.quiet, args.digests) {
        (true, _) => (images::QUIET, &[][..]),
        (false, true) => (images::DIGEST_TABLE, &images::TITLES[..]),
        (false, false) => (images::TABLE, &images::TITLES[..]),
    };
    let format = match (&args.format, args.quiet) {
        (None, true) => Some(images::QUIET),
        (format, _) => format.as_deref(),
    };
    let format = ListFormat::parse(format, default, titles)?;
    let filters = Filters::new(&args.filters, &images::FILTERS).map_err(Failure::engine)?;
    let engine = context.engine()?;
    let selection = Selection::new(&engine, &filters, args.repository.as_deref())?;
    let mut views = engine.images().map_err(Failure::engine)?;
    views.sort_by_key(|view| std::cmp::Reverse(view.image.created_ns));
    let width = match args.no_trunc {
        true => Width::Full,
        false => Width::Cut,
    };
    let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
    let mut rows = Vec::new();
    for view in &views {
        let labels = match engine.image_config(&view.image) {
            Ok(config) => config.config.labels,
            // It is listed all the same: how else would one remove it?
            Err(_) => BTreeMap::new(),
        };
        if selection.takes(view, &labels) {
            // An image that cannot be looked at is listed with its size.
            let present = engine.present_bytes(&view.image);
            let present = present.unwrap_or(view.image.size_bytes);
            let lines = lines(view, present, &labels, |name| selection.takes_name(name));
            rows.extend(lines.iter().map(|line| line.row(now_ns, width)));
        }
    }
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Which images, as the filters say.
struct Selection<'a> {
    filters: &'a Filters,
    references: Vec<String>,
    /// Earlier than this, later than that: nanoseconds since the epoch.
    before_ns: Option<i64>,
    since_ns: Option<i64>,
}

impl<'a> Selection<'a> {
    fn new(
        engine: &Engine,
        filters: &'a Filters,
        repository: Option<&str>,
    ) -> Result<Self, Failure> {
        for value in filters.values("dangling") {
            truth(value)?;
        }
        let created = |key: &str| -> Result<Vec<i64>, Failure> {
            filters
                .values(key)
                .iter()
                .map(|named| match engine.find_image(named) {
                    Ok(image) => Ok(image.created_ns),
                    Err(error) => Err(Failure::engine(error)),
                })
                .collect()
        };
        let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
        let mut before = created("before")?;
        for value in filters.values("until") {
            let moment = parse_moment(value).map_err(Failure::engine)?;
            before.push(moment.resolve_ns(now_ns));
        }
        let mut references = filters.values("reference").to_vec();
        references.extend(repository.map(str::to_owned));
        Ok(Self {
            filters,
            references,
            before_ns: before.into_iter().min(),
            since_ns: created("since")?.into_iter().max(),
        })
    }

    fn takes(&self, view: &ImageView, labels: &BTreeMap<String, String>) -> bool {
        let created_ns = view.image.created_ns;
        let dangling = view.tags.is_empty();
        self.before_ns.is_none_or(|before| created_ns < before)
            && self.since_ns.is_none_or(|since| created_ns > since)
            && self.filters.labels(labels)
            && self.filters.any("dangling", |value| {
                truth(value).is_ok_and(|wanted| wanted == dangling)
            })
            && (self.references.is_empty()
                || view
                    .tags
                    .iter()
                    .chain(&view.digests)
                    .any(|name| self.takes_name(name)))
    }

    /// Whether a canonical name is asked for.
    fn takes_name(&self, name: &str) -> bool {
        let Ok(reference) = name.parse::<Reference>() else {
            return false;
        };
        let forms = [
            reference.familiar_name(),
            reference.familiar(),
            reference.name(),
            name.to_owned(),
        ];
        let wanted = |pattern: &String| forms.iter().any(|form| pattern::glob(pattern, form));
        self.references.is_empty() || self.references.iter().any(wanted)
    }
}

/// Go's words for a boolean.
fn truth(text: &str) -> Result<bool, Failure> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Failure::engine(ArgumentError::Filter {
            text: format!("dangling={text}"),
        })),
    }
}

/// A line for each of an image's names that are asked for; one without a tag has a line for each
/// repository that it was pulled from by digest, or just one.
fn lines(
    view: &ImageView,
    present_bytes: u64,
    labels: &BTreeMap<String, String>,
    takes: impl Fn(&str) -> bool,
) -> Vec<images::Line> {
    let line =
        |repository: Option<String>, tag: Option<String>, digest: Option<String>| images::Line {
            id: view.image.id.to_string(),
            repository,
            tag,
            digest,
            created_ns: (view.image.created_ns != 0).then_some(view.image.created_ns),
            size_bytes: view.image.size_bytes,
            present_bytes,
            labels: labels.clone(),
        };
    let parsed = |names: &[String]| -> Vec<Reference> {
        names.iter().filter_map(|name| name.parse().ok()).collect()
    };
    let (tags, digests) = (parsed(&view.tags), parsed(&view.digests));
    let digest_of = |reference: &Reference| {
        let same = digests
            .iter()
            .find(|digest| digest.name() == reference.name());
        same.and_then(Reference::digest).map(ToString::to_string)
    };
    let mut lines: Vec<images::Line> = tags
        .iter()
        .filter(|tag| takes(&tag.to_string()))
        .map(|tag| {
            let name = Some(tag.familiar_name());
            line(name, tag.tag().map(str::to_owned), digest_of(tag))
        })
        .collect();
    if tags.is_empty() {
        let nameless = digests.iter().filter(|digest| takes(&digest.to_string()));
        lines.extend(nameless.map(|digest| {
            let name = Some(digest.familiar_name());
            line(name, None, digest.digest().map(ToString::to_string))
        }));
        if digests.is_empty() {
            lines.push(line(None, None, None));
        }
    }
    lines
}
