//! Paths within an image, as a process whose root it is would resolve them.

use super::{Image, Inode, ReadError, Source};
use crate::erofs::format::FileType;

/// Symbolic links in one resolution: MAXSYMLINKS of the kernel.
const LINKS: usize = 40;
/// Most bytes of a path: PATH_MAX.
const PATH_BYTES: usize = 4096;

/// What a path's last component means when it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The link itself.
    Never,
    /// What it leads to.
    Last,
}

impl<S: Source> Image<S> {
    /// The inode that a path names. `..` and absolute links stay within the image; where the path
    /// begins with `/` or not is the same.
    pub fn resolve(&self, path: &[u8], follow: Follow) -> Result<Inode, ReadError> {
        if path.len() > PATH_BYTES {
            return Err(ReadError::Limit {
                what: "bytes in a path",
                limit: PATH_BYTES as u64,
            });
        }
        let shown = || path.escape_ascii().to_string();
        // What is still to be gone, the next component last.
        let mut ahead = components(path);
        let root = self.root()?;
        let mut below: Vec<Inode> = Vec::new();
        let mut links = 0;
        // What was arrived at, if it is no directory.
        let mut leaf = None;
        while let Some(name) = ahead.pop() {
            if leaf.is_some() {
                return Err(ReadError::NotADirectory(shown()));
            }
            match name.as_slice() {
                b"." => continue,
                // The root's parent is the root.
                b".." => {
                    below.pop();
                    continue;
                }
                _ => {}
            }
            let inode = self
                .lookup(below.last().unwrap_or(&root), &name)?
                .ok_or_else(|| ReadError::NotFound(shown()))?;
            match inode.kind {
                FileType::Directory => below.push(inode),
                FileType::Symlink if !ahead.is_empty() || follow == Follow::Last => {
                    links += 1;
                    if links > LINKS {
                        return Err(ReadError::TooManyLinks(shown()));
                    }
                    let target = self.link_target(&inode)?;
                    if target.first() == Some(&b'/') {
                        below.clear();
                    }
                    ahead.extend(components(&target));
                }
                _ => leaf = Some(inode),
            }
        }
        Ok(leaf.or_else(|| below.pop()).unwrap_or(root))
    }
}

/// The components of a path, the first one last. A trailing `/` asks for a directory, as `/.` does.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let directory = path.ends_with(b"/").then(|| b".".to_vec());
    let names = path.split(|&byte| byte == b'/').rev();
    let names = names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec);
    directory.into_iter().chain(names).collect()
}
