//! What an archive may ask of this host. The defaults are far above any honest layer and far
//! below what would bring a host down.

/// Limits for one layer. Going past one ends the unpacking with
/// [`super::UnpackProblem::Limit`], which names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed archive, and of any one file as its sparse map declares it.
    pub unpacked_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of a path or of a link's target.
    pub path_bytes: usize,
    /// Bytes of one extended attribute's value.
    pub xattr_bytes: usize,
    /// Bytes of one extended header (PAX records, GNU long name, sparse map).
    pub extended_header_bytes: u64,
    /// Bytes of memory for the names and attributes of directories, which are finished last.
    pub directory_memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 256 << 30,
            entries: 8 << 20,
            path_bytes: 4096,
            xattr_bytes: 64 << 10,
            extended_header_bytes: 1 << 20,
            directory_memory_bytes: 256 << 20,
        }
    }
}
