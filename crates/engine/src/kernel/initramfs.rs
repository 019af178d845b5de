//! The file that a guest gets its agent and modules in, made once for each pair of them and kept in the
//! cache, so that a start only opens it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gamut_store::blob::Blobs;
use gamut_vmm::initramfs;

use super::error::KernelError;
use super::{GuestKernel, modules};
use crate::engine::Engine;

const PREFIX: &str = "initramfs-";
/// Of a digest: enough for the names of a handful of files.
const KEY_DIGITS: usize = 16;

/// The agent's file: named by GAMUT_AGENT, or beside this program, or in `../libexec/gamut` from there.
///
/// # Errors
/// [`KernelError::NoAgent`].
pub fn find_agent() -> Result<PathBuf, KernelError> {
    const AGENT: &str = "gamut-agent";
    if let Some(named) = std::env::var_os("GAMUT_AGENT").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let program = std::env::current_exe().map_err(KernelError::at("find", "/proc/self/exe"))?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let places = [
        directory.join(AGENT),
        directory.join("../libexec/gamut").join(AGENT),
    ];
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok(place.clone()),
        None => {
            let places = places.map(|place| place.display().to_string());
            Err(KernelError::NoAgent(places.join(", ")))
        }
    }
}

impl Engine {
    /// The file that is the initramfs of `agent` for `kernel`, in the cache.
    ///
    /// # Errors
    /// [`KernelError::Modules`] if the kernel needs a module that is not there, [`KernelError::Initramfs`] if
    /// the agent is no program.
    pub fn guest_initramfs(
        &self,
        kernel: &GuestKernel,
        agent: &Path,
    ) -> Result<PathBuf, KernelError> {
        let path = self.dirs.cache().join(name(kernel, agent)?);
        if path.exists() {
            return Ok(path);
        }
        let program = std::fs::read(agent).map_err(KernelError::at("read", agent))?;
        let modules = match &kernel.modules {
            Some(directory) => modules::needed(directory)?,
            None => Vec::new(),
        };
        let archive = initramfs::build(&program, &modules);
        let archive = archive.map_err(|error| KernelError::Initramfs {
            agent: agent.to_owned(),
            reason: error.to_string(),
        })?;
        self.keep_initramfs(&path, &archive)?;
        Ok(path)
    }

    fn keep_initramfs(&self, path: &Path, archive: &[u8]) -> Result<(), KernelError> {
        let cache = self.dirs.cache();
        std::fs::create_dir_all(&cache).map_err(KernelError::at("make", &cache))?;
        self.forget_others(path);
        let scratch = self.store.scratch()?;
        let made = scratch.path().join("initramfs");
        let kept = std::fs::write(&made, archive).and_then(|()| std::fs::hard_link(&made, path));
        match kept {
            // Another process was first. Its file is not replaced: somebody may be about to link it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(KernelError::at("make", path)),
        }
    }

    /// Those of the same modules and another agent: this program has been replaced.
    fn forget_others(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default();
        let text = name.to_string_lossy();
        let Some((of_modules, _)) = text.rsplit_once('-') else {
            return;
        };
        let entries = std::fs::read_dir(self.dirs.cache());
        for entry in entries.into_iter().flatten().flatten() {
            let other = entry.file_name();
            // Another process may have made this very one meanwhile.
            if *other != *name && other.to_string_lossy().starts_with(of_modules) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// `initramfs-<modules>-<agent>`: by which files these are, not by what is in them.
fn name(kernel: &GuestKernel, agent: &Path) -> Result<String, KernelError> {
    let list = kernel
        .modules
        .as_ref()
        .map(|tree| tree.join(modules::DEPENDENCIES));
    let of_modules = match &list {
        Some(list) => key(list)?,
        None => "none".to_owned(),
    };
    Ok(format!("{PREFIX}{of_modules}-{}", key(agent)?))
}

fn key(path: &Path) -> Result<String, KernelError> {
    let stat = std::fs::metadata(path).map_err(KernelError::at("look at", path))?;
    let text = format!(
        "{} {} {} {} {} {} {}",
        env!("CARGO_PKG_VERSION"),
        path.display(),
        stat.dev(),
        stat.ino(),
        stat.size(),
        stat.mtime(),
        stat.mtime_nsec()
    );
    Ok(Blobs::digest(text.as_bytes()).hex()[..KEY_DIGITS].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirs::Dirs;
    use crate::kernel::{Form, Why};

    #[test]
    fn it_is_made_once_for_each_agent() {
        let directory = tempfile::tempdir().expect("a directory");
        let dirs = Dirs::new(directory.path().join("root"), directory.path().join("run"));
        let engine = Engine::open(dirs).expect("opened");
        let kernel = GuestKernel {
            file: PathBuf::from("/none"),
            is_kept: false,
            form: Form::Vmlinux,
            release: None,
            why: Why::Named,
            modules: None,
            discovery: Default::default(),
        };
        let agent = directory.path().join("agent");
        std::fs::copy("/proc/self/exe", &agent).expect("copied");
        let content = || {
            let file = engine.guest_initramfs(&kernel, &agent);
            std::fs::read(file.expect("made")).expect("read")
        };
        let first = content();
        assert!(first.starts_with(b"070701"));
        assert_eq!(first, content());
        let cached = || {
            std::fs::read_dir(engine.dirs.cache())
                .expect("listed")
                .count()
        };
        assert_eq!(cached(), 1);
        std::fs::remove_file(&agent).expect("removed");
        std::fs::write(&agent, &first).expect("written");
        let error = engine
            .guest_initramfs(&kernel, &agent)
            .expect_err("no program");
        assert!(matches!(error, KernelError::Initramfs { .. }), "{error}");
        std::fs::remove_file(&agent).expect("removed");
        std::fs::copy("/proc/self/exe", &agent).expect("copied");
        content();
        assert_eq!(cached(), 1);
    }
}
