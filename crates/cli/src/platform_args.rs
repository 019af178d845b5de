//! The platform of an image, in one word or in parts.

use gamut_plan::request::Platform;
use gamut_spec::image;

use crate::convert::parse_platform;

/// Docker's flag and podman's.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct PlatformArgs {
    /// Platform of the image, such as linux/arm64
    #[arg(long, value_parser = parse_platform, conflicts_with_all = ["arch", "os", "variant"])]
    platform: Option<Platform>,

    /// Architecture of the image, such as arm64, where it is not this machine's
    #[arg(long)]
    arch: Option<String>,

    /// Operating system of the image, where it is not this machine's
    #[arg(long)]
    os: Option<String>,

    /// Variant of the architecture, such as v7
    #[arg(long)]
    variant: Option<String>,
}

impl PlatformArgs {
    /// What was asked for, if anything was.
    #[must_use]
    pub fn wanted(&self) -> Option<Platform> {
        if let Some(platform) = &self.platform {
            return Some(platform.clone());
        }
        let parts = [&self.arch, &self.os, &self.variant];
        if parts.iter().all(|part| part.is_none()) {
            return None;
        }
        let host = image::Platform::host();
        Some(Platform {
            variant: match &self.arch {
                // Another architecture's variants are not this one's.
                Some(_) => self.variant.clone(),
                None => self.variant.clone().or(host.variant),
            },
            os: self.os.clone().unwrap_or(host.os),
            architecture: self.arch.clone().unwrap_or(host.architecture),
        })
    }
}
