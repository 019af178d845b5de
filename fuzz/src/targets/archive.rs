//! An archive that is loaded: where its files are, and what they hold.

use std::io::Read;

use gamut_spec::image::layout::{ARCHIVE_FILE, ArchiveImage, INDEX_FILE};
use gamut_store::members::Members;

/// Bytes of one file that are read.
const READ_BYTES: u64 = 1 << 20;

/// Whatever is found by its name can be read, and is as long as it says.
pub(super) fn run(bytes: &[u8]) {
    let Ok(members) = Members::of_stream(bytes, &std::env::temp_dir()) else {
        return;
    };
    for name in [
        ARCHIVE_FILE,
        INDEX_FILE,
        "same",
        "link",
        "d/large",
        "../d/small",
    ] {
        if let Ok(Some(member)) = members.get(name) {
            let size_bytes = member.size_bytes();
            let mut content = Vec::new();
            let read = member.take(READ_BYTES).read_to_end(&mut content);
            let read = read.expect("a file in the archive can be read");
            assert_eq!(read as u64, size_bytes.min(READ_BYTES), "{name}");
        }
    }
    if let Ok(list) = members.read(ARCHIVE_FILE, READ_BYTES) {
        let _ = ArchiveImage::parse_list(&list);
    }
}
