//! `gamut secret inspect`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use serde::Serialize;

use gamut_engine::secrets::{DRIVER, Secret};

use crate::args::Context;
use crate::error::Failure;
use crate::format::ObjectFormat;
use crate::view::local_rfc3339;

/// Print everything about secrets but what is in them, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Go template for each of them, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Print what is in them, too
    #[arg(long)]
    pub showsecret: bool,

    /// Their names or ids
    #[arg(value_name = "SECRET", required = true)]
    pub secrets: Vec<String>,
}

/// Docker's and podman's form.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    #[serde(rename = "ID")]
    id: String,
    created_at: String,
    updated_at: String,
    spec: Spec,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_data: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    name: String,
    driver: Driver,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Driver {
    name: &'static str,
    options: BTreeMap<String, String>,
}

impl Object {
    fn new(secret: Secret, data: Option<Vec<u8>>) -> Self {
        let created = local_rfc3339(secret.created_ns);
        Self {
            id: secret.id,
            created_at: created.clone(),
            updated_at: created,
            spec: Spec {
                name: secret.name,
                driver: Driver {
                    name: DRIVER,
                    options: BTreeMap::new(),
                },
                labels: secret.labels,
            },
            secret_data: data.map(|data| String::from_utf8_lossy(&data).into_owned()),
        }
    }
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ObjectFormat::parse(args.format.as_deref())?;
    let engine = context.engine()?;
    let mut objects = Vec::new();
    let mut status = ExitCode::SUCCESS;
    for name in &args.secrets {
        let found = engine.secret(name).and_then(|secret| {
            let data = args.showsecret.then(|| engine.secret_data(&secret));
            Ok((data.transpose()?, secret))
        });
        match found {
            Ok((data, secret)) => objects.push(Object::new(secret, data)),
            Err(error) => {
                Failure::engine(error).say();
                status = ExitCode::FAILURE;
            }
        }
    }
    format.write_list(&objects, &mut io::stdout().lock())?;
    Ok(status)
}
