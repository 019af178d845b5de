//! `gamut image trust`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::error::Failure;
use crate::format::{ListFormat, Row};
use gamut_engine::trust_policy::{self, Demand, Entry};

/// Show and change which images may be used
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Show(ShowArgs),
    Set(SetArgs),
}

/// Show what is required of images
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// As JSON
    #[arg(short, long)]
    pub json: bool,

    /// The policy as it is written
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,

    /// Another policy than this host's
    #[arg(long, value_name = "FILE")]
    pub policypath: Option<PathBuf>,

    /// Only this registry, namespace or repository
    #[arg(value_name = "SCOPE")]
    pub scope: Option<String>,
}

/// Change what is required of a registry's images
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// What is required
    #[arg(
        short = 't',
        long = "type",
        value_enum,
        value_name = "TYPE",
        default_value = "signedBy"
    )]
    pub demand: Type,

    /// A file with public keys, any of which will do
    #[arg(short = 'f', long = "pubkeysfile", value_name = "FILE")]
    pub keys: Vec<PathBuf>,

    /// Another policy than this host's
    #[arg(long, value_name = "FILE")]
    pub policypath: Option<PathBuf>,

    /// A registry, namespace or repository; `default` is all that have no entry
    #[arg(value_name = "SCOPE")]
    pub scope: String,
}

/// Podman's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Type {
    #[value(name = "accept", alias = "insecureAcceptAnything")]
    Accept,
    #[value(name = "reject")]
    Reject,
    #[value(name = "signedBy")]
    SignedBy,
    #[value(name = "sigstoreSigned")]
    Sigstore,
}

/// Carries it out.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Show(args) => show(&args),
        Command::Set(args) => set(&args),
    }
}

fn set(args: &SetArgs) -> Result<ExitCode, Failure> {
    let demand = match args.demand {
        Type::Accept => Demand::Accept,
        Type::Reject => Demand::Reject,
        Type::SignedBy => Demand::SignedBy,
        Type::Sigstore => Demand::Sigstore,
    };
    let needs_keys = matches!(demand, Demand::SignedBy | Demand::Sigstore);
    if needs_keys == args.keys.is_empty() {
        return Err(Failure::NeedsFlag {
            flag: "--pubkeysfile",
            what: "it goes with the types signedBy and sigstoreSigned",
        });
    }
    let path = args.policypath.as_deref();
    trust_policy::set(path, &args.scope, demand, &args.keys).map_err(Failure::engine)?;
    Ok(ExitCode::SUCCESS)
}

const TABLE: &str = "{{.Transport}}\t{{.Name}}\t{{.Type}}\t{{.ID}}\t{{.Store}}";
const TITLES: [(&str, &str); 5] = [
    ("Transport", "TRANSPORT"),
    ("Name", "NAME"),
    ("Type", "TYPE"),
    ("ID", "ID"),
    ("Store", "STORE"),
];

/// Podman's fields.
#[derive(Debug, Serialize)]
struct Line<'a> {
    transport: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "gpgId", skip_serializing_if = "Option::is_none")]
    keys: Option<String>,
    #[serde(rename = "sigstore", skip_serializing_if = "Option::is_none")]
    store: Option<&'a str>,
}

fn show(args: &ShowArgs) -> Result<ExitCode, Failure> {
    let path = args.policypath.as_deref();
    let mut output = io::stdout().lock();
    if args.raw {
        let text = trust_policy::text(path).map_err(Failure::engine)?;
        output.write_all(text.as_bytes()).map_err(Failure::Output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut entries = trust_policy::entries(path).map_err(Failure::engine)?;
    if let Some(wanted) = &args.scope {
        entries.retain(|entry| entry.scope == *wanted);
    }
    if args.json {
        let lines: Vec<Line<'_>> = entries.iter().map(line).collect();
        // Cannot fail: there is nothing in it but texts.
        let text = serde_json::to_string_pretty(&lines).unwrap_or_default();
        writeln!(output, "{text}").map_err(Failure::Output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Row> = entries.iter().map(row).collect();
    ListFormat::parse(None, TABLE, &TITLES)?.write(&rows, &mut output)?;
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &Entry) -> Line<'_> {
    Line {
        transport: transport(entry),
        name: &entry.scope,
        kind: kind(entry.demand),
        keys: (!entry.keys.is_empty()).then(|| entry.keys.join(", ")),
        store: entry.store.as_deref(),
    }
}

fn row(entry: &Entry) -> Row {
    let fields = [
        ("Transport", transport(entry).to_owned()),
        ("Name", entry.scope.clone()),
        ("Type", kind(entry.demand).to_owned()),
        ("ID", entry.keys.join(", ")),
        ("Store", entry.store.clone().unwrap_or_default()),
    ];
    Row::new(fields, BTreeMap::new())
}

/// Podman calls registries so.
fn transport(entry: &Entry) -> &str {
    match entry.transport.as_str() {
        "docker" => "repository",
        other => other,
    }
}

fn kind(demand: Demand) -> &'static str {
    match demand {
        Demand::Accept => "accept",
        Demand::Reject => "reject",
        Demand::SignedBy => "signed",
        Demand::Sigstore => "sigstoreSigned",
    }
}
