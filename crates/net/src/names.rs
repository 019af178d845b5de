//! Who is called what on a network: links in a directory, which need no daemon, no database and no
//! opening to be read.
//!
//! `names/NAME/CONTAINER` leads to the container's addresses, `addresses/ADDRESS/CONTAINER` to its name.
//! They lead to words, not to files: one system call makes such a link whole, one reads it. Whose keeper
//! is dead (its lock is free) is not told of any more.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The longest name (RFC 1035 section 2.3.4).
const NAME_BYTES: usize = 253;

/// The names of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    run_root: PathBuf,
    directory: PathBuf,
}

/// A container as its network knows it.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    pub container_id: &'a str,
    /// The first one is what its addresses lead to.
    pub names: &'a [String],
    pub addresses: &'a [IpAddr],
}

impl Names {
    /// Those of a network, below the directory that has the keepers' locks.
    pub fn new(run_root: &Path, network_id: &str) -> Names {
        Names {
            run_root: run_root.to_owned(),
            directory: run_root.join("networks").join(network_id),
        }
    }

    /// Makes a container known. What cannot be a name is left out.
    pub fn register(&self, who: Called<'_>) -> io::Result<()> {
        let addresses: Vec<String> = who.addresses.iter().map(IpAddr::to_string).collect();
        for place in self.places(who) {
            link(&place.join(who.container_id), &addresses.join(" "))?;
        }
        let Some(first) = who.names.first() else {
            return Ok(());
        };
        for address in addresses {
            link(&self.of_address(&address).join(who.container_id), first)?;
        }
        Ok(())
    }

    /// Takes back what [`Self::register`] did; what is not there is fine.
    pub fn forget(&self, who: Called<'_>) {
        let of_addresses = who.addresses.iter();
        let of_addresses = of_addresses.map(|address| self.of_address(&address.to_string()));
        for place in self.places(who).chain(of_addresses) {
            let _ = std::fs::remove_file(place.join(who.container_id));
            // The last one closes the door.
            let _ = std::fs::remove_dir(place);
        }
    }

    /// Takes all away: the network is gone.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }

    /// The addresses behind a name in lower case; none if nobody is called so.
    pub fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let Some(place) = self.of_name(name) else {
            return Vec::new();
        };
        let words = self.living(&place);
        let words = words.iter().flat_map(|text| text.split(' '));
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// What the container with this address is called.
    pub fn name_of(&self, address: IpAddr) -> Option<String> {
        let place = self.of_address(&address.to_string());
        self.living(&place).into_iter().next()
    }

    fn places(&self, who: Called<'_>) -> impl Iterator<Item = PathBuf> {
        let names = who.names.iter().map(|name| name.to_ascii_lowercase());
        names.filter_map(|name| self.of_name(&name))
    }

    fn of_name(&self, name: &str) -> Option<PathBuf> {
        let is_name = is_resolvable(name);
        is_name.then(|| self.directory.join("names").join(name))
    }

    fn of_address(&self, address: &str) -> PathBuf {
        self.directory.join("addresses").join(address)
    }

    /// What the links of a place lead to, of those whose keeper lives.
    fn living(&self, place: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(place) else {
            return Vec::new();
        };
        let entries = entries.flatten();
        let entries = entries.filter(|entry| {
            let lock = self.run_root.join(entry.file_name()).join("lock");
            is_locked(&lock)
        });
        let texts = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        texts
            .filter_map(|text| text.into_os_string().into_string().ok())
            .collect()
    }
}

/// Whether a text can be asked for by DNS, and be a file's name.
pub fn is_resolvable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    let labels = name.split('.');
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && labels
            .map(str::len)
            .all(|length| (1..=63).contains(&length))
}

fn link(path: &Path, text: &str) -> io::Result<()> {
    for _ in 0..10 {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match std::os::unix::fs::symlink(text, path) {
            // The container's last run did not end well.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let _ = std::fs::remove_file(path);
            }
            // Somebody else of that name has just closed the door.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    // Shared: two who ask at once do not take each other for a keeper.
    let tried = flock(&file, FlockOperation::NonBlockingLockShared);
    matches!(tried, Err(Errno::AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> PathBuf {
        let path = std::env::temp_dir().join(format!("gamut-names-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn only_the_living_are_told_of() {
        let run_root = temporary();
        let names = Names::new(&run_root, "net");
        let address: IpAddr = "10.1.0.2".parse().unwrap();
        let called = ["Web".to_owned(), "www.example".to_owned(), "a/b".to_owned()];
        let who = Called {
            container_id: "c1",
            names: &called,
            addresses: &[address, "fd00::2".parse().unwrap()],
        };
        names.register(who).unwrap();
        names.register(who).unwrap();
        assert!(names.addresses_of("web").is_empty());
        std::fs::create_dir_all(run_root.join("c1")).unwrap();
        let lock = File::create(run_root.join("c1/lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        assert_eq!(names.addresses_of("web").len(), 2);
        assert_eq!(names.addresses_of("www.example")[0], address);
        assert!(names.addresses_of("../c1").is_empty());
        assert_eq!(names.name_of(address).as_deref(), Some("Web"));
        names.forget(who);
        names.forget(who);
        assert!(names.addresses_of("web").is_empty());
        assert_eq!(names.name_of(address), None);
        std::fs::remove_dir_all(&run_root).unwrap();
    }
}
