//! A cgroup directory as a descriptor: every file below is reached from it with one openat, one
//! read or write.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::error::{Cause, CgroupError};

/// An open cgroup directory, and its path for messages.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: String,
}

/// Enough for every file that holds one value or a small table.
pub(super) type Buffer = [u8; 4096];

impl Dir {
    /// Opens an absolute path.
    pub(super) fn open(path: String) -> Result<Self, CgroupError> {
        match open_directory(CWD, &path) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(CgroupError::Open { path, errno }),
        }
    }

    /// Opens an absolute path; `None`: it isn't there.
    pub(super) fn open_existing(path: String) -> Result<Option<Self>, CgroupError> {
        existing(Self::open(path))
    }

    /// Opens the child `name`.
    pub(super) fn child(&self, name: &str) -> Result<Self, CgroupError> {
        let path = format!("{}/{name}", self.path);
        match open_directory(&self.fd, name) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(CgroupError::Open { path, errno }),
        }
    }

    /// Opens the child `name`; `None`: it isn't there.
    pub(super) fn existing_child(&self, name: &str) -> Result<Option<Self>, CgroupError> {
        existing(self.child(name))
    }

    /// Makes and opens the child `name`, which must not be there yet.
    pub(super) fn make_child(&self, name: &str) -> Result<Self, CgroupError> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => self.child(name),
            Err(errno) => {
                let path = format!("{}/{name}", self.path);
                Err(match errno {
                    Errno::EXIST => CgroupError::Exists { path },
                    errno => CgroupError::Create { path, errno },
                })
            }
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads a file into `buffer`, trailing white space cut off; what doesn't fit is left out.
    pub(super) fn read<'b>(
        &self,
        file: &str,
        buffer: &'b mut Buffer,
    ) -> Result<&'b str, CgroupError> {
        let length = self
            .open_file(file, OFlags::RDONLY)
            .and_then(|fd| rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buffer[..])))
            .map_err(|errno| self.read_error(file, errno))?;
        std::str::from_utf8(&buffer[..length])
            .map(str::trim_ascii_end)
            .map_err(|_| self.parse_error(file, &String::from_utf8_lossy(&buffer[..length])))
    }

    /// Reads a file of any length.
    pub(super) fn read_all(&self, file: &str) -> Result<String, CgroupError> {
        let fd = self
            .open_file(file, OFlags::RDONLY)
            .map_err(|errno| self.read_error(file, errno))?;
        let mut bytes = Vec::with_capacity(4096);
        loop {
            bytes.reserve(4096);
            let read = rustix::io::retry_on_intr(|| {
                rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes))
            });
            if read.map_err(|errno| self.read_error(file, errno))? == 0 {
                break;
            }
        }
        String::from_utf8(bytes)
            .map_err(|error| self.parse_error(file, &String::from_utf8_lossy(error.as_bytes())))
    }

    /// Reads a file that holds one number; `max` is `None`.
    pub(super) fn read_number(&self, file: &str) -> Result<Option<u64>, CgroupError> {
        let mut buffer = [0; 4096];
        let text = self.read(file, &mut buffer)?;
        if text == "max" {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|_| self.parse_error(file, text))
    }

    /// As [`Self::read_number`], where a file that isn't there says nothing.
    pub(super) fn read_number_if_there(&self, file: &str) -> Result<Option<u64>, CgroupError> {
        match self.read_number(file) {
            Err(error) if error.is_missing_file() => Ok(None),
            other => other,
        }
    }

    /// Writes `value` in one write(2).
    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        self.try_write(file, value.as_bytes())
            .map_err(|errno| self.write_error(file, value, errno))
    }

    /// Opens a file that takes several values, one write(2) each.
    pub(super) fn open_for_writes<'a>(
        &'a self,
        file: &'a str,
    ) -> Result<OpenFile<'a>, CgroupError> {
        match self.open_file(file, OFlags::WRONLY) {
            Ok(fd) => Ok(OpenFile {
                dir: self,
                file,
                fd,
            }),
            Err(errno) => Err(self.write_error(file, "", errno)),
        }
    }

    fn write_error(&self, file: &str, value: &str, errno: Errno) -> CgroupError {
        CgroupError::Write {
            path: format!("{}/{file}", self.path),
            value: value.to_owned(),
            cause: super::cause::of_write(self, file, errno),
        }
    }

    /// As [`Self::write`], with the bare error.
    pub(super) fn try_write(&self, file: &str, value: &[u8]) -> Result<(), Errno> {
        let fd = self.open_file(file, OFlags::WRONLY)?;
        rustix::io::retry_on_intr(|| rustix::io::write(&fd, value)).map(drop)
    }

    /// Opens the file `file` of this group.
    pub(super) fn open_file(&self, file: &str, access: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.fd, file, access | OFlags::CLOEXEC, Mode::empty())
    }

    /// The names of the child groups.
    pub(super) fn children(&self) -> Result<Vec<String>, CgroupError> {
        child_names(self.fd.as_fd()).map_err(|errno| self.read_error(".", errno))
    }

    /// Removes the child group `name`, which has no processes and no children.
    pub(super) fn remove_child(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.fd, name, rustix::fs::AtFlags::REMOVEDIR)
    }

    pub(super) fn read_error(&self, file: &str, errno: Errno) -> CgroupError {
        let path = format!("{}/{file}", self.path);
        CgroupError::Read { path, errno }
    }

    pub(super) fn parse_error(&self, file: &str, text: &str) -> CgroupError {
        let path = format!("{}/{file}", self.path);
        let text = text.chars().take(200).collect();
        CgroupError::Parse { path, text }
    }

    /// The cause of a failed write that isn't about a value.
    pub(super) fn plain_cause(errno: Errno) -> Cause {
        match errno {
            Errno::ACCESS | Errno::PERM => Cause::NotDelegated,
            Errno::ROFS => Cause::ReadOnly,
            Errno::NOENT => Cause::NoFile,
            errno => Cause::Kernel(errno),
        }
    }
}

/// A file that takes several values.
#[derive(Debug)]
pub(super) struct OpenFile<'a> {
    dir: &'a Dir,
    file: &'a str,
    fd: OwnedFd,
}

impl OpenFile<'_> {
    pub(super) fn write(&self, value: &str) -> Result<(), CgroupError> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, value.as_bytes()))
            .map(drop)
            .map_err(|errno| self.dir.write_error(self.file, value, errno))
    }
}

fn existing(opened: Result<Dir, CgroupError>) -> Result<Option<Dir>, CgroupError> {
    match opened {
        Ok(dir) => Ok(Some(dir)),
        Err(CgroupError::Open {
            errno: Errno::NOENT,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `O_PATH` is enough for everything at-relative, for clone3 and for bpf(2), and the cheapest.
pub(super) fn open_directory<Fd: AsFd>(at: Fd, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// The names of the directories in the directory `fd`.
pub(super) fn child_names(fd: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(fd, ".", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut entries = RawDir::new(readable, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_type() != rustix::fs::FileType::Directory {
            continue;
        }
        // A name that isn't UTF-8 cannot be ours; a workload may have made it in its own part of
        // the tree, and it is then seen as a group that is busy.
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
