//! The lab's real registry: where it is, how to push to it.

use crate::http;
use crate::image::{Blob, Image};
use std::io;
use std::path::Path;
use std::process::Command;

/// A registry that speaks plain HTTP on loopback.
#[derive(Debug, Clone)]
pub struct Registry {
    /// `127.0.0.1:port`
    pub address: String,
}

impl Registry {
    /// The one that `./test` has started and filled (`GAMUT_REGISTRY`), else the lab's, started now.
    pub fn lab() -> Self {
        if let Ok(address) = std::env::var("GAMUT_REGISTRY") {
            return Self { address };
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/image");
        let output = Command::new(&script)
            .arg("up")
            .output()
            .expect("lab/image can be started");
        assert!(
            output.status.success(),
            "lab/image up failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            address: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        }
    }

    /// The full reference of one of the lab's images: `nginx` → `127.0.0.1:5071/nginx:lab`.
    pub fn image(&self, name: &str) -> String {
        match name.contains(':') {
            true => format!("{}/{name}", self.address),
            false => format!("{}/{name}:lab", self.address),
        }
    }

    /// Pushes `image` as `name` (`repository:tag`); returns its full reference.
    pub fn push(&self, image: &Image, name: &str) -> String {
        self.try_push(image, name)
            .unwrap_or_else(|error| panic!("cannot push {name} to {}: {error}", self.address));
        format!("{}/{name}", self.address)
    }

    /// [`Registry::push`] that tells what went wrong.
    pub fn try_push(&self, image: &Image, name: &str) -> io::Result<()> {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        for blob in &image.blobs {
            self.push_blob(repository, blob)?;
        }
        for manifest in &image.manifests {
            self.push_manifest(repository, &manifest.digest, manifest)?;
        }
        self.push_manifest(repository, tag, &image.top)
    }

    fn push_blob(&self, repository: &str, blob: &Blob) -> io::Result<()> {
        let there = http::send(
            &self.address,
            "HEAD",
            &format!("/v2/{repository}/blobs/{}", blob.digest),
            &[],
            &[],
        )?;
        if there.status == 200 {
            return Ok(());
        }
        let opened = http::send(
            &self.address,
            "POST",
            &format!("/v2/{repository}/blobs/uploads/"),
            &[],
            &[],
        )?;
        let location = opened.headers.get("location").cloned().unwrap_or_default();
        let target = location
            .split_once(&self.address)
            .map_or(location.as_str(), |(_, path)| path);
        let separator = if target.contains('?') { '&' } else { '?' };
        let target = format!("{target}{separator}digest={}", blob.digest);
        let done = http::send(
            &self.address,
            "PUT",
            &target,
            &[("Content-Type", "application/octet-stream")],
            &blob.bytes,
        )?;
        expect(done.status, 201, &format!("blob {}", blob.digest))
    }

    fn push_manifest(&self, repository: &str, reference: &str, manifest: &Blob) -> io::Result<()> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let done = http::send(
            &self.address,
            "PUT",
            &target,
            &[("Content-Type", &manifest.media_type)],
            &manifest.bytes,
        )?;
        expect(
            done.status,
            201,
            &format!(
                "manifest {reference}: {}",
                String::from_utf8_lossy(&done.body)
            ),
        )
    }
}

fn expect(status: u16, wanted: u16, what: &str) -> io::Result<()> {
    match status == wanted {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "the registry answered {status} to {what}"
        ))),
    }
}
