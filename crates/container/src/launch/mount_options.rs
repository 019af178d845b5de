//! The options of a mount: mount(8)'s words, and those that runc and crun added to them.

use gamut_sys::mount::{Reach, attr, propagation};

/// Options of a mount, sorted into attributes of the mount and parameters of the file system.
pub(super) struct Options {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) recursive_readonly: bool,
    pub(super) bind: Option<Reach>,
    /// What passes between the mount and the host's, and whether that goes for those below it.
    pub(super) propagation: Option<(u64, Reach)>,
    pub(super) copy_up: bool,
    /// Whether files are shown with other owners, and whether that goes for mounts below.
    pub(super) mapped: Option<Reach>,
    pub(super) parameters: Vec<(String, Option<String>)>,
}

/// mount(8)'s words; runtime specification, "Linux mount options".
pub(super) fn sort_options(options: &[String]) -> Options {
    let mut sorted = Options {
        set: 0,
        clear: 0,
        recursive_readonly: false,
        bind: None,
        propagation: None,
        copy_up: false,
        mapped: None,
        parameters: Vec::new(),
    };
    for option in options {
        let (set, clear) = match option.as_str() {
            "ro" => (attr::RDONLY, 0),
            "rro" => {
                sorted.recursive_readonly = true;
                (attr::RDONLY, 0)
            }
            "rw" => (0, attr::RDONLY),
            "nosuid" => (attr::NOSUID, 0),
            "suid" => (0, attr::NOSUID),
            "nodev" => (attr::NODEV, 0),
            "dev" => (0, attr::NODEV),
            "noexec" => (attr::NOEXEC, 0),
            "exec" => (0, attr::NOEXEC),
            "noatime" => (attr::NOATIME, attr::ATIME),
            "strictatime" => (attr::STRICTATIME, attr::ATIME),
            "relatime" => (0, attr::ATIME),
            "nodiratime" => (attr::NODIRATIME, 0),
            "nosymfollow" => (attr::NOSYMFOLLOW, 0),
            "bind" => {
                sorted.bind = Some(Reach::One);
                continue;
            }
            "rbind" => {
                sorted.bind = Some(Reach::Tree);
                continue;
            }
            "defaults" | "async" => continue,
            "idmap" | "ridmap" => {
                sorted.mapped = Some(match option.as_str() {
                    "idmap" => Reach::One,
                    _ => Reach::Tree,
                });
                continue;
            }
            "tmpcopyup" => {
                sorted.copy_up = true;
                continue;
            }
            word if propagation_of(word).is_some() => {
                sorted.propagation = propagation_of(word);
                continue;
            }
            other => {
                sorted.parameters.push(match other.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (other.to_owned(), None),
                });
                continue;
            }
        };
        sorted.set = (sorted.set & !clear) | set;
        sorted.clear |= clear;
    }
    sorted
}

/// mount_namespaces(7), "Shared subtrees"; with an `r` for the whole tree.
fn propagation_of(word: &str) -> Option<(u64, Reach)> {
    Some(match word {
        "private" => (propagation::PRIVATE, Reach::One),
        "rprivate" => (propagation::PRIVATE, Reach::Tree),
        "slave" => (propagation::SLAVE, Reach::One),
        "rslave" => (propagation::SLAVE, Reach::Tree),
        "shared" => (propagation::SHARED, Reach::One),
        "rshared" => (propagation::SHARED, Reach::Tree),
        "unbindable" => (propagation::UNBINDABLE, Reach::One),
        "runbindable" => (propagation::UNBINDABLE, Reach::Tree),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted() {
        let words = [
            "nosuid",
            "ro",
            "rw",
            "ro",
            "mode=755",
            "newinstance",
            "rbind",
            "noatime",
            "relatime",
        ];
        let options = sort_options(&words.map(String::from));
        assert_eq!(options.set, attr::NOSUID | attr::RDONLY);
        assert_eq!(options.bind, Some(Reach::Tree));
        assert_eq!(
            options.parameters,
            [
                ("mode".into(), Some("755".into())),
                ("newinstance".into(), None)
            ],
            "what is no attribute goes to the file system"
        );
    }
}
