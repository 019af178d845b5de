//! `gamut inspect`.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Context;
use crate::error::Failure;
use crate::fetch;
use crate::format::ObjectFormat;
use crate::inspect::{Container, Image, Sizes};
use gamut_engine::Engine;
use gamut_engine::images::ImageView;
use gamut_engine::referrers::{Referrer, referrers};
use gamut_spec::image::ImageConfig;
use gamut_spec::{Fault, Kind};

/// Print everything about containers and images, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instead, print the documents that images came with of a type, such as spdx
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["format", "referrers", "size"])]
    pub attestation: Option<String>,

    /// A Go template for each of them, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// With what the registry has about images: signatures, SBOMs, attestations
    #[arg(long)]
    pub referrers: bool,

    /// With the sizes of containers
    #[arg(short, long)]
    pub size: bool,

    /// Only objects of this type
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<ObjectKind>,

    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// What `--type` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ObjectKind {
    Container,
    Image,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ObjectFormat::parse(args.format.as_deref())?;
    let mut engine = context.engine()?;
    if let Some(kind) = &args.attestation {
        return attestations(&engine, &args.names, kind);
    }
    let mut objects = Vec::new();
    let mut status = ExitCode::SUCCESS;
    for name in &args.names {
        match object(&mut engine, &args, name) {
            Ok(object) => objects.push(object),
            Err(failure) => {
                failure.say();
                status = ExitCode::FAILURE;
            }
        }
    }
    // A template has nothing to say of nothing; without one, the list is there, as in Docker.
    format.write_list(&objects, &mut io::stdout().lock())?;
    Ok(status)
}

/// Each document on lines of its own.
fn attestations(engine: &Engine, names: &[String], kind: &str) -> Result<ExitCode, Failure> {
    let mut output = io::stdout().lock();
    for name in names {
        let image = engine.find_image(name).map_err(Failure::engine)?;
        let documents = engine.attestation(&image, kind);
        for document in documents.map_err(Failure::engine)? {
            let end: &[u8] = if document.ends_with(b"\n") {
                b""
            } else {
                b"\n"
            };
            let written = output.write_all(&document);
            written
                .and_then(|()| output.write_all(end))
                .map_err(Failure::Output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Object {
    Container(Box<Container>),
    Image(Box<Image>),
}

fn object(engine: &mut Engine, args: &Args, name: &str) -> Result<Object, Failure> {
    if args.kind != Some(ObjectKind::Image) {
        match engine.container(name) {
            Ok(view) => {
                let sizes = match args.size {
                    true => Sizes::Measured,
                    false => Sizes::No,
                };
                let container = Container::of(engine, &view, sizes);
                return Ok(Object::Container(Box::new(container)));
            }
            Err(error) if args.kind.is_none() && error.kind() == Kind::NotFound => {}
            Err(error) => return Err(Failure::engine(error)),
        }
    }
    let image = match engine.find_image(name) {
        Ok(image) => image,
        Err(error) if args.kind.is_none() && error.kind() == Kind::NotFound => {
            return Err(Failure::engine(NoObject(name.to_owned())));
        }
        Err(error) => return Err(Failure::engine(error)),
    };
    let config = engine.image_config(&image).map_err(Failure::engine)?;
    let view = engine.view_of(image).map_err(Failure::engine)?;
    let driver = engine.driver_of(&view.image);
    let present_bytes = engine.present_bytes(&view.image).map_err(Failure::engine)?;
    let mut image = Image::of(&view, &config, driver, present_bytes);
    let came_with = engine.attestations(&view.image);
    image.set_attestations(came_with.map_err(Failure::engine)?);
    if args.referrers {
        image.set_referrers(&referrers_of(&view, &config)?);
    }
    Ok(Object::Image(Box::new(image)))
}

/// What the registry that the image came from, or went to, has about it.
fn referrers_of(view: &ImageView, config: &ImageConfig) -> Result<Vec<Referrer>, Failure> {
    let Some(name) = view.digests.first() else {
        return Ok(Vec::new());
    };
    let reference = fetch::parse(name)?;
    let found = referrers(&reference, &config.platform(), None, fetch::options()?);
    found.map_err(Failure::engine)
}

/// Neither a container nor an image has the name.
#[derive(Debug, thiserror::Error)]
#[error("no such container or image: {0}")]
struct NoObject(String);

impl Fault for NoObject {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn hint(&self) -> Option<String> {
        Some("`gamut ps -a` and `gamut images` list what there is".to_owned())
    }
}
