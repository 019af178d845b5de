//! `gamut events`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use gamut_engine::events::Event;
use gamut_engine::record;
use jiff::Timestamp;

use crate::args::Context;
use crate::convert::{Filter, Filters, Moment, parse_filter, parse_moment};
use crate::error::Failure;
use crate::format::ObjectFormat;

/// Print what happens to containers, images, volumes and networks
///
/// From now on, until it is ended; with --since what happened before, too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those with KEY=VALUE: container, event, image, label, network, scope, type, volume
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// A Go template for each of them, or json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Also what has happened since a time or a duration ago, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,

    /// Only what happens before a time; then it ends
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,

    /// Go on with what comes
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub stream: bool,

    /// Accepted for Podman's sake: ids are never shortened
    #[arg(long)]
    pub no_trunc: bool,
}

const FILTERS: [&str; 8] = [
    "container",
    "event",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "volume",
];

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let filters = Filters::new(&args.filters, &FILTERS).map_err(Failure::engine)?;
    let format = args.format.as_deref();
    let format = format
        .map(|format| ObjectFormat::parse(Some(format)))
        .transpose()?;
    let now_ns = record::now_ns();
    let at = |moment: Moment| {
        let resolved = moment.resolve_ns(i64::try_from(now_ns).unwrap_or(i64::MAX));
        resolved.max(0).unsigned_abs()
    };
    let since_ns = match (args.since, args.stream) {
        (Some(moment), _) => at(moment),
        (None, true) => now_ns,
        (None, false) => 0,
    };
    let until_ns = args.until.map(at);
    let engine = context.engine()?;
    let mut reader = engine.events().map_err(Failure::Events)?;
    drop(engine);
    loop {
        // Asked before reading: what happened until then is in what is read.
        let asked_ns = record::now_ns();
        let mut text = Vec::new();
        for event in reader.read().map_err(Failure::Events)? {
            let is_meant = event.time_ns >= since_ns
                && until_ns.is_none_or(|until_ns| event.time_ns <= until_ns)
                && takes(&filters, &event);
            if is_meant {
                write(&event, format.as_ref(), &mut text)?;
            }
        }
        let mut output = io::stdout().lock();
        output
            .write_all(&text)
            .and_then(|()| output.flush())
            .map_err(Failure::Output)?;
        let left_ns = until_ns.map(|until_ns| until_ns.saturating_sub(asked_ns));
        if !args.stream || left_ns == Some(0) {
            return Ok(ExitCode::SUCCESS);
        }
        let limit = left_ns.map(Duration::from_nanos);
        reader.wait(limit).map_err(Failure::Events)?;
    }
}

fn takes(filters: &Filters, event: &Event) -> bool {
    let attributes = &event.actor.attributes;
    let named = |kind: &str, value: &str| {
        event.kind.name() == kind
            && (event.actor.id.starts_with(value)
                || attributes.get("name").is_some_and(|name| name == value))
    };
    // `exec_start: sh -c …` is an `exec_start`.
    let action = event.action.split(':').next().unwrap_or_default();
    filters.any("type", |value| value == event.kind.name())
        && filters.any("event", |value| value == action || value == event.action)
        && filters.any("scope", |value| value == event.scope)
        && filters.any("container", |value| named("container", value))
        && filters.any("network", |value| named("network", value))
        && filters.any("volume", |value| named("volume", value))
        && filters.any("image", |value| {
            named("image", value) || attributes.get("image").is_some_and(|image| image == value)
        })
        && filters.labels(attributes)
}

/// Docker's line: `TIME TYPE ACTION ID (name=value, …)`.
fn write(event: &Event, format: Option<&ObjectFormat>, into: &mut Vec<u8>) -> Result<(), Failure> {
    if let Some(format) = format {
        return Ok(format.write_each(event, into)?);
    }
    let time = i128::from(event.time_ns);
    let time = Timestamp::from_nanosecond(time).unwrap_or_default();
    let time = time.to_zoned(crate::view::zone().clone());
    let pairs = event.actor.attributes.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    writeln!(
        into,
        "{} {} {} {} ({})",
        time.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z"),
        event.kind.name(),
        event.action,
        event.actor.id,
        pairs.join(", ")
    )
    .map_err(Failure::Output)
}
