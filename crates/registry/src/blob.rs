//! One blob as a stream: taken up again where a connection broke, never longer nor shorter than
//! its descriptor says.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use gamut_spec::image::Descriptor;
use gamut_spec::{Digest, Reference};
use ureq::BodyReader;
use ureq::http::{HeaderValue, Response, header};

use crate::client::identity;
use crate::error::{Cause, RegistryError, Sent};
use crate::retry::{Attempts, Failure, Patience};
use crate::session::{Question, Session, Wanted};
use crate::url::Url;

/// A connection that brought this many bytes was not in vain: the count of failures begins anew.
/// Fewer do not count, or a registry that sends byte by byte would be asked for ever.
const PROGRESS_BYTES: u64 = 16 * 1024;

/// A blob's bytes, from where the reader was opened to the blob's end, or to the end of the part that
/// was asked for.
///
/// Errors carry a [`RegistryError`] ([`RegistryError::within`]). After an error the reader gives
/// nothing but that there was one.
pub struct BlobReader {
    session: Arc<Session>,
    repository: String,
    digest: Digest,
    size: u64,
    /// Where to stop: not past `size`.
    end: u64,
    /// Of the next byte that is given out.
    position: u64,
    /// Where the open connection began to bring new bytes.
    began: u64,
    /// The end of the time in which it must have brought some, and the position then.
    due: (Instant, u64),
    source: Option<Source>,
    attempts: Attempts,
    ended: bool,
}

/// An answer that is being read.
struct Source {
    body: BodyReader<'static>,
    url: Url,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("registry", &self.session.registry())
            .field("repository", &self.repository)
            .field("digest", &self.digest)
            .field("size", &self.size)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(crate) fn open(
        session: Arc<Session>,
        reference: &Reference,
        descriptor: &Descriptor,
        part: Range<u64>,
        patience: Patience,
    ) -> Result<BlobReader, RegistryError> {
        let Range { start, end } = part;
        if start > end || end > descriptor.size {
            return Err(RegistryError::BadStart {
                digest: descriptor.digest.clone(),
                start: start.max(end),
                size: descriptor.size,
            });
        }
        let mut reader = BlobReader {
            session,
            repository: reference.repository().to_owned(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            end,
            position: start,
            began: start,
            due: (Instant::now(), start),
            source: None,
            attempts: Attempts::new(patience),
            ended: false,
        };
        while reader.source.is_none() && reader.position < reader.end {
            match reader.connect() {
                Ok(source) => {
                    reader.due = reader.next_due();
                    reader.source = Some(source);
                }
                Err(failure) => reader.attempts.wait_after(failure)?,
            }
        }
        Ok(reader)
    }

    /// The blob's digest, which the bytes have not been checked against.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The registry that it comes from, as images name it.
    pub(crate) fn registry(&self) -> &str {
        self.session.registry()
    }

    /// How many bytes are still to come.
    pub fn remaining_bytes(&self) -> u64 {
        self.end - self.position
    }

    /// Asks for the blob from the present position on.
    fn connect(&self) -> Result<Source, Failure> {
        let mut headers = vec![identity()];
        if self.position > 0 || self.is_part() {
            let range = match self.is_part() {
                true => format!("bytes={}-{}", self.position, self.end - 1),
                false => format!("bytes={}-", self.position),
            };
            // Digits and ASCII letters always make a header.
            if let Ok(value) = HeaderValue::from_str(&range) {
                headers.push((header::RANGE, value));
            }
        }
        let path = format!("/v2/{}/blobs/{}", self.repository, self.digest);
        let wanted = Wanted::Blob {
            digest: self.digest.clone(),
        };
        let answer = self.session.ask(&Question {
            headers,
            ..Question::get(path, &self.repository, wanted)
        })?;
        let offset = self.offset_of(&answer.response, &answer.url)?;
        let mut source = Source {
            body: answer.response.into_body().into_reader(),
            url: answer.url,
        };
        self.skip(&mut source, self.position - offset)?;
        Ok(source)
    }

    /// Whether it ends before the blob does.
    fn is_part(&self) -> bool {
        self.end < self.size
    }

    /// Of which byte of the blob the answer's body begins; it is not past the present position.
    fn offset_of<T>(&self, response: &Response<T>, url: &Url) -> Result<u64, RegistryError> {
        let number = |name| -> Option<u64> {
            let value = response.headers().get(name)?;
            value.to_str().ok()?.trim().parse().ok()
        };
        let range = response
            .headers()
            .get(header::CONTENT_RANGE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let (offset, total) = match response.status().as_u16() {
            // Whoever wants a part would rather know than read past the rest.
            200 if self.is_part() => {
                return Err(RegistryError::NoRanges {
                    host: url.authority(),
                });
            }
            200 => (0, number(header::CONTENT_LENGTH)),
            206 => match content_range(range) {
                Some((first, _, total)) if first == self.position => (first, total),
                _ => return Err(self.bad_range(url, range)),
            },
            // A range was asked for that the blob does not reach.
            _ => match range.strip_prefix("bytes */").map(str::parse::<u64>) {
                Some(Ok(total)) if total <= self.position => (self.position, Some(total)),
                _ => return Err(self.bad_range(url, range)),
            },
        };
        match total {
            Some(total) if total != self.size => Err(self.wrong_length(Sent::Exactly(total))),
            _ => Ok(offset),
        }
    }

    fn bad_range(&self, url: &Url, range: &str) -> RegistryError {
        RegistryError::Malformed {
            host: url.authority(),
            what: "range",
            reason: format!(
                "asked for bytes from {} on, it sent `{}`",
                self.position,
                crate::error::quoted(range)
            ),
        }
    }

    fn wrong_length(&self, got: Sent) -> RegistryError {
        RegistryError::WrongLength {
            host: self.session.registry().to_owned(),
            digest: self.digest.clone(),
            expected: self.size,
            got,
        }
    }

    /// Reads past what was given out already: the registry does not know ranges.
    fn skip(&self, source: &mut Source, bytes: u64) -> Result<(), Failure> {
        let skipped = io::copy(&mut source.body.by_ref().take(bytes), &mut io::sink())
            .map_err(|error| self.session.transport().broken(&source.url, error))?;
        if skipped < bytes {
            return Err(self.ended_early(skipped));
        }
        Ok(())
    }

    /// A body may end early because a connection did, and next time it may not.
    fn ended_early(&self, at: u64) -> Failure {
        Failure::passing(self.wrong_length(Sent::Exactly(at)), None)
    }

    /// Reads some bytes of the blob, over as many connections as it takes.
    fn advance(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        let most = usize::try_from(self.remaining_bytes()).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        loop {
            let failure = match self.attempt(&mut buffer[..most]) {
                Ok(count) => return Ok(count),
                Err(failure) => failure,
            };
            self.source = None;
            self.attempts.wait_after(failure.midway())?;
        }
    }

    /// Reads from the open connection, or from a new one.
    fn attempt(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        if self.source.is_some() {
            self.check_pace()?;
        }
        let source = match &mut self.source {
            Some(source) => source,
            None => {
                let source = self.connect()?;
                self.began = self.position;
                self.due = self.next_due();
                self.source.insert(source)
            }
        };
        let count = source
            .body
            .read(buffer)
            .map_err(|error| self.session.transport().broken(&source.url, error))?;
        if count == 0 {
            return Err(self.ended_early(self.position));
        }
        self.position += count as u64;
        if self.position - self.began >= PROGRESS_BYTES {
            self.attempts.progressed();
        }
        Ok(count)
    }

    fn next_due(&self) -> (Instant, u64) {
        let stall = self.session.transport().stall();
        (Instant::now() + stall, self.position + PROGRESS_BYTES)
    }

    /// Whether the bytes come fast enough; a connection on which they do not is given up.
    fn check_pace(&mut self) -> Result<(), Failure> {
        let (due, least) = self.due;
        if self.position >= least {
            self.due = self.next_due();
        } else if self.position < self.end && Instant::now() > due {
            let error = RegistryError::Unreachable {
                host: self.session.registry().to_owned(),
                proxy: None,
                cause: Cause::Timeout,
            };
            return Err(error.into());
        }
        Ok(())
    }

    /// After the last byte: there must be no more. A connection that breaks now has brought all.
    fn finish(&mut self) -> Result<(), RegistryError> {
        let Some(mut source) = self.source.take() else {
            return Ok(());
        };
        match source.body.read(&mut [0]) {
            Ok(1..) if !self.is_part() => Err(self.wrong_length(Sent::MoreThan(self.size))),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.ended {
            return Ok(0);
        }
        if self.position == self.end {
            self.ended = true;
            self.finish()?;
            return Ok(0);
        }
        Ok(self.advance(buffer)?)
    }
}

/// `bytes FIRST-LAST/TOTAL` (RFC 9110, section 14.4); `None` for a total that is not told.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, last.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, 0, None)));
        for text in [
            "",
            "bytes",
            "bytes */10",
            "bytes -5/10",
            "lines 1-2/3",
            "bytes 1-x/3",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
