//! The seccomp(2) system call.
