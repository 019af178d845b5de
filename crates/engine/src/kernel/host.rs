//! The host's own kernel as a guest's: the one that runs, or else one that is installed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::config::Config;
use super::error::KernelError;
use super::needs::{self, Lack, Weight};
use super::{GuestKernel, Why, image, modules_of};

/// Where distributions put a release's kernel.
fn places(host: &Path, release: &str) -> [PathBuf; 2] {
    [
        host.join(format!("boot/vmlinuz-{release}")),
        host.join(format!("lib/modules/{release}/vmlinuz")),
    ]
}

/// The kernel of the host whose root is `host`.
pub(super) fn find(host: &Path) -> Result<GuestKernel, KernelError> {
    let mut worst = None;
    for release in releases(host) {
        for file in places(host, &release) {
            if !file.exists() {
                continue;
            }
            match usable(host, file, &release) {
                Ok(kernel) => return Ok(kernel),
                // The first is the best that there is to say something about.
                Err(error) => worst = worst.or(Some(error)),
            }
        }
    }
    Err(worst.unwrap_or_else(|| {
        let none = "none was named or built, and the host has none in /boot or /lib/modules";
        KernelError::None(none.to_owned())
    }))
}

fn usable(host: &Path, file: PathBuf, release: &str) -> Result<GuestKernel, KernelError> {
    let found = image::open(&file)?;
    // Without its configuration it is tried: the guest says what is missing.
    let config = config(host, release).map(|text| Config::parse(&text));
    let is_needed = |lack: &Lack| lack.weight == Weight::Needed;
    let lacks = config.as_ref().map(needs::lacks).into_iter().flatten();
    let lacks: Vec<Lack> = lacks.filter(is_needed).collect();
    if !lacks.is_empty() {
        return Err(KernelError::Lacks { file, lacks });
    }
    Ok(GuestKernel {
        modules: modules_of(host, Some(release)),
        discovery: config.as_ref().map(needs::discovery).unwrap_or_default(),
        form: found.form,
        release: Some(release.to_owned()),
        file,
        is_kept: false,
        why: Why::Host,
    })
}

fn config(host: &Path, release: &str) -> Option<String> {
    let places = [
        host.join(format!("boot/config-{release}")),
        host.join(format!("lib/modules/{release}/config")),
    ];
    places
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
}

/// The one that runs, then those that have modules, the newest first.
fn releases(host: &Path) -> Vec<String> {
    let running = rustix::system::uname();
    let running = running.release().to_string_lossy().into_owned();
    let mut others: Vec<(SystemTime, String)> = std::fs::read_dir(host.join("lib/modules"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let changed = entry.metadata().ok()?.modified().ok()?;
            (name != running).then_some((changed, name))
        })
        .collect();
    others.sort_unstable_by(|a, b| b.cmp(a));
    let others = others.into_iter().map(|(_, name)| name);
    std::iter::once(running).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(host: &Path, name: &str, content: &[u8]) {
        let path = host.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    #[test]
    fn one_with_modules_is_found_and_one_that_lacks_something_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = directory.path();
        let none = find(host).expect_err("refused");
        assert!(matches!(none, KernelError::None(_)), "{none}");

        write(host, "boot/vmlinuz-1.2-x", &image::example("1.2-x"));
        write(host, "lib/modules/1.2-x/modules.dep", b"");
        let found = find(host).expect("found");
        assert_eq!(found.release.as_deref(), Some("1.2-x"));
        assert_eq!(found.modules, Some(host.join("lib/modules/1.2-x")));

        write(host, "boot/config-1.2-x", b"CONFIG_64BIT=y\n");
        let lacks = find(host).expect_err("refused");
        assert!(lacks.to_string().contains("CONFIG_EROFS_FS"), "{lacks}");
        assert!(!lacks.to_string().contains("CONFIG_64BIT"), "{lacks}");
    }
}
