//! The bpf(2) system call: loading and attaching a cgroup device program.
