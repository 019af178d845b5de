//! The files of a machine that runs, which its own kernel has: the agent in it looks, packs and extracts.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use gamut_plan::guest::{FileAnswer, FileTask, Into};
use gamut_plan::launch::ExecPlan;
use gamut_store::extract::Owner;
use gamut_store::place::{Ending, Follow};
use gamut_store::unpack::Warning;

use super::{CopyError, End};
use crate::client::Client;
use crate::dirs::Container;
use crate::error::EngineError;

/// The longest answer that is taken: a hundred warnings with long names.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// A machine that runs.
pub(super) struct Machine(Container);

/// What the agent is at.
pub(super) struct Doing {
    // As long as it is connected, it is done.
    _client: Client,
    answer: PipeReader,
}

impl Machine {
    pub(super) fn of(dirs: Container) -> Self {
        Self(dirs)
    }

    pub(super) fn source(&self, path: &Path, follow: Follow) -> Result<End, EngineError> {
        let task = FileTask::Source {
            path: bytes(path),
            follow: follow == Follow::Yes,
        };
        self.look(task, path)
    }

    pub(super) fn target(&self, path: &Path) -> Result<End, EngineError> {
        self.look(FileTask::Target { path: bytes(path) }, path)
    }

    fn look(&self, task: FileTask, path: &Path) -> Result<End, EngineError> {
        let doing = self.begin(task, nothing()?, nothing()?)?;
        match doing.answer()? {
            FileAnswer::Found {
                is_there,
                is_directory,
                name,
                called,
            } => Ok(End {
                is_there,
                is_directory,
                ending: Ending::of(path),
                name: OsString::from_vec(name),
                called: OsString::from_vec(called),
                shown: path.display().to_string(),
            }),
            _ => Err(CopyError::Machine.into()),
        }
    }

    /// A tar comes, and then how it went.
    pub(super) fn pack(
        &self,
        path: &Path,
        follow: Follow,
        renamed: &OsStr,
    ) -> Result<(PipeReader, Doing), EngineError> {
        let (ours, theirs) = pipe()?;
        let task = FileTask::Pack {
            path: bytes(path),
            follow: follow == Follow::Yes,
            renamed: renamed.as_bytes().to_vec(),
        };
        Ok((ours, self.begin(task, nothing()?, theirs.into())?))
    }

    /// Where the tar goes; its end has to be closed before it is asked how it went.
    pub(super) fn unpack(
        &self,
        path: &Path,
        into: Into,
        owner: Owner,
    ) -> Result<(PipeWriter, Doing), EngineError> {
        let (theirs, ours) = pipe()?;
        let task = FileTask::Unpack {
            path: bytes(path),
            into,
            owner: match owner {
                Owner::Fixed(uid, gid) => Some((uid, gid)),
                Owner::AsSaid | Owner::Extractor => None,
            },
        };
        Ok((ours, self.begin(task, theirs.into(), nothing()?)?))
    }

    fn begin(&self, task: FileTask, stdin: OwnedFd, stdout: OwnedFd) -> Result<Doing, EngineError> {
        let (answer, stderr) = pipe()?;
        let mut client = Client::connect(&self.0)?;
        let plan = ExecPlan {
            task: Some(task),
            ..ExecPlan::default()
        };
        client.exec(plan, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
        Ok(Doing {
            _client: client,
            answer,
        })
    }
}

impl Doing {
    /// Waits for its end; what could not be kept.
    pub(super) fn finish(self) -> Result<Vec<Warning>, CopyError> {
        match self.answer()? {
            FileAnswer::Done { warnings } => Ok(warnings
                .into_iter()
                .map(|(entry, what)| Warning { entry, what })
                .collect()),
            _ => Err(CopyError::Machine),
        }
    }

    fn answer(self) -> Result<FileAnswer, CopyError> {
        let mut text = Vec::new();
        let read = self.answer.take(ANSWER_BYTES_MAX).read_to_end(&mut text);
        read.map_err(|_| CopyError::Machine)?;
        match serde_json::from_slice(&text).map_err(|_| CopyError::Machine)? {
            FileAnswer::Failed {
                kind,
                message,
                hint,
            } => Err(CopyError::InMachine {
                kind,
                message,
                hint,
            }),
            answer => Ok(answer),
        }
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn pipe() -> Result<(PipeReader, PipeWriter), EngineError> {
    std::io::pipe().map_err(|source| EngineError::HostPath {
        path: "a pipe".to_owned(),
        source,
    })
}

fn nothing() -> Result<OwnedFd, EngineError> {
    let path = "/dev/null";
    let file = File::options().read(true).write(true).open(path);
    file.map(OwnedFd::from)
        .map_err(|source| EngineError::HostPath {
            path: path.to_owned(),
            source,
        })
}
