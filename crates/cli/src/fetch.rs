//! The image that a command needs: found here, or pulled, as the policy says.

use gamut_engine::pull::{Fetch, Freshness, PullError, Pulled};
use gamut_engine::{Engine, EngineError, Source, registry};
use gamut_plan::request::{self, PullPolicy, RunRequest};
use gamut_spec::image::Platform;
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};

use crate::error::Failure;
use crate::progress::{Form, Shown, Style};
use crate::registry_args::RegistryArgs;

/// The image of `request`, pulled if the policy says so; progress goes to standard error unless
/// `quiet`.
pub fn source(
    engine: &mut Engine,
    request: &RunRequest,
    quiet: bool,
    access: &RegistryArgs,
) -> Result<Source, Failure> {
    let wanted = request.platform.as_ref().map(platform);
    let missing = match request.pull {
        PullPolicy::Always => None,
        PullPolicy::Missing | PullPolicy::Lazy | PullPolicy::Never => {
            match here(engine, request, wanted.as_ref())? {
                Ok(source) => return Ok(source),
                Err(why) => Some(why),
            }
        }
    };
    if let (Some(why), PullPolicy::Never) = (&missing, request.pull) {
        return Err(not_here(why, &request.image, wanted.as_ref()));
    }
    let reference = parse(&request.image)?;
    let style = Style::unless_quiet(quiet, Form::Auto);
    let progress = Shown::of(style);
    if missing.is_some() {
        progress.say(&format!(
            "Unable to find image '{}' locally",
            reference.familiar()
        ));
    }
    let how = match request.pull {
        PullPolicy::Lazy => Fetch::Lazy,
        _ => Fetch::Whole,
    };
    let pulled = pull(engine, &reference, wanted.as_ref(), how, &progress, access)?;
    progress.say(&digest_line(&pulled));
    progress.say(&status_line(&pulled, &reference));
    engine
        .source(&pulled.image.id.to_string())
        .map_err(Failure::engine)
}

/// Pulls `reference`, for this machine unless another platform is `wanted`.
pub fn pull(
    engine: &mut Engine,
    reference: &Reference,
    wanted: Option<&Platform>,
    how: Fetch,
    progress: &Shown,
    access: &RegistryArgs,
) -> Result<Pulled, Failure> {
    progress.say(&format!(
        "{}: Pulling from {}",
        reference.selector(),
        reference.repository()
    ));
    let host = Platform::host();
    engine
        .pull(
            reference,
            wanted.unwrap_or(&host),
            access.options(reference.registry())?,
            how,
            progress,
        )
        .map_err(Failure::engine)
}

/// How this user and this host meet registries.
pub fn options() -> Result<registry::Options, Failure> {
    registry::options().map_err(Failure::engine)
}

/// `Digest: sha256:…`
pub fn digest_line(pulled: &Pulled) -> String {
    format!("Digest: {}", pulled.digest)
}

/// Docker's last line of a pull.
pub fn status_line(pulled: &Pulled, reference: &Reference) -> String {
    let name = reference.familiar();
    match pulled.freshness {
        Freshness::UpToDate => format!("Status: Image is up to date for {name}"),
        Freshness::Newer => format!("Status: Downloaded newer image for {name}"),
    }
}

/// The name of an image as typed.
pub fn parse(text: &str) -> Result<Reference, Failure> {
    text.parse()
        .map_err(|error| Failure::engine(EngineError::Reference(error)))
}

/// The name of an image in a registry; Skopeo's and Podman's `docker://` may precede it.
pub fn parse_remote(text: &str) -> Result<Reference, Failure> {
    parse(text.strip_prefix("docker://").unwrap_or(text))
}

/// A name that an image can be given.
pub fn tag(text: &str) -> Result<Reference, Failure> {
    let reference = parse(text)?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(Failure::engine(NotATag(text.to_owned()))),
    }
}

/// Only a registry gives digests.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` has a digest and cannot be given as a name")]
struct NotATag(String);

impl Fault for NotATag {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write it as [HOST/]NAME[:TAG]".to_owned())
    }
}

/// `--platform` as the images' room has it.
pub fn platform(platform: &request::Platform) -> Platform {
    Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        os_version: None,
    }
}

/// Why an image that could be here is not.
#[derive(Debug)]
enum Absence {
    Unknown,
    /// It is here for this platform only.
    Other(Platform),
}

fn here(
    engine: &Engine,
    request: &RunRequest,
    wanted: Option<&Platform>,
) -> Result<Result<Source, Absence>, Failure> {
    let source = match engine.source(&request.image) {
        Ok(source) => source,
        Err(EngineError::NoImage(_)) => return Ok(Err(Absence::Unknown)),
        Err(error) => return Err(Failure::engine(error)),
    };
    let Some(wanted) = wanted else {
        return Ok(Ok(source));
    };
    let offered = engine
        .config_of(&source)
        .map_err(Failure::engine)?
        .platform();
    Ok(match wanted.accepts(&offered) {
        true => Ok(source),
        false => Err(Absence::Other(offered)),
    })
}

fn not_here(why: &Absence, image: &str, wanted: Option<&Platform>) -> Failure {
    match (why, wanted) {
        (Absence::Other(offered), Some(wanted)) => {
            Failure::engine(EngineError::from(PullError::Platform {
                offered: Box::new(offered.clone()),
                wanted: Box::new(wanted.clone()),
            }))
        }
        _ => Failure::engine(EngineError::NoImage(image.to_owned())),
    }
}
