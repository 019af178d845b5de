//! `gamut kernel build`: the distribution's source, everything off, this program's fragment, `make`. What
//! comes of it is kept under a digest of all that went in, and is not made twice.
//!
//! All happens in a scratch directory of the store, which a killed build leaves for the next repair; `make`
//! ends when nobody reads what it says any more.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gamut_store::blob::Blobs;

use super::config::{Config, Value};
use super::error::KernelError;
use super::needs::{self, Lack, Weight};
use super::pack;
use super::shelf::{Kept, Origin};
use super::source::Source;
use super::tools;
use crate::engine::Engine;

/// What a guest's kernel is made with, and why.
pub const FRAGMENT: &str = include_str!("guest.config");
/// In [`FRAGMENT`]: below it stands what some versions do not give.
const OPTIONAL: &str = "# ---- Where the version allows";
/// The output of the last build that failed, in the directory of kernels.
const LOG: &str = "build.log";

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// A tree or an archive; `None`: what the distribution has.
    pub source: Option<PathBuf>,
    /// A file with more options, in Kconfig's form, that count more than the fragment's.
    pub config: Option<PathBuf>,
    /// The kernel's name; `None`: its release.
    pub name: Option<String>,
    /// How many compilers at once; `None`: as many as there are processors.
    pub jobs: Option<u32>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEvent {
    /// What is being done now.
    Step(String),
    /// So many files have been compiled.
    Compiled(u32),
    /// Worth knowing.
    Note(String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub kept: Kept,
    /// It was there already, made of the same.
    pub was_there: bool,
}

impl Engine {
    /// Makes a kernel for guests, unless one of the same source, options and compiler is there.
    ///
    /// # Errors
    /// [`KernelError::Tools`] and [`KernelError::NoSource`] before anything is done, [`KernelError::Options`] if
    /// the source cannot give what guests need, [`KernelError::Step`] with the log if a program fails.
    pub fn build_kernel(
        &self,
        options: &BuildOptions,
        tell: &mut dyn FnMut(BuildEvent),
    ) -> Result<Built, KernelError> {
        tools::check()?;
        let source = Source::find(options.source.as_deref())?;
        let compiler = tools::compiler()?;
        let fragment = fragment(options.config.as_deref())?;
        // Comments make no other kernel.
        let options_alone = format!("{:?}", Config::parse(&fragment));
        let source_identity = source.identity()?;
        let parts = [&options_alone, &source_identity, &compiler, pack::FORM];
        let recipe = Blobs::digest(parts.join("\0").as_bytes()).to_string();
        let shelf = self.dirs.kernels();
        std::fs::create_dir_all(&shelf).map_err(KernelError::at("make", &shelf))?;
        // A second build of the same waits, and then finds what the first has made.
        let _turn = turn(&shelf, tell)?;
        if let Some(kept) = self.built_by(&recipe)? {
            return Ok(Built {
                kept,
                was_there: true,
            });
        }
        self.check_name(options.name.as_deref())?;
        let scratch = self.store.scratch()?;
        let mut build = Build {
            directory: scratch.path(),
            log: scratch.path().join(LOG),
            tell,
        };
        let made = build.run(&source, &fragment, options.jobs);
        let (kernel, config) = made.map_err(|error| keep_log(error, &build.log, &shelf))?;
        let origin = Origin::Built {
            source: source.words(),
            compiler,
            recipe,
        };
        let kept = self.keep_kernel(&kernel, Some(config), options.name.as_deref(), origin)?;
        let _ = std::fs::remove_file(shelf.join(LOG));
        Ok(Built {
            kept,
            was_there: false,
        })
    }

    fn built_by(&self, wanted: &str) -> Result<Option<Kept>, KernelError> {
        let is_it = |kept: &Kept| match &kept.origin {
            Origin::Built { recipe, .. } => recipe == wanted,
            Origin::Imported { .. } => false,
        };
        Ok(self.kernels()?.into_iter().rfind(is_it))
    }
}

/// This program's options and the user's, the later ones counting more.
fn fragment(more: Option<&Path>) -> Result<String, KernelError> {
    let Some(path) = more else {
        return Ok(FRAGMENT.to_owned());
    };
    let text = std::fs::read_to_string(path).map_err(KernelError::at("read", path))?;
    // Before ours that are optional: the user's are not.
    let (needed, optional) = FRAGMENT.split_once(OPTIONAL).unwrap_or((FRAGMENT, ""));
    Ok(format!("{needed}{text}\n{OPTIONAL}{optional}"))
}

/// One build at a time: they would take each other's processors.
fn turn(shelf: &Path, tell: &mut dyn FnMut(BuildEvent)) -> Result<File, KernelError> {
    let file = File::open(shelf).map_err(KernelError::at("open", shelf))?;
    if file.try_lock().is_err() {
        tell(BuildEvent::Step("waiting for another build".to_owned()));
        file.lock().map_err(KernelError::at("lock", shelf))?;
    }
    Ok(file)
}

/// Keeps what the programs have said, where the error says it is.
fn keep_log(error: KernelError, log: &Path, shelf: &Path) -> KernelError {
    let kept = shelf.join(LOG);
    let is_there = std::fs::rename(log, &kept).is_ok();
    match error {
        KernelError::Step { step, reason, .. } => KernelError::Step {
            step,
            reason,
            log: is_there.then_some(kept),
        },
        other => other,
    }
}

struct Build<'a> {
    directory: PathBuf,
    log: PathBuf,
    tell: &'a mut dyn FnMut(BuildEvent),
}

impl Build<'_> {
    /// The kernel's file, and its configuration.
    fn run(
        &mut self,
        source: &Source,
        fragment: &str,
        jobs: Option<u32>,
    ) -> Result<(Vec<u8>, String), KernelError> {
        let directory = self.directory.clone();
        let tree = source.unpack(&directory, &mut |step, command| self.step(step, command))?;
        let objects = self.directory.join("objects");
        std::fs::create_dir(&objects).map_err(KernelError::at("make", &objects))?;
        let wanted = self.directory.join("wanted");
        std::fs::write(&wanted, fragment).map_err(KernelError::at("write", &wanted))?;

        let mut configure = make(&tree, &objects);
        configure
            .env("KCONFIG_ALLCONFIG", &wanted)
            .arg("allnoconfig");
        self.step("configuring", configure)?;
        let config = objects.join(".config");
        let config = std::fs::read_to_string(&config).map_err(KernelError::at("read", config))?;
        self.check(&tree, fragment, &config)?;

        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        let jobs = jobs.map_or(processors, |jobs| jobs.max(1) as usize);
        let mut compile = make(&tree, &objects);
        compile.arg(format!("-j{jobs}")).arg("vmlinux");
        self.step("compiling", compile)?;
        let kernel = super::image::read(&objects.join("vmlinux"))?;
        Ok((kernel, config))
    }

    /// Whether everything has come out as it was asked for.
    fn check(&mut self, tree: &Path, fragment: &str, config: &str) -> Result<(), KernelError> {
        let config = Config::parse(config);
        let missing = not_given(fragment, &config);
        if !missing.is_empty() {
            let known = known_options(tree);
            let (refused, unknown): (Vec<String>, Vec<String>) = missing
                .into_iter()
                .partition(|option| known.contains(option));
            if !unknown.is_empty() {
                let unknown = unknown.join(", ");
                let note = format!("this version of Linux does not know {unknown}");
                (self.tell)(BuildEvent::Note(note));
            }
            if !refused.is_empty() {
                return Err(KernelError::Options(refused));
            }
        }
        let is_needed = |lack: &Lack| lack.weight == Weight::Needed;
        let lacks = needs::lacks(&config).into_iter().filter(is_needed);
        let lacks: Vec<String> = lacks.map(|lack| lack.option).collect();
        match lacks.is_empty() {
            true => Ok(()),
            false => Err(KernelError::Options(lacks)),
        }
    }

    /// Carries out a command; what it says goes to the log, and what it has compiled is counted.
    fn step(&mut self, step: &str, mut command: Command) -> Result<(), KernelError> {
        (self.tell)(BuildEvent::Step(step.to_owned()));
        let failed = |reason: String| KernelError::Step {
            step: step.to_owned(),
            reason,
            log: None,
        };
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let mut log = log.map_err(KernelError::at("open", &self.log))?;
        let errors = log
            .try_clone()
            .map_err(KernelError::at("open", &self.log))?;
        let mut child = command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let mut compiled = 0;
        // Cannot be `None`: it is piped.
        let output = child
            .stdout
            .take()
            .into_iter()
            .flat_map(|output| BufReader::new(output).split(b'\n').map_while(Result::ok));
        for line in output {
            let _ = log.write_all(&line).and_then(|()| log.write_all(b"\n"));
            if line.starts_with(b"  CC ") || line.starts_with(b"  AS ") {
                compiled += 1;
                (self.tell)(BuildEvent::Compiled(compiled));
            }
        }
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        match status.success() {
            true => Ok(()),
            false => Err(failed(status.to_string())),
        }
    }
}

/// `make` for a tree, into another directory, the same whoever calls it and when.
fn make(tree: &Path, objects: &Path) -> Command {
    let mut output = std::ffi::OsString::from("O=");
    output.push(objects);
    let mut make = Command::new("make");
    make.arg("-C").arg(tree).arg(output).arg("ARCH=x86_64");
    for variable in [
        "MAKEFLAGS",
        "MFLAGS",
        "KBUILD_OUTPUT",
        "KCFLAGS",
        "KAFLAGS",
        "KCPPFLAGS",
    ] {
        make.env_remove(variable);
    }
    make.env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
        .env("KBUILD_BUILD_USER", "gamut")
        .env("KBUILD_BUILD_HOST", "gamut")
        .env("KBUILD_BUILD_VERSION", "1");
    make
}

/// What is not as the fragment has it, without what is optional.
fn not_given(fragment: &str, config: &Config) -> Vec<String> {
    let (fragment, _) = fragment.split_once(OPTIONAL).unwrap_or((fragment, ""));
    let wanted = Config::parse(fragment);
    wanted
        .options()
        .filter(|(option, value)| config.value(option) != *value)
        .map(|(option, value)| match value {
            Value::No => format!("CONFIG_{option}=n"),
            Value::Yes => format!("CONFIG_{option}"),
            Value::Module => format!("CONFIG_{option}=m"),
            Value::Text(text) => format!("CONFIG_{option}={text}"),
        })
        .collect()
}

/// Every option that a tree's Kconfig files define, as [`not_given`] writes those that are asked for.
fn known_options(tree: &Path) -> Known {
    let mut known = Known::default();
    known.read(tree, 0);
    known
}

#[derive(Debug, Default)]
struct Known(std::collections::HashSet<String>);

impl Known {
    /// Deeper than Linux goes.
    const MAX_DEPTH: u32 = 16;

    fn contains(&self, wanted: &str) -> bool {
        let option = wanted.split('=').next().unwrap_or(wanted);
        self.0.contains(option.trim_start_matches("CONFIG_"))
    }

    fn read(&mut self, directory: &Path, depth: u32) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && depth < Self::MAX_DEPTH {
                self.read(&path, depth + 1);
            } else if name.to_string_lossy().starts_with("Kconfig") {
                let text = std::fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let names = text.lines().filter_map(|line| {
                    let line = line.trim_start();
                    line.strip_prefix("config ")
                        .or_else(|| line.strip_prefix("menuconfig "))
                });
                self.0.extend(names.map(|name| name.trim().to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fragment_has_all_that_guests_need() {
        let lacks = needs::lacks(&Config::parse(FRAGMENT));
        assert_eq!(lacks, []);
        assert!(FRAGMENT.contains(OPTIONAL));
    }

    #[test]
    fn nothing_is_asked_for_twice() {
        let options = |text: &str| text.lines().filter(|line| line.contains("CONFIG_")).count();
        assert_eq!(options(FRAGMENT), Config::parse(FRAGMENT).options().count());
    }

    #[test]
    fn what_is_not_given_is_named() {
        let config = Config::parse("CONFIG_A=y\nCONFIG_C=y\nCONFIG_D=1\n");
        let fragment = format!(
            "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=2\n{OPTIONAL} ---\nCONFIG_E=y\n"
        );
        let missing = not_given(&fragment, &config);
        assert_eq!(missing, ["CONFIG_B", "CONFIG_C=n", "CONFIG_D=2"]);
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("a")).expect("made");
        let file = directory.path().join("a/Kconfig.x");
        std::fs::write(file, "menuconfig B\n\tbool\nconfig OTHER\n").expect("written");
        let known = known_options(directory.path());
        assert!(known.contains("CONFIG_B"));
        assert!(!known.contains("CONFIG_D=2"));
    }

    #[test]
    fn the_users_options_count_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("more");
        std::fs::write(&path, "CONFIG_NR_CPUS=64\n").expect("written");
        let fragment = fragment(Some(&path)).expect("read");
        let config = Config::parse(&fragment);
        assert_eq!(config.value("NR_CPUS"), &Value::Text("64".to_owned()));
        assert_eq!(not_given(&fragment, &Config::default()).len(), {
            let ours = not_given(FRAGMENT, &Config::default());
            ours.len()
        });
    }
}
