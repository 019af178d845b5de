//! Where a command's archive goes: a file that appears when it is whole, or standard output, unless
//! that is a terminal.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::terminal;

/// Bytes written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// See the module. Dropped without [`OutputFile::finish`], nothing is left of it.
pub struct OutputFile {
    out: Option<BufWriter<Box<dyn Write + Send>>>,
    /// The file's final name, and its name until then.
    names: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputFile")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl OutputFile {
    /// Opens the file at `path`; `None` and `-` are standard output.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            if terminal::is_terminal(io::stdout()) {
                return Err(Failure::ToTerminal);
            }
            return Ok(Self::new(Box::new(io::stdout()), None));
        };
        let failed = |source| Failure::Write {
            path: path.to_owned(),
            source,
        };
        // A pipe or a device is written as it is: nothing can take its place.
        let special = std::fs::metadata(path).is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_char_device() || kind.is_socket()
        });
        if special {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(Self::new(Box::new(file), None));
        }
        let aside = aside(path);
        let file = File::create_new(&aside).map_err(failed)?;
        Ok(Self::new(Box::new(file), Some((path.to_owned(), aside))))
    }

    fn new(out: Box<dyn Write + Send>, names: Option<(PathBuf, PathBuf)>) -> Self {
        Self {
            out: Some(BufWriter::with_capacity(BUFFER_BYTES, out)),
            names,
        }
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.flush();
        self.out = None;
        let Some((path, aside)) = self.names.take() else {
            return flushed.map_err(Failure::Output);
        };
        let renamed = flushed.and_then(|()| std::fs::rename(&aside, &path));
        renamed.map_err(|source| {
            let _ = std::fs::remove_file(&aside);
            Failure::Write { path, source }
        })
    }
}

/// A name beside `path` that nobody else takes.
pub fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part-{}", std::process::id()))
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(bytes),
            None => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some((_, aside)) = &self.names {
            let _ = std::fs::remove_file(aside);
        }
    }
}
