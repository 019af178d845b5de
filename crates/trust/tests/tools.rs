//! Running the tools, in a directory of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gamut_spec::{Digest, Reference};

/// A directory for keys and files. What `gpg` leaves running there is ended.
pub(crate) struct Desk {
    pub(crate) directory: tempfile::TempDir,
}

impl Desk {
    /// `None`: the program is not here; it has been said.
    pub(crate) fn with(program: &str) -> Option<Self> {
        let found = Command::new(program)
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            eprintln!("skipped: there is no {program}");
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("trust-")
            .tempdir()
            .expect("a directory");
        Some(Self { directory })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs `LINE` with a shell in the directory; its standard output.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Vec<u8> {
        let output = Command::new("sh")
            .args(["-ec", line])
            .current_dir(self.directory.path())
            .env("GNUPGHOME", self.home())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        assert!(
            output.status.success(),
            "{line}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    fn home(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .args(["--kill", "all"])
            .env("GNUPGHOME", self.home())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

pub(crate) const IMAGE: &str = "registry.example.org/team/app:1";

pub(crate) fn reference() -> Reference {
    IMAGE.parse().expect("a reference")
}

pub(crate) fn digest() -> Digest {
    format!("sha256:{}", "ab".repeat(32))
        .parse()
        .expect("a digest")
}

pub(crate) fn now_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// A statement about an image.
pub(crate) fn payload(kind: &str, name: &str, digest: &Digest) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{name}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
    )
}
