//! `gamut pod logs`.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use gamut_engine::logs::{self, Follower, Line, LogError, Selection};
use gamut_engine::pods::{PodError, PodView};
use gamut_engine::{Engine, View, record};
use gamut_plan::launch::LogPlan;

use super::which::OnePod;
use crate::args::Context;
use crate::command::logs::{When, stamp};
use crate::convert::{Moment, Tail, parse_moment, parse_tail};
use crate::error::Failure;
use crate::human;

/// Print the output of the containers of a pod, in the order in which it came
///
/// Each line begins with whose it is, unless one container is named.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this container
    #[arg(short, long, value_name = "CONTAINER")]
    pub container: Option<String>,

    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,

    /// Begin with the names of the containers, not with their ids
    #[arg(short, long)]
    pub names: bool,

    /// Only what is later than a time or a duration ago, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,

    /// Only what is earlier than a time or a duration ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,

    /// Only the last lines of each container; `all` for all of them
    #[arg(long, value_name = "LINES", value_parser = parse_tail, default_value = "all", allow_hyphen_values = true)]
    pub tail: Tail,

    /// With a time before each line
    #[arg(short, long)]
    pub timestamps: bool,

    #[command(flatten)]
    pub pod: OnePod,
}

/// One container's log, and what precedes its lines.
struct Source {
    path: std::path::PathBuf,
    prefix: String,
    id: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let pod = args.pod.view(&mut engine)?;
    let sources = sources(&engine, args, &pod)?;
    let selection = When {
        since: args.since,
        until: args.until,
        tail: args.tail,
    }
    .selection();
    match args.follow {
        false => {
            let mut lines = Vec::new();
            for source in &sources {
                let keep = |line: &Line| {
                    lines.push((line.clone(), source));
                    true
                };
                logs::read(&source.path, &selection, keep).map_err(Failure::engine)?;
            }
            print(args, lines)?;
        }
        true => follow(&engine, args, &sources, &selection)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sources(engine: &Engine, args: &Args, pod: &PodView) -> Result<Vec<Source>, Failure> {
    let meant: Vec<&View> = match &args.container {
        None => pod.members().collect(),
        Some(named) => {
            let id = engine.container_id(named).map_err(Failure::engine)?;
            let found = pod.containers.iter().find(|one| one.row.id == id);
            vec![found.ok_or_else(|| {
                Failure::engine(PodError::NotInPod {
                    container: named.clone(),
                    pod: pod.row.name.clone(),
                })
            })?]
        }
    };
    // Podman's: of a pod it is always said whose a line is.
    let is_named = args.container.is_some();
    let mut sources = Vec::new();
    for one in meant {
        let dirs = engine.container_dirs(&one.row.id);
        let plan = record::read_plan(&dirs).map_err(Failure::engine)?;
        let LogPlan::JsonFile { path, .. } = plan.log else {
            match is_named {
                true => return Err(Failure::engine(LogError::NotKept)),
                false => continue,
            }
        };
        sources.push(Source {
            path,
            prefix: match (is_named, args.names) {
                (true, _) => String::new(),
                (false, true) => format!("{} ", one.row.name),
                (false, false) => format!("{} ", human::short_id(&one.row.id)),
            },
            id: one.row.id.clone(),
        });
    }
    Ok(sources)
}

/// The lines of all that come, until nobody is left who could write one.
fn follow(
    engine: &Engine,
    args: &Args,
    sources: &[Source],
    selection: &Selection,
) -> Result<(), Failure> {
    let is_kept = |source: &Source| record::is_kept(&engine.container_dirs(&source.id));
    // Asked before reading: what ended containers wrote is all there.
    let mut lives = sources.iter().any(is_kept);
    let mut lines = Vec::new();
    let mut followers = Vec::new();
    for source in sources {
        let keep = |line: &Line| {
            lines.push((line.clone(), source));
            true
        };
        let follower = Follower::after(&source.path, selection, keep);
        followers.push((follower.map_err(Failure::engine)?, source));
    }
    loop {
        for (follower, source) in &mut followers {
            let come = follower.lines().map_err(Failure::engine)?;
            let taken = come.into_iter().filter(|line| selection.takes(line));
            lines.extend(taken.map(|line| (line, *source)));
        }
        print(args, std::mem::take(&mut lines))?;
        let is_over = selection
            .until
            .is_some_and(|until| until < jiff::Timestamp::now());
        if !lives || is_over {
            return Ok(());
        }
        std::thread::sleep(Follower::PAUSE);
        lives = sources.iter().any(is_kept);
    }
}

/// By time; each to the stream that it came from.
fn print(args: &Args, mut lines: Vec<(Line, &Source)>) -> Result<(), Failure> {
    lines.sort_by_key(|(line, _)| line.time);
    let mut output = BufWriter::new(io::stdout().lock());
    for (line, source) in lines {
        let stamp = match args.timestamps {
            true => stamp(&line),
            false => String::new(),
        };
        let mut text = format!("{}{stamp}{}", source.prefix, line.text);
        // What another writes next is on a line of its own.
        if !source.prefix.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let written = match line.stream.as_str() {
            "stderr" => output
                .flush()
                .and_then(|()| io::stderr().write_all(text.as_bytes())),
            _ => output.write_all(text.as_bytes()),
        };
        written.map_err(Failure::Output)?;
    }
    output.flush().map_err(Failure::Output)
}
