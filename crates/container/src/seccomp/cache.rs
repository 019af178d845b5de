//! Compiled programs in files, so that a start needs one open and one read instead of a compiler.
//!
//! A file holds a header, the whole key (not only its hash) and the program; its name is the key's
//! hash. A file that is torn, foreign or of another version is passed over and replaced: the cache
//! can make a start slower, never different.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use gamut_sys::seccomp::{Flags, INSTRUCTION_BYTES, MAX_INSTRUCTIONS, Program};
use oci_spec::runtime::LinuxSeccomp;

use super::{Policy, SeccompError, Subject, compile, default};

/// Counts the changes of the compiler and of this format that make older files wrong.
const REVISION: u32 = 1;

/// Where a policy comes from.
#[derive(Debug, Clone, Copy)]
pub enum Profile<'a> {
    /// Docker's default.
    DockerDefault,
    /// The bytes of a profile file ([`Policy::from_profile`]).
    File(&'a [u8]),
    /// The section of an OCI runtime spec ([`Policy::from_oci`]).
    Oci(&'a LinuxSeccomp),
}

impl Profile<'_> {
    /// The policy for `subject`.
    ///
    /// # Errors
    /// What is wrong with the profile.
    pub fn policy(&self, subject: &Subject) -> Result<Policy, SeccompError> {
        match self {
            Self::DockerDefault => Ok(Policy::docker_default(subject)),
            Self::File(json) => Policy::from_profile(json, subject),
            Self::Oci(seccomp) => Policy::from_oci(seccomp, subject.arch),
        }
    }

    /// Everything that the program depends on.
    fn key(&self, subject: &Subject) -> Result<Vec<u8>, SeccompError> {
        let mut key = format!(
            "compiler {REVISION}, {} kernel {} caps {:x}, ",
            subject.arch,
            subject.kernel,
            subject.caps.bits()
        )
        .into_bytes();
        match self {
            Self::DockerDefault => {
                key.extend_from_slice(format!("docker {}", default::REVISION).as_bytes());
            }
            Self::File(json) => {
                key.extend_from_slice(b"file ");
                key.extend_from_slice(json);
            }
            Self::Oci(seccomp) => {
                key.extend_from_slice(b"oci ");
                serde_json::to_writer(&mut key, seccomp)?;
            }
        }
        Ok(key)
    }
}

/// A program that is ready to be attached.
#[derive(Debug)]
pub struct Loaded {
    /// The program.
    pub program: Program,
    /// The flags that it must be attached with.
    pub flags: Flags,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a program came from.
#[derive(Debug)]
pub enum Origin {
    /// The cache had it.
    Cached,
    /// It was compiled, and the cache has it now.
    Compiled,
    /// It was compiled, and the cache can't hold it: why. This costs time and nothing else.
    NotStored(io::Error),
}

/// The program of `profile` for `subject`, from the files in `directory` or compiled. The directory
/// should be its owner's alone (mode 0700); it is made if only its last component is missing.
///
/// # Errors
/// What is wrong with the profile. A failing cache is no error.
pub fn load(
    directory: &Path,
    profile: &Profile<'_>,
    subject: &Subject,
) -> Result<Loaded, SeccompError> {
    let key = profile.key(subject)?;
    let name = format!("{:016x}.bpf", checksum(&[&key]));
    if let Some((program, flags)) = read(&directory.join(&name), &key) {
        return Ok(Loaded {
            program,
            flags,
            origin: Origin::Cached,
        });
    }
    let policy = profile.policy(subject)?;
    let program = compile(&policy)?;
    let flags = policy.attach_flags();
    let origin = match store(directory, &name, &encode(&key, &program, flags)) {
        Ok(()) => Origin::Compiled,
        Err(error) => Origin::NotStored(error),
    };
    Ok(Loaded {
        program,
        flags,
        origin,
    })
}

/// magic, checksum of all that follows, attach flags, bytes of key; then the key and the program
/// to the end of the file. In this machine's byte order.
const HEADER_BYTES: usize = 24;
const MAGIC: &[u8; 8] = b"gamutbpf";
/// A profile file is some 15 kB; one of a megabyte is not worth keeping.
const MAX_FILE_BYTES: usize = 1 << 20;
const MAX_PROGRAM_BYTES: usize = MAX_INSTRUCTIONS * INSTRUCTION_BYTES;

fn encode(key: &[u8], program: &Program, flags: Flags) -> Vec<u8> {
    let program = program.as_bytes();
    // A key over 4 GiB is refused by `store` for its length.
    let key_bytes = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut numbers = [0; 8];
    numbers[..4].copy_from_slice(&flags.bits().to_ne_bytes());
    numbers[4..].copy_from_slice(&key_bytes.to_ne_bytes());
    let mut bytes = Vec::with_capacity(HEADER_BYTES + key.len() + program.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&checksum(&[&numbers, key, program]).to_ne_bytes());
    bytes.extend_from_slice(&numbers);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(program);
    bytes
}

fn decode(bytes: &[u8], key: &[u8]) -> Option<(Program, Flags)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (numbers, rest) = rest.split_first_chunk::<8>()?;
    let (found, program) = rest.split_at_checked(key.len())?;
    let [f0, f1, f2, f3, k0, k1, k2, k3] = *numbers;
    let key_bytes = u32::from_ne_bytes([k0, k1, k2, k3]);
    let fits = magic == MAGIC
        && usize::try_from(key_bytes) == Ok(key.len())
        && found == key
        && checksum(&[numbers, found, program]) == u64::from_ne_bytes(*sum);
    if !fits {
        return None;
    }
    let flags = Flags::from_bits(u32::from_ne_bytes([f0, f1, f2, f3]))?;
    Some((Program::from_bytes(program).ok()?, flags))
}

/// A hash for names and against torn files; nothing relies on it being hard to forge.
fn checksum(parts: &[&[u8]]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(PRIME).rotate_left(29);
    let mut sum = PRIME;
    for part in parts {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            sum = mix(sum, u64::from_ne_bytes(*word));
        }
        for byte in rest {
            sum = mix(sum, u64::from(*byte));
        }
        sum = mix(sum, part.len() as u64);
    }
    sum ^ (sum >> 32)
}

/// The program in the file, if it is one of ours for this key.
fn read(path: &Path, key: &[u8]) -> Option<(Program, Flags)> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let about = file.metadata().ok()?;
    let size = usize::try_from(about.len()).ok()?;
    let is_ours = about.is_file()
        && about.uid() == rustix::process::geteuid().as_raw()
        && about.mode() & 0o022 == 0
        && size >= HEADER_BYTES + key.len()
        && size <= HEADER_BYTES + key.len() + MAX_PROGRAM_BYTES;
    if !is_ours {
        return None;
    }
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes).ok()?;
    decode(&bytes, key)
}

/// Puts the file there at once or not at all.
fn store(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let draft = directory.join(format!(".{name}.{}", draft_id()));
    let mut file = create(&draft).or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        std::fs::create_dir(directory)?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        create(&draft)
    })?;
    // No fsync: after a crash the checksum tells.
    let stored = file
        .write_all(bytes)
        .and_then(|()| std::fs::rename(&draft, directory.join(name)));
    if stored.is_err() {
        // The first error is the one to tell; a draft left behind is only a file too many.
        let _ = std::fs::remove_file(&draft);
    }
    stored
}

/// Differs between the processes and threads that write at one time.
fn draft_id() -> String {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("{thread}-{:x}", now.tv_nsec)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::{CapSet, Capability};
    use crate::seccomp::{Arch, KernelVersion};

    fn subject() -> Subject {
        Subject {
            caps: CapSet::DOCKER_DEFAULT,
            arch: Arch::X86_64,
            kernel: KernelVersion {
                version: 6,
                patchlevel: 18,
            },
        }
    }

    fn load_default(directory: &Path) -> Loaded {
        load(directory, &Profile::DockerDefault, &subject()).unwrap()
    }

    fn only_file(directory: &Path) -> std::path::PathBuf {
        let mut files = std::fs::read_dir(directory).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "more than one file");
        file
    }

    #[test]
    fn the_second_time_it_is_read() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("seccomp");
        let first = load_default(&directory);
        assert!(matches!(first.origin, Origin::Compiled));
        let second = load_default(&directory);
        assert!(matches!(second.origin, Origin::Cached));
        assert_eq!(first.program, second.program);
        assert_eq!(first.flags, second.flags);
        let mode = only_file(&directory).metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn each_subject_and_profile_has_its_own() {
        let root = tempfile::tempdir().unwrap();
        load_default(root.path());
        let mut other = subject();
        other.caps = other.caps.union(CapSet::of(&[Capability::SysAdmin]));
        let json = br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["kill"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        let oci: LinuxSeccomp = serde_json::from_slice(json).unwrap();
        for (profile, subject) in [
            (Profile::DockerDefault, &other),
            (Profile::File(json), &other),
            (Profile::Oci(&oci), &other),
        ] {
            let compiled = load(root.path(), &profile, subject).unwrap();
            assert!(matches!(compiled.origin, Origin::Compiled));
            let cached = load(root.path(), &profile, subject).unwrap();
            assert!(matches!(cached.origin, Origin::Cached));
            assert_eq!(cached.program, compiled.program);
            assert_eq!(cached.flags, compiled.flags);
        }
        let notifying = load(root.path(), &Profile::File(json), &other).unwrap();
        assert!(notifying.flags.contains(Flags::NEW_LISTENER));
    }

    #[test]
    fn damage_is_noticed_and_mended() {
        let root = tempfile::tempdir().unwrap();
        let good = load_default(root.path());
        let file = only_file(root.path());
        let bytes = std::fs::read(&file).unwrap();
        let mut damages: Vec<Vec<u8>> = (0..bytes.len())
            .step_by(37)
            .chain(0..64)
            .map(|at| {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x40;
                damaged
            })
            .collect();
        damages.push(Vec::new());
        damages.push(bytes[..bytes.len() - 8].to_vec());
        damages.push([bytes.as_slice(), &[0; 8]].concat());
        damages.push(vec![0; bytes.len()]);
        for damaged in damages {
            std::fs::write(&file, damaged).unwrap();
            let mended = load_default(root.path());
            assert!(matches!(mended.origin, Origin::Compiled));
            assert_eq!(mended.program, good.program);
        }
    }

    #[test]
    fn files_of_others_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        load_default(root.path());
        let file = only_file(root.path());
        std::fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(load_default(root.path()).origin, Origin::Compiled));

        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("target");
        std::fs::rename(&file, &target).unwrap();
        std::os::unix::fs::symlink(&target, &file).unwrap();
        assert!(matches!(load_default(root.path()).origin, Origin::Compiled));
        assert!(!file.symlink_metadata().unwrap().is_symlink());

        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: giving a file to another user needs root");
            return;
        }
        std::os::unix::fs::chown(&file, Some(1), Some(1)).unwrap();
        assert!(matches!(load_default(root.path()).origin, Origin::Compiled));
    }

    #[test]
    fn no_cache_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("missing").join("too");
        let loaded = load_default(&directory);
        assert!(matches!(loaded.origin, Origin::NotStored(_)));
        let file = root.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(matches!(load_default(&file).origin, Origin::NotStored(_)));
    }

    #[test]
    fn many_at_once_leave_one_file() {
        let root = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| load_default(root.path()));
            }
        });
        only_file(root.path());
        assert!(matches!(load_default(root.path()).origin, Origin::Cached));
    }
}
