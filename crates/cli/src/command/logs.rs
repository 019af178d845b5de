//! `gamut logs`.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{Moment, Tail, parse_moment, parse_tail};
use crate::error::Failure;
use gamut_engine::logs::{self, Follower, Line, LogError, Selection};
use gamut_engine::record;
use gamut_plan::launch::LogPlan;
use jiff::Timestamp;

/// Print the output of a container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,

    /// With the labels and variables that the log's options name
    #[arg(long)]
    pub details: bool,

    /// Only what is later than a time or a duration ago, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,

    /// Only what is earlier than a time or a duration ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,

    /// Only the last lines; `all` for all of them
    #[arg(short = 'n', long, value_name = "LINES", value_parser = parse_tail, default_value = "all", allow_hyphen_values = true)]
    pub tail: Tail,

    /// With a time before each line
    #[arg(short, long)]
    pub timestamps: bool,

    /// Name or id
    pub container: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let view = engine.container(&args.container).map_err(Failure::engine)?;
    let dirs = engine.container_dirs(&view.row.id);
    let plan = record::read_plan(&dirs).map_err(Failure::engine)?;
    let LogPlan::JsonFile { path, .. } = &plan.log else {
        return Err(Failure::engine(LogError::NotKept));
    };
    let selection = When {
        since: args.since,
        until: args.until,
        tail: args.tail,
    }
    .selection();
    let mut printer = Printer {
        stamps: args.timestamps,
        details: args.details,
        output: BufWriter::new(io::stdout().lock()),
        failed: None,
    };
    if !args.follow {
        logs::read(path, &selection, |line| printer.print(line)).map_err(Failure::engine)?;
        return printer.finish();
    }
    // Asked before reading: what an ended container wrote is all there.
    let mut lives = record::is_kept(&dirs);
    let mut follower =
        Follower::after(path, &selection, |line| printer.print(line)).map_err(Failure::engine)?;
    while printer.failed.is_none() {
        for line in follower.lines().map_err(Failure::engine)? {
            if selection.takes(&line) && !printer.print(&line) {
                break;
            }
        }
        printer.flush();
        let over = selection
            .until
            .is_some_and(|until| until < Timestamp::now());
        if !lives || over {
            break;
        }
        std::thread::sleep(Follower::PAUSE);
        lives = record::is_kept(&dirs);
    }
    printer.finish()
}

/// Which lines are meant, as it is typed.
pub(super) struct When {
    pub(super) since: Option<Moment>,
    pub(super) until: Option<Moment>,
    pub(super) tail: Tail,
}

impl When {
    /// As of now.
    pub(super) fn selection(self) -> Selection {
        let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
        let timestamp = |moment: Option<Moment>| {
            moment.and_then(|m| Timestamp::from_nanosecond(i128::from(m.resolve_ns(now_ns))).ok())
        };
        Selection {
            tail: match self.tail {
                Tail::All => None,
                Tail::Lines(lines) => Some(usize::try_from(lines).unwrap_or(usize::MAX)),
            },
            since: timestamp(self.since),
            until: timestamp(self.until),
        }
    }
}

/// RFC 3339 with all nine digits, so that the lines align.
pub(super) fn stamp(line: &Line) -> String {
    line.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string()
}

/// Docker's: sorted, with commas between, and a space whatever there is.
fn attributes(line: &Line) -> String {
    let pairs: Vec<String> = line
        .attrs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(",") + " "
}

/// Puts each line where the container had put it.
#[derive(Debug)]
struct Printer {
    stamps: bool,
    details: bool,
    output: BufWriter<StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl Printer {
    /// Whether to go on.
    fn print(&mut self, line: &Line) -> bool {
        let stamp = match self.stamps {
            true => stamp(line),
            false => String::new(),
        };
        let details = match self.details {
            true => attributes(line),
            false => String::new(),
        };
        let text = format!("{stamp}{details}{}", line.text);
        let written = match line.stream.as_str() {
            // On a terminal both are one: in the order in which they came.
            "stderr" => self
                .output
                .flush()
                .and_then(|()| io::stderr().write_all(text.as_bytes())),
            _ => self.output.write_all(text.as_bytes()),
        };
        self.failed = written.err();
        self.failed.is_none()
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            let flushed = self
                .output
                .flush()
                .and_then(|()| self.output.get_mut().flush());
            self.failed = flushed.err();
        }
    }

    fn finish(mut self) -> Result<ExitCode, Failure> {
        self.flush();
        match self.failed {
            Some(error) => Err(Failure::Output(error)),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}
