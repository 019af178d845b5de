//! The facts of this host that a drawing needs.

use gamut_plan::HostFacts;

/// Gathers them: four system calls.
#[must_use]
pub(crate) fn facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let capabilities = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    HostFacts {
        kernel: text(uname.release()),
        machine: text(uname.machine()),
        hostname: text(uname.nodename()),
        uid: rustix::process::geteuid().as_raw(),
        capabilities,
        cpus: rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count()),
    }
}
