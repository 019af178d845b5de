//! Walking the groups below a group. A workload can make any number of them, arbitrarily deep, so
//! the walk holds one descriptor and no stack frame per level.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::dir::{child_names, open_directory};

/// Calls `enter` with each group below `top` (`top` itself left out) before its children, and
/// `leave` with its parent and name after them. A group that vanishes meanwhile is passed over, `top`
/// among them.
pub(super) fn walk<Fd: AsFd>(
    top: Fd,
    mut enter: impl FnMut(&OwnedFd) -> Result<(), Errno>,
    mut leave: impl FnMut(&OwnedFd, &str) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut current = open_directory(top, ".")?;
    let children = match child_names(current.as_fd()) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        names => names?,
    };
    // Per level: the name by which it was entered, and the children still to visit.
    let mut levels = vec![(String::new(), children)];
    while let Some((_, rest)) = levels.last_mut() {
        if let Some(name) = rest.pop() {
            match open_directory(&current, &name) {
                Ok(child) => current = child,
                Err(Errno::NOENT | Errno::NODEV) => continue,
                Err(errno) => return Err(errno),
            }
            enter(&current)?;
            let children = match child_names(current.as_fd()) {
                Err(Errno::NOENT | Errno::NODEV) => Vec::new(),
                names => names?,
            };
            levels.push((name, children));
        } else if let Some((name, _)) = levels.pop()
            && !levels.is_empty()
        {
            current = open_directory(&current, "..")?;
            leave(&current, &name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{AtFlags, CWD};

    #[test]
    fn children_come_before_their_parents_however_deep() {
        let top = tempfile::tempdir().expect("a temporary directory");
        let fd = open_directory(CWD, top.path().to_str().expect("a plain path")).expect("open");
        let mut at = open_directory(&fd, ".").expect("open");
        for _ in 0..1200 {
            for name in ["a", "b"] {
                rustix::fs::mkdirat(&at, name, 0o755.into()).expect("mkdir");
            }
            at = open_directory(&at, "a").expect("open");
        }
        let mut entered = 0;
        let enter = |_: &OwnedFd| {
            entered += 1;
            Ok(())
        };
        walk(&fd, enter, |parent, name| {
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        })
        .expect("walk");
        assert_eq!(entered, 2400);
        assert!(child_names(fd.as_fd()).expect("read").is_empty());
    }
}
