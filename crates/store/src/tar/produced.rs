//! Bytes that a thread writes, as a reader: a pipe with two more promises. A writer that failed is
//! an error to the reader, never an early end; and a reader that goes ends the writer.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::thread::JoinHandle;

/// See the module.
#[derive(Debug)]
pub struct Produced<E> {
    pipe: Option<PipeReader>,
    thread: Option<JoinHandle<Result<(), E>>>,
    /// Why the thread failed, for who wants to know more than the reader was told.
    failure: Option<E>,
}

/// Starts `write` in a thread of its own; what it writes is read from the result.
///
/// # Errors
/// When there can be no pipe or no thread.
pub fn produce<E: Send + 'static>(
    write: impl FnOnce(PipeWriter) -> Result<(), E> + Send + 'static,
) -> io::Result<Produced<E>> {
    let (pipe, into) = io::pipe()?;
    let thread = std::thread::Builder::new().spawn(move || write(into))?;
    Ok(Produced {
        pipe: Some(pipe),
        thread: Some(thread),
        failure: None,
    })
}

impl<E> Produced<E> {
    /// Why the writer failed, if it did. Ends it, if it still writes; then its failure to do so is
    /// not worth a word.
    pub fn into_failure(mut self) -> Option<E> {
        self.failure.take()
    }

    fn join(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => match self.failure {
                None => Ok(()),
                Some(_) => Err(failed()),
            },
            Some(Ok(Err(error))) => {
                self.failure = Some(error);
                Err(failed())
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("what writes it has failed")
}

impl<E> Read for Produced<E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.pipe {
            Some(pipe) => pipe.read(buffer)?,
            None => 0,
        };
        if count == 0 && !buffer.is_empty() {
            self.join()?;
        }
        Ok(count)
    }
}

impl<E> Drop for Produced<E> {
    fn drop(&mut self) {
        // The writer gets EPIPE. It may hold descriptors and mounts: it is waited for.
        self.pipe = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_written_is_read() {
        let mut produced = produce(|mut out| out.write_all(&[7; 300_000])).expect("started");
        let mut bytes = Vec::new();
        produced.read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes, [7; 300_000]);
        assert!(produced.into_failure().is_none());
    }

    #[test]
    fn a_failure_is_no_end() {
        let mut produced = produce(|mut out| {
            out.write_all(b"half").map_err(|_| "unwritten")?;
            Err("torn")
        })
        .expect("started");
        let mut bytes = Vec::new();
        assert!(produced.read_to_end(&mut bytes).is_err());
        assert_eq!(
            (bytes.as_slice(), produced.into_failure()),
            (&b"half"[..], Some("torn"))
        );
    }

    #[test]
    fn a_reader_that_goes_ends_the_writer() {
        let mut produced = produce(
            |mut out| loop {
                out.write_all(&[0; 4096])?;
            } as io::Result<()>,
        )
        .expect("started");
        produced.read_exact(&mut [0; 10]).expect("read");
        drop(produced);
    }
}
