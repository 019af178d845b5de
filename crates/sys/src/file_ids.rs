//! The ids by which a thread makes files, setfsuid(2): for a server that makes them for others.

use rustix::io::Errno;

/// Has the calling thread make files as this user and group, until it is told otherwise.
///
/// # Errors
/// `EPERM`: neither its own ids nor CAP_SETUID and CAP_SETGID.
pub fn make_files_as(uid: u32, gid: u32) -> Result<(), Errno> {
    set(libc::SYS_setfsgid, gid)?;
    set(libc::SYS_setfsuid, uid)
}

/// The calls give the id before and no error: whether they worked is asked by one that cannot.
fn set(call: libc::c_long, id: u32) -> Result<(), Errno> {
    const NO_ID: u32 = u32::MAX;
    // SAFETY: setfsuid and setfsgid take a number.
    unsafe { libc::syscall(call, id) };
    // SAFETY: as above; this number is no id and changes nothing.
    let now = unsafe { libc::syscall(call, NO_ID) };
    if now as u32 == id {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}
