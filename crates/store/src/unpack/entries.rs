//! What the entries of an archive mean, whatever a layer is made into: paths are cleaned, whiteouts
//! told from files, and everything is handed to a [`Sink`]: a tree (`place`) or an EROFS image
//! (`crate::erofs`).

use std::io::BufRead;

use gamut_spec::digest::Digest;

use super::archive::{Archive, Attributes, Entry, EntryKind};
use super::metadata::Warnings;
use super::whiteout::{self, Meaning};
use super::{Limits, RootAttributes, UnpackError, UnpackProblem, Unpacked};
use crate::reproduce::tape::Tape;

/// Why the archive was given up, and at which entry.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) entry: Option<String>,
    pub(crate) problem: UnpackProblem,
}

impl Refusal {
    pub(crate) fn at(path: &[u8], problem: UnpackProblem) -> Self {
        Self {
            entry: Some(path.escape_ascii().to_string()),
            problem,
        }
    }

    /// As a failure of a layer, by its descriptor's digest.
    pub(crate) fn of_layer(self, layer: &Digest) -> UnpackError {
        UnpackError::new(layer, self.entry, self.problem)
    }
}

impl From<UnpackProblem> for Refusal {
    fn from(problem: UnpackProblem) -> Self {
        Self {
            entry: None,
            problem,
        }
    }
}

/// Where an entry goes: a cleaned path. The last component is never `.` or `..`; any other may be a
/// symbolic link of the archive's own, which leads no further than the layer's root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'p> {
    /// All of it; empty for the root.
    pub(crate) path: &'p [u8],
    /// All but the last component; empty for the root.
    pub(crate) parent: &'p [u8],
    /// The last component.
    pub(crate) name: &'p [u8],
}

impl<'p> Place<'p> {
    /// Of a cleaned path.
    pub(crate) fn new(path: &'p [u8]) -> Self {
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        Self { path, parent, name }
    }
}

/// The part of a [`Sink`] that is not about what an archive holds next.
pub(crate) trait Marks {
    /// The attributes of the root.
    fn root(&mut self, attributes: Attributes) -> Result<(), UnpackProblem>;

    /// A whiteout. It hides what lies in lower layers only: what this layer has itself stays.
    fn hide(&mut self, place: Place<'_>) -> Result<(), UnpackProblem>;

    /// An opaque whiteout in the directory `path`, which is not the root: overlayfs looks for no
    /// such mark there.
    fn hide_all(&mut self, path: &[u8]) -> Result<(), UnpackProblem>;
}

/// What a layer becomes. A later entry replaces an earlier one of the same path, but a directory
/// stays and gets the later attributes.
pub(crate) trait Sink: Marks {
    /// Anything but the root and whiteouts; a file's data is what `archive` has next. Parents that
    /// are not there are implied.
    fn place(
        &mut self,
        place: Place<'_>,
        kind: EntryKind,
        attributes: Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem>;

    /// The archive is at its end. Gives the bytes of regular files, and what could not be
    /// reproduced. Where contents have come to lie is said to `tape` now at the latest.
    fn finish(self, tape: &mut Tape<'_>) -> Result<(u64, Warnings), Refusal>;
}

/// Reads an archive to its end and gives what is in it to `sink`, and what else there is to know of
/// it to `tape`.
pub(crate) fn read<S: Sink>(
    chunks: impl BufRead,
    limits: &Limits,
    tape: Tape<'_>,
    mut sink: S,
) -> Result<Unpacked, Refusal> {
    let mut archive = Archive::new(chunks, limits, tape);
    let mut unpacked = Unpacked::default();
    while let Some(entry) = archive.next()? {
        let archive = &mut archive;
        dispatch(
            entry,
            limits,
            &mut sink,
            &mut unpacked,
            |sink, place, kind, attributes| sink.place(place, kind, attributes, archive),
        )?;
    }
    let mut tape = archive.finish()?;
    (unpacked.size_bytes, unpacked.warnings) = sink.finish(&mut tape)?;
    tape.finish()?;
    Ok(unpacked)
}

/// Gives the next entry its meaning; `put` is what is done with one that is neither the root nor a
/// whiteout.
pub(crate) fn dispatch<S: Marks>(
    mut entry: Entry,
    limits: &Limits,
    sink: &mut S,
    unpacked: &mut Unpacked,
    put: impl FnOnce(&mut S, Place<'_>, EntryKind, Attributes) -> Result<(), UnpackProblem>,
) -> Result<(), Refusal> {
    let path = std::mem::take(&mut entry.path);
    unpacked.entries += 1;
    if unpacked.entries > limits.entries {
        let (what, limit) = ("entries", limits.entries);
        return Err(Refusal::at(&path, UnpackProblem::Limit { what, limit }));
    }
    mean(&path, entry, sink, unpacked, put).map_err(|problem| Refusal::at(&path, problem))
}

fn mean<S: Marks>(
    path: &[u8],
    entry: Entry,
    sink: &mut S,
    unpacked: &mut Unpacked,
    put: impl FnOnce(&mut S, Place<'_>, EntryKind, Attributes) -> Result<(), UnpackProblem>,
) -> Result<(), UnpackProblem> {
    let path = clean(path)?;
    let place = Place::new(&path);
    let mut above = place.parent.split(|&byte| byte == b'/');
    if above.clone().any(|part| part.starts_with(b".wh.")) {
        // Below AUFS's own directories nothing has a meaning; below a whiteout nothing can be.
        return match above.any(|part| part.starts_with(b".wh..wh.")) {
            true => Ok(()),
            false => Err(UnpackProblem::Unsafe("its path leads through a whiteout")),
        };
    }
    match whiteout::meaning(place.name)? {
        Meaning::Ignored => Ok(()),
        Meaning::Opaque if place.parent.is_empty() => {
            unpacked.opaque_root = true;
            Ok(())
        }
        Meaning::Opaque => sink.hide_all(place.parent),
        Meaning::Whiteout(name) => sink.hide(Place { name, ..place }),
        Meaning::Ordinary if path.is_empty() => {
            let attributes = entry.attributes;
            if entry.kind != EntryKind::Directory {
                return Err(UnpackProblem::Unsafe("the root can only be a directory"));
            }
            unpacked.root = Some(RootAttributes {
                mode: attributes.mode,
                uid: attributes.uid,
                gid: attributes.gid,
            });
            sink.root(attributes)
        }
        Meaning::Ordinary => put(sink, place, entry.kind, entry.attributes),
    }
}

/// A path without empty and `.` components; absolute ones start at the layer's root. `..` is
/// refused: no writer of layers needs it.
pub(crate) fn clean(path: &[u8]) -> Result<Vec<u8>, UnpackProblem> {
    let mut cleaned = Vec::with_capacity(path.len());
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(UnpackProblem::Unsafe("a path with `..`")),
            part if part.contains(&0) => {
                return Err(UnpackProblem::Archive("a path contains a zero byte"));
            }
            part => {
                if !cleaned.is_empty() {
                    cleaned.push(b'/');
                }
                cleaned.extend_from_slice(part);
            }
        }
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_never_lead_up() {
        let cleaned = |path: &str| {
            clean(path.as_bytes())
                .ok()
                .map(|p| p.escape_ascii().to_string())
        };
        assert_eq!(cleaned("./a//b/./c/").as_deref(), Some("a/b/c"));
        assert_eq!(cleaned("/etc/passwd").as_deref(), Some("etc/passwd"));
        assert_eq!(cleaned("./").as_deref(), Some(""));
        assert_eq!(cleaned("a/..b/...").as_deref(), Some("a/..b/..."));
        assert_eq!(cleaned("../a"), None);
        assert_eq!(cleaned("a/../b"), None);
    }
}
