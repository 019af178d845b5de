//! `gamut inspect`.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Context;
use crate::command::volume;
use crate::error::Failure;
use crate::fetch;
use crate::format::ObjectFormat;
use crate::inspect::{self, Container, Image, Network, Sizes};
use crate::which;
use gamut_engine::Engine;
use gamut_engine::images::ImageView;
use gamut_engine::referrers::{Referrer, referrers};
use gamut_spec::image::ImageConfig;
use gamut_spec::{Fault, Kind};

/// Print everything about containers, images, networks, volumes and pods, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instead, print the documents that images came with of a type, such as spdx
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["format", "referrers", "size"])]
    pub attestation: Option<String>,

    /// A Go template for each of them, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Instead, print what was written down of a container's last failure: how it ended, what it had used, the
    /// last lines of its output
    #[arg(long, conflicts_with_all = ["referrers", "size", "kind", "attestation"])]
    pub failure: bool,

    /// With what the registry has about images: signatures, SBOMs, attestations
    #[arg(long)]
    pub referrers: bool,

    /// With the sizes of containers
    #[arg(short, long)]
    pub size: bool,

    /// Only objects of this type
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<ObjectKind>,

    /// The container made last
    #[arg(short, long, conflicts_with = "names")]
    pub latest: bool,

    /// Names or ids
    #[arg(value_name = "NAME", required_unless_present = "latest")]
    pub names: Vec<String>,
}

/// What `--type` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ObjectKind {
    Container,
    Image,
    Network,
    Pod,
    Volume,
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
    let mut names = args.names.clone();
    if args.latest {
        names.push(which::latest(&mut engine)?);
    }
    for name in &names {
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
    Network(Box<Network>),
    Volume(Box<volume::inspect::Object>),
    Pod(Box<inspect::Pod>),
    Failure(Box<inspect::Failure>),
}

fn volume(engine: &Engine, name: &str) -> Result<Object, Failure> {
    let volume = engine.volume(name).map_err(Failure::engine)?;
    Ok(Object::Volume(Box::new(volume.into())))
}

fn pod(engine: &mut Engine, name: &str) -> Result<Object, Failure> {
    let pod = engine.pod(name).map_err(Failure::engine)?;
    Ok(Object::Pod(Box::new(inspect::Pod::of(engine, &pod))))
}

fn failure(engine: &mut Engine, name: &str) -> Result<Object, Failure> {
    let view = engine.container(name).map_err(Failure::engine)?;
    let found = engine.failure(&view).map_err(Failure::engine)?;
    let found = found.ok_or_else(|| Failure::engine(NoFailure(view.row.name.clone())))?;
    let denied = engine.denied(&view.row.id, found.started_at_ns, found.at_ns);
    let shown = inspect::Failure::of(&view, found, denied);
    Ok(Object::Failure(Box::new(shown)))
}

#[derive(Debug, thiserror::Error)]
#[error("the container {0} has not failed")]
struct NoFailure(String);

impl Fault for NoFailure {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn hint(&self) -> Option<String> {
        Some("whoever was stopped, or removed with `--rm`, leaves nothing to tell".into())
    }
}

fn object(engine: &mut Engine, args: &Args, name: &str) -> Result<Object, Failure> {
    if args.failure {
        return failure(engine, name);
    }
    match args.kind {
        Some(ObjectKind::Network) => return network(engine, name),
        Some(ObjectKind::Volume) => return volume(engine, name),
        Some(ObjectKind::Pod) => return pod(engine, name),
        _ => {}
    }
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
            return network(engine, name)
                .or_else(|_| volume(engine, name))
                .or_else(|_| pod(engine, name))
                .map_err(|_| Failure::engine(NoObject(name.to_owned())));
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

fn network(engine: &mut Engine, name: &str) -> Result<Object, Failure> {
    let network = engine.network(name).map_err(Failure::engine)?;
    let network = Network::of(engine, &network).map_err(Failure::engine)?;
    Ok(Object::Network(Box::new(network)))
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

/// No container, image or network has the name.
#[derive(Debug, thiserror::Error)]
#[error("no such container, image or network: {0}")]
struct NoObject(String);

impl Fault for NoObject {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn hint(&self) -> Option<String> {
        Some("`gamut ps -a`, `gamut images` and `gamut network ls` list what there is".to_owned())
    }
}
