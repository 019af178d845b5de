//! The OCI runtime: a program with runc's command line, `gamut-oci` unless the user names another.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::ShimError;
use crate::message::options::Options;
use crate::reaper::Reaper;

/// Where the runtime keeps its state, below it a directory per namespace of containerd's.
const STATE: &str = "/run/containerd/gamut";
/// The name under which the shim remembers, in the bundle, how the container was made.
const REMEMBERED: &str = "gamut-shim.json";
/// More than any document that a runtime prints.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;

/// How the runtime of one container is called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Runtime {
    program: PathBuf,
    root: PathBuf,
    bundle: PathBuf,
    options: Options,
}

impl Runtime {
    #[must_use]
    pub fn new(namespace: &str, bundle: &Path, options: Options) -> Runtime {
        let root = if options.root.is_empty() {
            STATE
        } else {
            &options.root
        };
        Runtime {
            program: program(&options),
            root: Path::new(root).join(namespace),
            bundle: bundle.to_owned(),
            options,
        }
    }

    /// Who owns the container's pipes.
    #[must_use]
    pub fn pipe_owner(&self) -> (u32, u32) {
        (self.options.io_uid, self.options.io_gid)
    }

    /// Writes down how to call this runtime, for a `delete` after this shim's death.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn remember(&self) -> Result<(), ShimError> {
        let path = self.bundle.join(REMEMBERED);
        std::fs::write(&path, serde_json::to_vec(self)?)
            .map_err(|source| ShimError::file(path, source))
    }

    /// What [`Runtime::remember`] wrote in this bundle, or the defaults.
    #[must_use]
    pub fn recall(namespace: &str, bundle: &Path) -> Runtime {
        std::fs::read(bundle.join(REMEMBERED))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| Runtime::new(namespace, bundle, Options::default()))
    }

    fn log(&self) -> PathBuf {
        self.bundle.join("log.json")
    }

    /// The program with its global flags. With a log, its words do not mix with the container's output.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove(crate::start::ARENAS.0);
        command.arg("--root").arg(&self.root);
        command.arg("--log").arg(self.log());
        command.args(["--log-format", "json"]);
        if self.options.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs `verb`, whose streams become the container's: nothing can be read from them.
    fn launch(
        &self,
        reaper: &Reaper,
        verb: &str,
        arguments: impl FnOnce(&mut Command),
        streams: [Stdio; 3],
    ) -> Result<(), ShimError> {
        let mut command = self.command();
        command.arg(verb);
        arguments(&mut command);
        let [stdin, stdout, stderr] = streams;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let (_, status) = reaper
            .spawn(&mut command)
            .map_err(|source| self.not_run(source))?;
        // Our copies of the container's ends, or its streams would never end.
        drop(command);
        match status.recv() {
            Ok(0) => Ok(()),
            _ => Err(self.failed(verb, "")),
        }
    }

    /// Makes the container, up to where its first process waits for `start`.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn create(
        &self,
        reaper: &Reaper,
        id: &str,
        pid_file: &Path,
        console: Option<&Path>,
        streams: [Stdio; 3],
    ) -> Result<(), ShimError> {
        let arguments = |command: &mut Command| {
            command.arg("--bundle").arg(&self.bundle);
            command.arg("--pid-file").arg(pid_file);
            if let Some(console) = console {
                command.arg("--console-socket").arg(console);
            }
            if self.options.no_pivot_root {
                command.arg("--no-pivot");
            }
            if self.options.no_new_keyring {
                command.arg("--no-new-keyring");
            }
            command.arg(id);
        };
        self.launch(reaper, "create", arguments, streams)
    }

    /// Brings the container back from the images of a checkpoint: it runs when this returns.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn restore(
        &self,
        reaper: &Reaper,
        id: &str,
        [images, work, pid_file]: [&Path; 3],
        console: Option<&Path>,
        streams: [Stdio; 3],
    ) -> Result<(), ShimError> {
        let arguments = |command: &mut Command| {
            command.arg("--image-path").arg(images);
            command.arg("--work-path").arg(work);
            command.arg("--bundle").arg(&self.bundle);
            command.arg("--pid-file").arg(pid_file);
            if let Some(console) = console {
                command.arg("--console-socket").arg(console);
            }
            if self.options.no_pivot_root {
                command.arg("--no-pivot");
            }
            command.arg("--detach").arg(id);
        };
        self.launch(reaper, "restore", arguments, streams)
    }

    /// Starts a further process in the container.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn exec(
        &self,
        reaper: &Reaper,
        id: &str,
        [process, pid_file]: [&Path; 2],
        console: Option<&Path>,
        streams: [Stdio; 3],
    ) -> Result<(), ShimError> {
        let arguments = |command: &mut Command| {
            command.arg("--process").arg(process);
            command.arg("--pid-file").arg(pid_file);
            if let Some(console) = console {
                command.arg("--console-socket").arg(console);
            }
            command.arg("--detach").arg(id);
        };
        self.launch(reaper, "exec", arguments, streams)
    }

    /// Runs any other verb and gives what it prints.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn run(&self, reaper: &Reaper, arguments: &[&str]) -> Result<Vec<u8>, ShimError> {
        let mut command = self.command();
        command.args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, status) = reaper
            .spawn(&mut command)
            .map_err(|source| self.not_run(source))?;
        let printed = read_all(child.stdout);
        let complaint = read_all(child.stderr);
        match status.recv() {
            Ok(0) => Ok(printed),
            _ => {
                let verb = arguments.first().copied().unwrap_or_default();
                Err(self.failed(verb, String::from_utf8_lossy(&complaint).trim()))
            }
        }
    }

    /// The same in a process that has no other children, and no reaper.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn run_alone(&self, arguments: &[&str]) -> Result<Vec<u8>, ShimError> {
        let output = self.command().args(arguments).output();
        let output = output.map_err(|source| self.not_run(source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let verb = arguments.first().copied().unwrap_or_default();
        Err(self.failed(verb, String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn not_run(&self, source: std::io::Error) -> ShimError {
        ShimError::Spawn {
            program: self.program.clone(),
            source,
        }
    }

    /// The last error of the log, or what was said instead of it.
    fn failed(&self, verb: &str, said: &str) -> ShimError {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let message = log.lines().rev().find_map(error_of).unwrap_or_else(|| {
            if said.is_empty() {
                "it gave no reason".to_owned()
            } else {
                said.to_owned()
            }
        });
        // Only its own words are to be found by the next failure.
        let _ = std::fs::remove_file(self.log());
        ShimError::Runtime {
            verb: verb.to_owned(),
            message,
        }
    }
}

fn read_all(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What cannot be read was not said.
        let _ = stream.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
    }
    bytes
}

/// The message of a line of the runtime's log, if it is an error.
fn error_of(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let line: Line = serde_json::from_str(line).ok()?;
    matches!(&*line.level, "error" | "fatal").then_some(line.msg)
}

/// The one that the options name, else `gamut-oci` beside this program, else the one on the path.
#[must_use]
pub fn program(options: &Options) -> PathBuf {
    const OURS: &str = "gamut-oci";
    if !options.binary_name.is_empty() {
        return PathBuf::from(&options.binary_name);
    }
    std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join(OURS)))
        .filter(|beside| beside.exists())
        .unwrap_or_else(|| PathBuf::from(OURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_the_reason() {
        assert_eq!(
            error_of(r#"{"level":"error","msg":"no such file","time":"2026"}"#),
            Some("no such file".to_owned())
        );
        assert_eq!(error_of(r#"{"level":"warning","msg":"hm"}"#), None);
        assert_eq!(error_of("half a li"), None);
    }

    #[test]
    fn what_is_remembered_is_recalled() {
        let bundle = tempfile::tempdir().unwrap();
        let options = Options {
            binary_name: "runc".to_owned(),
            root: "/run/x".to_owned(),
            ..Options::default()
        };
        Runtime::new("k8s.io", bundle.path(), options)
            .remember()
            .unwrap();
        let recalled = Runtime::recall("other", bundle.path());
        assert_eq!(recalled.program, Path::new("runc"));
        assert_eq!(recalled.root, Path::new("/run/x/k8s.io"));
    }
}
