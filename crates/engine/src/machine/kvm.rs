//! What this host's KVM is good for, found out once a boot: making a machine to try it, and taking that down
//! again, takes longer than the rest of a start's preparation.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gamut_vmm::probe::{self, Support};

const DEVICE: &str = "/dev/kvm";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// In the cache directory: which boot and device this is of, and the answer.
const REMEMBERED: &str = "kvm";
const USABLE: &str = "usable";
const EMULATES: &str = "emulates ring 0";

/// [`probe::probe`], or what it said before of the same device. Whether it may be opened is asked each time.
pub(super) fn support(cache: &Path) -> Support {
    if !may_open() {
        return probe::probe();
    }
    let Some(key) = key() else {
        return probe::probe();
    };
    let path = cache.join(REMEMBERED);
    let remembered = std::fs::read_to_string(&path).unwrap_or_default();
    match remembered.strip_prefix(&key) {
        Some(USABLE) => return Support::Usable,
        Some(EMULATES) => return Support::EmulatesRing0,
        _ => {}
    }
    let support = probe::probe();
    let answer = match support {
        Support::Usable => USABLE,
        Support::EmulatesRing0 => EMULATES,
        _ => return support,
    };
    // Less than a page: whoever reads it meanwhile finds all of it or nothing that it knows. One that cannot be
    // written is found out again.
    let _ = std::fs::create_dir_all(cache).and_then(|()| std::fs::write(&path, key + answer));
    support
}

/// Whether there is a KVM for this user.
pub(super) fn may_open() -> bool {
    let device = std::fs::File::options().read(true).write(true).open(DEVICE);
    device.is_ok()
}

/// Another kernel, or a module that was loaded anew, makes another one.
fn key() -> Option<String> {
    let boot = std::fs::read_to_string(BOOT).ok()?;
    let device = std::fs::metadata(DEVICE).ok()?;
    let (made_s, made_ns) = (device.ctime(), device.ctime_nsec());
    Some(format!("{} {made_s}.{made_ns:09} ", boot.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_out_is_remembered_of_this_boot_and_device() {
        let Some(key) = key().filter(|_| may_open()) else {
            eprintln!("skipped: no KVM here");
            return;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cache/kvm");
        let found = support(&directory.path().join("cache"));
        let kept = std::fs::read_to_string(&path).expect("it is kept");
        assert!(kept.starts_with(&key), "{kept}");
        let is_usable = matches!(found, Support::Usable);
        assert_eq!(kept.ends_with(USABLE), is_usable, "{kept}");
        // The other answer is believed of this device, and of no other.
        let other = if is_usable { EMULATES } else { USABLE };
        let ask = || matches!(support(&directory.path().join("cache")), Support::Usable);
        std::fs::write(&path, key + other).expect("written");
        assert_eq!(ask(), !is_usable);
        std::fs::write(&path, format!("another {other}")).expect("written");
        assert_eq!(ask(), is_usable);
    }
}
