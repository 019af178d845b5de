# An OCI runtime configuration that asks for what `gamut run --network none IMAGE true` gives:
# every namespace, Docker's default capabilities, masked paths and seccomp policy.
# Input: containers-common's seccomp.json. Arguments: $root, $args (a JSON array).
["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
 "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE",
 "CAP_SETFCAP"] as $caps
| def applies: # a rule of the profile, for this architecture and these capabilities
    ((.includes.caps // []) - $caps | length == 0)
    and (.excludes.caps // [] | all(. as $cap | $caps | index($cap) | not))
    and ((.includes.arches // ["amd64"]) | index("amd64") != null)
    and ((.excludes.arches // []) | index("amd64") == null);
{
  ociVersion: "1.1.0",
  process: {
    user: {uid: 0, gid: 0}, cwd: "/", args: $args, noNewPrivileges: true,
    env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    capabilities: {bounding: $caps, effective: $caps, permitted: $caps}
  },
  root: {path: $root},
  hostname: "bench",
  mounts: [
    {destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"]},
    {destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"]},
    {destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"]}
  ],
  linux: {
    namespaces: ["pid", "mount", "network", "uts", "ipc", "cgroup"] | map({type: .}),
    resources: {devices: [{allow: false, access: "rwm"}]},
    maskedPaths: ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
      "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
    readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    seccomp: {
      defaultAction, defaultErrnoRet,
      architectures: [.archMap[] | select(.architecture == "SCMP_ARCH_X86_64") | .architecture, .subArchitectures[]],
      syscalls: [.syscalls[] | select(applies) | {names, action, args: (.args // []), errnoRet} | del(.. | nulls)]
    }
  }
}
