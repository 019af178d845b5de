//! `gamut save`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_platform;
use crate::error::Failure;
use crate::fetch;
use crate::output_file::{OutputFile, aside};
use gamut_engine::Engine;
use gamut_engine::save::{Files, SaveFormat};
use gamut_plan::request::Platform;

/// Write images to an archive or a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or directory to write to, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// docker-archive, oci-archive, or the directories oci-dir and docker-dir
    #[arg(long, value_enum, default_value = "docker-archive")]
    pub format: Format,

    /// Only if the image is for this platform, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Accepted for Podman's sake: several images may always be named
    #[arg(short, long)]
    pub multi_image_archive: bool,

    /// Accepted for Podman's sake: nothing is said
    #[arg(short, long)]
    pub quiet: bool,

    /// Names or ids; a name without a tag is all tags of its repository
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// What an image is saved as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    DockerArchive,
    OciArchive,
    OciDir,
    DockerDir,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let engine = context.engine()?;
    let (format, directory) = match args.format {
        Format::DockerArchive => (SaveFormat::DockerArchive, false),
        Format::OciArchive => (SaveFormat::OciArchive, false),
        Format::OciDir => (SaveFormat::OciDirectory, true),
        Format::DockerDir => (SaveFormat::DockerDirectory, true),
    };
    let platform = args.platform.as_ref().map(fetch::platform);
    let save = Save {
        engine: &engine,
        images: &args.images,
        platform: platform.as_ref(),
        format,
    };
    match (directory, &args.output) {
        (true, Some(path)) => save.directory(path)?,
        (true, None) => {
            return Err(Failure::NeedsFlag {
                flag: "--output",
                what: "a directory has to have a name",
            });
        }
        (false, path) => save.file(path.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Save<'a> {
    engine: &'a Engine,
    images: &'a [String],
    platform: Option<&'a gamut_spec::image::Platform>,
    format: SaveFormat,
}

impl Save<'_> {
    fn file(&self, path: Option<&Path>) -> Result<(), Failure> {
        let output = OutputFile::open(path)?;
        let files = Files::tar(output);
        let saved = self
            .engine
            .save(self.images, self.platform, self.format, files)
            .map_err(Failure::engine)?;
        saved.map_or(Ok(()), OutputFile::finish)
    }

    /// Filled under another name: a directory of that name is whole.
    fn directory(&self, path: &Path) -> Result<(), Failure> {
        let failed = |source| Failure::Write {
            path: path.to_owned(),
            source,
        };
        let aside = aside(path);
        std::fs::create_dir(&aside).map_err(failed)?;
        let files: Files<OutputFile> = Files::below(aside.clone());
        let saved = self
            .engine
            .save(self.images, self.platform, self.format, files)
            .map_err(Failure::engine)
            // An empty directory may be replaced, another may not: rename(2).
            .and_then(|_| std::fs::rename(&aside, path).map_err(failed));
        if saved.is_err() {
            let _ = std::fs::remove_dir_all(&aside);
        }
        saved
    }
}
