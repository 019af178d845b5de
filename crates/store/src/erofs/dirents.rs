//! The blocks of a directory: entries sorted by name, `.` and `..` among them, as many in each block
//! as fit.

use super::format::{BLOCK_BYTES, DIRENT_BYTES, Dirent, FileType};

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'n> {
    pub(super) name: &'n [u8],
    pub(super) nid: u64,
    pub(super) file_type: FileType,
}

/// Sorted entries with the two that every directory has put in their places.
pub(super) fn with_dots<'n>(
    entries: impl Iterator<Item = Named<'n>>,
    own: u64,
    parent: u64,
) -> impl Iterator<Item = Named<'n>> {
    let dot = |name, nid| Named {
        name,
        nid,
        file_type: FileType::Directory,
    };
    let mut dots = [dot(b".", own), dot(b"..", parent)].into_iter().peekable();
    let mut entries = entries.peekable();
    std::iter::from_fn(move || match (dots.peek(), entries.peek()) {
        (Some(dot), Some(entry)) if entry.name < dot.name => entries.next(),
        (Some(_), _) => dots.next(),
        (None, _) => entries.next(),
    })
}

/// Calls `visit` with the used bytes of each block; all but the last one's count as full.
pub(super) fn for_each_block<'n, E>(
    entries: impl Iterator<Item = Named<'n>>,
    mut visit: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut group, mut taken) = (Vec::new(), 0);
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    for entry in entries {
        let bytes = DIRENT_BYTES + entry.name.len();
        if taken + bytes > BLOCK_BYTES {
            encode(&group, &mut block);
            visit(&block)?;
            group.clear();
            taken = 0;
        }
        group.push(entry);
        taken += bytes;
    }
    encode(&group, &mut block);
    visit(&block)
}

/// One block: all entries, then all names.
fn encode(group: &[Named<'_>], block: &mut Vec<u8>) {
    block.clear();
    let mut name_offset = group.len() * DIRENT_BYTES;
    for entry in group {
        let dirent = Dirent {
            nid: entry.nid,
            // Less than a block.
            name_offset: name_offset as u16,
            file_type: entry.file_type.number(),
        };
        block.extend_from_slice(&dirent.to_bytes());
        name_offset += entry.name.len();
    }
    for entry in group {
        block.extend_from_slice(entry.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8]) -> Named<'_> {
        Named {
            name,
            nid: 7,
            file_type: FileType::File,
        }
    }

    #[test]
    fn dots_are_sorted_like_any_name() {
        let entries: [&[u8]; 4] = [b"!", b"..-", b".a", b"a"];
        let all: Vec<_> = with_dots(entries.into_iter().map(named), 1, 2)
            .map(|entry| (entry.name, entry.nid))
            .collect();
        let expected: [(&[u8], u64); 6] = [
            (b"!", 7),
            (b".", 1),
            (b"..", 2),
            (b"..-", 7),
            (b".a", 7),
            (b"a", 7),
        ];
        assert_eq!(all, expected);
        assert_eq!(with_dots(std::iter::empty(), 1, 2).count(), 2);
    }

    #[test]
    fn blocks_are_filled_and_never_overfilled() {
        let names: Vec<Vec<u8>> = (0..100).map(|i| vec![i + 33; 200]).collect();
        let mut lengths = Vec::new();
        for_each_block(names.iter().map(|name| named(name)), |block| {
            lengths.push(block.len());
            Ok::<_, ()>(())
        })
        .expect("visited");
        assert_eq!(
            lengths,
            [19 * 212, 19 * 212, 19 * 212, 19 * 212, 19 * 212, 5 * 212]
        );
    }
}
