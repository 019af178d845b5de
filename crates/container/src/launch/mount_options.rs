//! The options of a mount: mount(8)'s words, and those that runc and crun added to them.

use gamut_sys::mount::{Reach, attr, propagation};

/// Options of a mount, sorted into attributes of the mount and parameters of the file system.
#[derive(Default)]
pub(super) struct Options {
    pub(super) flags: Flags,
    /// Those of all mounts below, too: `rro` and its like.
    pub(super) recursive: Flags,
    pub(super) bind: Option<Reach>,
    /// What passes between the mount and the host's, and whether that goes for those below it.
    pub(super) propagation: Option<(u64, Reach)>,
    pub(super) copy_up: bool,
    /// Whether what is mounted there already is to be changed.
    pub(super) remount: bool,
    /// Whether files are shown with other owners, and whether that goes for mounts below.
    pub(super) mapped: Option<Reach>,
    /// What of the source is mounted, by a path that does not leave it.
    pub(super) subdirectory: Option<String>,
    pub(super) parameters: Vec<(String, Option<String>)>,
}

/// Attributes that were asked for by name, of [`attr`]; a later word wins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) set: u64,
    /// Not to be there.
    pub(super) clear: u64,
    pub(super) access_time: AccessTime,
    /// Whether there was any word.
    pub(super) named: bool,
}

/// Whether one of the ways to keep access times was chosen; relatime is the one without a bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum AccessTime {
    #[default]
    Kept,
    Chosen,
}

impl Flags {
    fn take(&mut self, word: Word) {
        let (set, clear) = (word.set, word.clear);
        let chosen = word.access_time == AccessTime::Chosen;
        let replaced = if chosen && set != attr::NODIRATIME {
            attr::ATIME
        } else {
            0
        };
        self.set = (self.set & !(clear | replaced)) | set;
        self.clear = (self.clear & !(set | replaced)) | clear;
        if chosen {
            self.access_time = AccessTime::Chosen;
        }
        self.named = true;
    }
}

/// What one word means.
struct Word {
    set: u64,
    clear: u64,
    access_time: AccessTime,
}

/// mount(8)'s words for what a mount can have of its own, whatever its file system. As with mount(8),
/// `atime` and the like choose nothing: the ways are told apart by those that set one.
fn flag_of(word: &str) -> Option<Word> {
    let (set, clear) = match word {
        "ro" => (attr::RDONLY, 0),
        "rw" => (0, attr::RDONLY),
        "nosuid" => (attr::NOSUID, 0),
        "suid" => (0, attr::NOSUID),
        "nodev" => (attr::NODEV, 0),
        "dev" => (0, attr::NODEV),
        "noexec" => (attr::NOEXEC, 0),
        "exec" => (0, attr::NOEXEC),
        "nosymfollow" => (attr::NOSYMFOLLOW, 0),
        "symfollow" => (0, attr::NOSYMFOLLOW),
        "atime" => (0, attr::NOATIME),
        "nostrictatime" => (0, attr::STRICTATIME),
        "diratime" => (0, attr::NODIRATIME),
        "norelatime" => (0, 0),
        "noatime" | "strictatime" | "relatime" | "nodiratime" => {
            let set = match word {
                "noatime" => attr::NOATIME,
                "strictatime" => attr::STRICTATIME,
                "nodiratime" => attr::NODIRATIME,
                _ => 0,
            };
            return Some(Word {
                set,
                clear: 0,
                access_time: AccessTime::Chosen,
            });
        }
        _ => return None,
    };
    Some(Word {
        set,
        clear,
        access_time: AccessTime::Kept,
    })
}

/// mount(8)'s words; runtime specification, "Linux mount options".
pub(super) fn sort_options(options: &[String]) -> Options {
    let mut sorted = Options::default();
    for option in options {
        let word = option.as_str();
        if let Some(flag) = flag_of(word) {
            sorted.flags.take(flag);
            continue;
        }
        match word {
            "bind" => sorted.bind = Some(Reach::One),
            "rbind" => sorted.bind = Some(Reach::Tree),
            "defaults" | "async" => {}
            // What the kernel says of an attempt comes back with it, and what has inode versions
            // counts them: there is nothing to set (mount(8)).
            "silent" | "loud" | "iversion" | "noiversion" => {}
            "remount" => sorted.remount = true,
            "idmap" => sorted.mapped = Some(Reach::One),
            "ridmap" => sorted.mapped = Some(Reach::Tree),
            "tmpcopyup" => sorted.copy_up = true,
            _ => {
                if let Some(propagation) = propagation_of(word) {
                    sorted.propagation = Some(propagation);
                } else if let Some(flag) = word.strip_prefix('r').and_then(flag_of) {
                    sorted.recursive.take(flag);
                } else {
                    sorted.parameters.push(match word.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (word.to_owned(), None),
                    });
                }
            }
        }
    }
    if sorted.bind.is_some() {
        let is_part = |(key, _): &mut (String, _)| key == "X-mount.subdir";
        let last = sorted.parameters.extract_if(.., is_part).last();
        sorted.subdirectory = last.and_then(|(_, path)| path);
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
        assert_eq!(options.flags.set, attr::NOSUID | attr::RDONLY);
        assert_eq!(options.flags.access_time, AccessTime::Chosen);
        assert_eq!(options.recursive, Flags::default());
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

    #[test]
    fn a_later_word_wins_and_an_r_reaches_all_below() {
        let sorted = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).into()).collect();
            sort_options(&words)
        };
        let times = sorted(&["noatime", "nodiratime", "strictatime"]).flags;
        assert_eq!(times.set, attr::STRICTATIME | attr::NODIRATIME);
        let cleared = sorted(&["ro", "noatime", "rw", "atime"]).flags;
        assert_eq!(
            (cleared.set, cleared.clear),
            (0, attr::RDONLY | attr::NOATIME)
        );
        let below = sorted(&["rro", "rnosuid", "rdev", "rrelatime", "rbind", "relatime"]);
        assert_eq!(below.recursive.set, attr::RDONLY | attr::NOSUID);
        assert_eq!(below.recursive.clear, attr::NODEV);
        assert_eq!(below.recursive.access_time, AccessTime::Chosen);
        assert_eq!(below.flags.set, 0);
        assert!(below.parameters.is_empty() && !sorted(&["rbind", "rslave"]).flags.named);
    }
}
