//! Other owners for the files of a mount that the container makes itself. Root of the container's user namespace
//! has no right to the ids outside of it: there the child sends its keeper the tree, which is not attached yet,
//! and waits. mount_setattr(2), "ID-mapped mounts".

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::bind::Bind;
use super::mounts::Op;
use super::step::{At, Failure, Step};

/// Who changes the owners of a mount that the container has made itself: who has the right to it in the user
/// namespace whose ids are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mapper<'a> {
    Child,
    /// By way of this socket.
    Keeper(BorrowedFd<'a>),
}

/// The first byte of a packet that asks the keeper for it; the operation's number follows, and the tree comes
/// with it. It is shorter than a failure, and longer than a listener's.
pub(super) const MAP: u8 = b'm';

impl Mapper<'_> {
    /// In the child: allocates nothing.
    pub(super) fn map(
        self,
        bind: &Bind,
        tree: BorrowedFd<'_>,
        index: usize,
    ) -> Result<(), Failure> {
        let keeper = match self {
            Mapper::Child => return bind.map(tree).at_index(Step::Mount, index),
            Mapper::Keeper(keeper) => keeper,
        };
        let [low, high] = (index as u16).to_ne_bytes();
        gamut_sys::socket::send(keeper, &[&[MAP, low, high]], &[tree])
            .at_index(Step::Mount, index)?;
        let mut answer = [0u8; 4];
        match rustix::io::retry_on_intr(|| rustix::io::read(keeper, &mut answer)) {
            Ok(4) => match i32::from_ne_bytes(answer) {
                0 => Ok(()),
                errno => Err(Errno::from_raw_os_error(errno)).at_index(Step::Mount, index),
            },
            Ok(_) => Err(Failure::new(Step::Wait, Errno::PIPE)),
            Err(errno) => Err(Failure::new(Step::Wait, errno)),
        }
    }
}

impl Op {
    /// The keeper's part of it: the tree is the operation's, and the child waits.
    pub(super) fn map(&self, tree: BorrowedFd<'_>) -> Result<(), Errno> {
        match self {
            Op::Inside { bind, .. } => bind.map(tree),
            _ => Err(Errno::INVAL),
        }
    }
}
