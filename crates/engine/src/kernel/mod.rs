//! Guest kernels: which one a virtual machine boots, and what is kept of those that were built or imported.
//!
//! A kernel is looked for in this order: the one that was named, the configured one, the newest that was
//! built here, the host's own. A kernel with modules gets those that it needs in the initramfs; nothing of
//! a distribution's tools runs for it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`image`], [`config`] | a kernel's file and its configuration as data |
//! | [`needs`] | what a kernel must have, and why |
//! | [`shelf`] | those that are kept: `kernels/<16 digits>/` |
//! | [`build`], [`source`], [`tools`] | one made from the distribution's source and this program's fragment |
//! | [`host`], [`modules`] | the distribution's own kernel |
//! | [`initramfs`] | the agent and the modules as the guest gets them |

pub mod build;
pub mod config;
mod error;
mod host;
pub mod image;
mod initramfs;
mod modules;
pub mod needs;
mod pack;
pub mod shelf;
mod source;
mod tools;

use std::path::{Path, PathBuf};

use config::Config;
pub use error::KernelError;
use gamut_plan::launch::Discovery;
pub use image::Form;
pub use initramfs::find_agent;

use crate::engine::Engine;

/// A kernel that a machine can boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestKernel {
    pub file: PathBuf,
    /// It is in the store, where nobody writes to it any more.
    pub is_kept: bool,
    pub form: Form,
    /// What `uname -r` says in it, where that is known without reading all of it.
    pub release: Option<String>,
    pub why: Why,
    /// Where its modules are, if it needs any.
    pub modules: Option<PathBuf>,
    pub discovery: Discovery,
}

/// What made a kernel the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was asked for.
    Named,
    /// `gamut kernel use`.
    Configured,
    /// The newest that `gamut kernel build` made.
    Built,
    /// The host runs it, or has it installed.
    Host,
}

impl Why {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Why::Named => "named",
            Why::Configured => "configured",
            Why::Built => "built here",
            Why::Host => "the host's own",
        }
    }
}

impl Engine {
    /// The kernel for a guest: `wanted` is a path, or the name or the id of one that is kept.
    ///
    /// # Errors
    /// [`KernelError`], with what to do about it.
    pub fn find_kernel(&self, wanted: Option<&str>) -> Result<GuestKernel, KernelError> {
        let host = Path::new("/");
        if let Some(wanted) = wanted {
            return match self.kept_kernel(wanted) {
                Ok(kept) => Ok(self.guest_kernel(&kept, Why::Named, host)),
                Err(KernelError::Unknown(_)) if is_a_path(wanted) => image::open(Path::new(wanted))
                    .map(|found| {
                        let modules = modules_of(host, found.release.as_deref());
                        GuestKernel {
                            file: std::path::absolute(wanted).unwrap_or_else(|_| wanted.into()),
                            is_kept: false,
                            form: found.form,
                            release: found.release,
                            why: Why::Named,
                            modules,
                            discovery: discovery(Path::new(wanted)),
                        }
                    }),
                Err(error) => Err(error),
            };
        }
        if let Some(kept) = self.configured_kernel()? {
            return Ok(self.guest_kernel(&kept, Why::Configured, host));
        }
        let built = self.kernels()?.into_iter().rfind(shelf::Kept::is_built);
        if let Some(kept) = built {
            return Ok(self.guest_kernel(&kept, Why::Built, host));
        }
        host::find(host)
    }

    fn guest_kernel(&self, kept: &shelf::Kept, why: Why, host: &Path) -> GuestKernel {
        GuestKernel {
            discovery: discovery(&self.kernel_file(kept)),
            file: self.kernel_file(kept),
            is_kept: true,
            form: kept.form,
            modules: modules_of(host, Some(&kept.release)),
            release: Some(kept.release.clone()),
            why,
        }
    }
}

/// Whether it may be a file rather than a name: with a slash in it, or there.
fn is_a_path(wanted: &str) -> bool {
    wanted.contains('/') || Path::new(wanted).is_file()
}

/// Of a kernel's file, by the configuration that lies beside it.
fn discovery(file: &Path) -> Discovery {
    let config = shelf::config_beside(file).map(|text| Config::parse(&text));
    config.as_ref().map(needs::discovery).unwrap_or_default()
}

/// Where this host has modules for a release.
fn modules_of(host: &Path, release: Option<&str>) -> Option<PathBuf> {
    let tree = host.join("lib/modules").join(release?);
    tree.join(modules::DEPENDENCIES).is_file().then_some(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirs::Dirs;

    fn engine(directory: &Path) -> Engine {
        let dirs = Dirs::new(directory.join("root"), directory.join("run"));
        Engine::open(dirs).expect("opened")
    }

    #[test]
    fn what_is_named_comes_before_what_is_configured_and_that_before_what_was_built() {
        let directory = tempfile::tempdir().expect("a directory");
        let engine = engine(directory.path());
        let file = |name: &str| {
            let path = directory.path().join(name);
            let kernel = image::example(name);
            std::fs::write(&path, kernel).expect("written");
            path
        };
        let [older, other] = [file("1.1-older"), file("1.2-other")];
        let older = engine.import_kernel(&older, None).expect("imported");
        let built = shelf::Origin::Built {
            source: "example".to_owned(),
            compiler: "none".to_owned(),
            recipe: "0".to_owned(),
        };
        let content = image::example("1.3-built");
        let kept = engine.keep_kernel(&content, None, None, built);
        let kept = kept.expect("kept");

        let found = engine.find_kernel(None).expect("found");
        assert_eq!(
            (found.why, found.release.as_deref()),
            (Why::Built, Some("1.3-built"))
        );
        engine.use_kernel(Some(&older.name)).expect("configured");
        let found = engine.find_kernel(None).expect("found");
        assert_eq!(found.why, Why::Configured);
        assert_eq!(found.release.as_deref(), Some("1.1-older"));
        let found = engine.find_kernel(Some(&kept.id[..6])).expect("found");
        assert_eq!(
            (found.why, found.release.as_deref()),
            (Why::Named, Some("1.3-built"))
        );
        let other = other.to_str().expect("text");
        let found = engine.find_kernel(Some(other)).expect("found");
        assert_eq!((found.why, found.file.to_str()), (Why::Named, Some(other)));

        engine.remove_kernel(&older.id).expect("removed");
        let found = engine.find_kernel(None).expect("found");
        assert_eq!(found.why, Why::Built);
        let missing = engine.find_kernel(Some("no-such")).expect_err("refused");
        assert!(matches!(missing, KernelError::Unknown(_)), "{missing}");
    }
}
