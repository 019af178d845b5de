// floor: the least that a container start costs on this kernel, as one small C program.
//
// It does by hand, and nothing else, what a runtime must do for `run --rm --network none`: own
// pid, mount, network, uts, ipc and cgroup namespaces; cgroups on v1 or v2; an overlay root through
// the new mount API; /proc, /dev, /sys with Docker's masked and read-only paths; pivot_root;
// Docker's default capabilities; no_new_privs; a seccomp filter; exec; wait; remove everything.
// No images, no state, no keeper, no logs, and no checks beyond "did the call succeed".
//
//   floor --root DIR --scratch DIR [--cgroup DIR]... [--seccomp FILE] [--runs N] PROGRAM [ARG...]
//
// --root     the lower directory of the overlay; has proc, dev, sys and PROGRAM
// --scratch  an empty directory for upper, work and mount point (ext4 or tmpfs)
// --cgroup   a parent directory below which each run makes and removes a group of its own
// --seccomp  an array of struct sock_filter, as a runtime hands it to seccomp(2)
// --runs     with more than 1: prints median, 10th percentile and minimum in microseconds
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CGROUPS = 12, MAX_RUNS = 100000 };

// From mount(2) and umount(2); <sys/mount.h> clashes with <linux/mount.h>.
enum { MS_REC_PRIVATE = 0x4000 | 0x40000, UMOUNT_DETACH = 2 };

struct request {
  const char *root, *scratch, *cgroups[MAX_CGROUPS];
  int cgroup_count, runs;
  struct sock_fprog filter;
  char **program;
};

// What the parent prepares for one child. They share memory (CLONE_VM), so `step` tells the
// parent how far the child came.
struct run {
  const struct request *request;
  char folder[4096], upper[4200], work[4200], merged[4200], groups[MAX_CGROUPS][4200];
  int attach[MAX_CGROUPS];
  const char *volatile step;
  volatile int error;
};

static char stack[64 * 1024] __attribute__((aligned(16)));

static void die(const char *what, const char *object) {
  fprintf(stderr, "floor: %s %s: %s\n", what, object, strerror(errno));
  exit(1);
}

#define TRY(name, call) do { if ((call) < 0) { run->step = name; run->error = errno; _exit(127); } } while (0)

// A new superblock of `type`, attached at `target`. `options` is key, value, ..., NULL.
static int mount_new(const char *type, const char *const *options, unsigned attributes, const char *target) {
  int context = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  for (; options[0]; options += 2)
    if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[0], options[1], 0) < 0) return -1;
  if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0) < 0) return -1;
  int tree = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
  if (tree < 0) return -1;
  int result = syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  close(tree);
  close(context);
  return result;
}

// Whether a path to be masked is there at all. Asked first, because a detached mount that is
// thrown away instead of attached costs 70 us and more (measured, Linux 6.18, three absent paths:
// 220 us per run; probably the grace period that dissolving it waits for).
static int is_there(const char *path) { return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0; }

// A bind of `source` over `target`.
static int cover(const char *source, const char *target, unsigned attributes) {
  int tree = syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  if (tree < 0) return -1;
  struct mount_attr attr = {.attr_set = attributes};
  int result = 0;
  if (attributes) result = syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr);
  if (result == 0) result = syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  close(tree);
  return result;
}

static void make_devices(struct run *run) {
  static const struct { const char *name; int major, minor; } nodes[] = {
    {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
  static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
    {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"}};
  const unsigned flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  TRY("mount dev", mount_new("tmpfs", (const char *[]){"mode", "755", "size", "65536k", 0}, MOUNT_ATTR_NOSUID, "dev"));
  for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
    char path[32];
    snprintf(path, sizeof path, "dev/%s", nodes[i].name);
    TRY("mknod", mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
  }
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) TRY("symlink", symlink(links[i][0], links[i][1]));
  TRY("mkdir", mkdir("dev/pts", 0755));
  TRY("mkdir", mkdir("dev/shm", 01777));
  TRY("mkdir", mkdir("dev/mqueue", 01777));
  TRY("mount devpts", mount_new("devpts", (const char *[]){"ptmxmode", "0666", "mode", "0620", "gid", "5", 0}, flags, "dev/pts"));
  TRY("mount shm", mount_new("tmpfs", (const char *[]){"mode", "1777", "size", "65536k", 0}, flags | MOUNT_ATTR_NODEV, "dev/shm"));
  TRY("mount mqueue", mount_new("mqueue", (const char *[]){0}, flags | MOUNT_ATTR_NODEV, "dev/mqueue"));
}

static void make_root(struct run *run) {
  static const char *const masked_files[] = {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/sched_debug"};
  static const char *const masked_folders[] = {"proc/acpi", "proc/scsi", "proc/asound", "sys/firmware"};
  static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
  const unsigned flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV;
  TRY("make mounts private", syscall(SYS_mount, 0, "/", 0, MS_REC_PRIVATE, 0));
  TRY("mount overlay", mount_new("overlay", (const char *[]){"lowerdir", run->request->root, "upperdir", run->upper,
    "workdir", run->work, 0}, 0, run->merged));
  TRY("chdir", chdir(run->merged));
  TRY("mount proc", mount_new("proc", (const char *[]){0}, flags, "proc"));
  make_devices(run);
  TRY("mount sys", mount_new("sysfs", (const char *[]){0}, flags | MOUNT_ATTR_RDONLY, "sys"));
  for (size_t i = 0; i < sizeof masked_files / sizeof *masked_files; i++)
    if (is_there(masked_files[i])) TRY("mask file", cover("dev/null", masked_files[i], 0));
  for (size_t i = 0; i < sizeof masked_folders / sizeof *masked_folders; i++)
    if (is_there(masked_folders[i]))
      TRY("mask folder", mount_new("tmpfs", (const char *[]){"size", "0k", 0}, flags | MOUNT_ATTR_RDONLY, masked_folders[i]));
  for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++)
    if (is_there(read_only[i])) TRY("read-only path", cover(read_only[i], read_only[i], MOUNT_ATTR_RDONLY));
  TRY("pivot_root", syscall(SYS_pivot_root, ".", "."));
  TRY("umount old root", syscall(SYS_umount2, ".", UMOUNT_DETACH));
  TRY("chdir", chdir("/"));
}

static void raise_loopback(struct run *run) {
  struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  TRY("socket", fd);
  TRY("raise lo", ioctl(fd, SIOCSIFFLAGS, &lo));
}

// Docker's default set: chown dac_override fowner fsetid kill setgid setuid setpcap
// net_bind_service net_raw sys_chroot mknod audit_write setfcap.
static void drop_capabilities(struct run *run) {
  const unsigned keep = 0xa80425fb;
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
    if (cap > 31 || !(keep & (1u << cap))) TRY("drop bounding capability", prctl(PR_CAPBSET_DROP, cap));
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[2] = {{.effective = keep, .permitted = keep}, {0}};
  TRY("capset", syscall(SYS_capset, &header, sets));
}

static int child(void *data) {
  struct run *run = data;
  const struct request *request = run->request;
  for (int i = 0; i < request->cgroup_count; i++) TRY("enter cgroup", write(run->attach[i], "0", 1));
  TRY("unshare cgroup", unshare(CLONE_NEWCGROUP));
  make_root(run);
  raise_loopback(run);
  TRY("sethostname", sethostname("floor", 5));
  TRY("setsid", setsid());
  TRY("close_range", syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */));
  drop_capabilities(run);
  TRY("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  if (request->filter.len) TRY("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &request->filter));
  char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0};
  execve(request->program[0], request->program, environment);
  run->error = errno;
  run->step = "exec";
  _exit(127);
}

// Writes `text` to `name` below `folder`; a file that is not there is skipped.
static void set(const char *folder, const char *name, const char *text) {
  char path[4300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return;
  if (fd < 0 || write(fd, text, strlen(text)) < 0) die("cannot write", path);
  close(fd);
}

// A v1 cpuset starts empty, and nothing can enter it: it takes what its parent has.
static void inherit(const char *parent, const char *group, const char *name) {
  char path[4300], text[256];
  snprintf(path, sizeof path, "%s/%s", parent, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 1) return;
  text[length] = 0;
  set(group, name, text);
}

static void make_groups(struct run *run, int number) {
  static const char *const allowed[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
    "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};
  for (int i = 0; i < run->request->cgroup_count; i++) {
    const char *parent = run->request->cgroups[i];
    char *group = run->groups[i], path[4300];
    snprintf(group, sizeof run->groups[i], "%s/floor-%d-%d", parent, getpid(), number);
    if (mkdir(group, 0755) < 0) die("cannot make", group);
    if (strstr(group, "/devices")) {
      set(group, "devices.deny", "a");
      for (size_t rule = 0; rule < sizeof allowed / sizeof *allowed; rule++) set(group, "devices.allow", allowed[rule]);
    }
    if (strstr(group, "/cpuset")) {
      inherit(parent, group, "cpuset.cpus");
      inherit(parent, group, "cpuset.mems");
    }
    // v1's `tasks` moves the writing thread alone, which by the source needs no lock over all
    // threads (kernel/cgroup/cgroup.c, cgroup_procs_write_start). The medians of the two files
    // are the same, 9 us.
    snprintf(path, sizeof path, "%s/tasks", group);
    run->attach[i] = open(path, O_WRONLY | O_CLOEXEC);
    if (run->attach[i] < 0) {
      snprintf(path, sizeof path, "%s/cgroup.procs", group);
      run->attach[i] = open(path, O_WRONLY | O_CLOEXEC);
    }
    if (run->attach[i] < 0) die("cannot open", path);
  }
}

static void remove_all(struct run *run) {
  char inner[4300];
  for (int i = 0; i < run->request->cgroup_count; i++) {
    close(run->attach[i]);
    int tries = 0; // the kernel may still be letting go of the group
    while (rmdir(run->groups[i]) < 0) {
      if (errno != EBUSY || ++tries > 1000) die("cannot remove", run->groups[i]);
      usleep(100);
    }
  }
  snprintf(inner, sizeof inner, "%s/work", run->work); // made by overlayfs
  if (rmdir(inner) < 0 && errno != ENOENT) die("cannot remove", inner);
  const char *folders[] = {run->work, run->upper, run->merged, run->folder};
  for (int i = 0; i < 4; i++)
    if (rmdir(folders[i]) < 0) die("cannot remove", folders[i]);
}

// One container from nothing to nothing; the time it took in nanoseconds.
static long long run_once(const struct request *request, int number) {
  static struct run run;
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  run.request = request;
  run.step = 0;
  snprintf(run.folder, sizeof run.folder, "%s/%d-%d", request->scratch, getpid(), number);
  snprintf(run.upper, sizeof run.upper, "%s/upper", run.folder);
  snprintf(run.work, sizeof run.work, "%s/work", run.folder);
  snprintf(run.merged, sizeof run.merged, "%s/merged", run.folder);
  const char *folders[] = {run.folder, run.upper, run.work, run.merged};
  for (int i = 0; i < 4; i++)
    if (mkdir(folders[i], 0755) < 0) die("cannot make", folders[i]);
  make_groups(&run, number);
  const int flags = CLONE_VM | CLONE_VFORK | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;
  int pid = clone(child, stack + sizeof stack, flags | SIGCHLD, &run), status;
  if (pid < 0) die("cannot clone", "");
  if (waitpid(pid, &status, 0) < 0) die("cannot wait for", "the child");
  remove_all(&run);
  clock_gettime(CLOCK_MONOTONIC, &after);
  if (run.step) {
    errno = run.error;
    die("failed at", run.step);
  }
  if (status != 0) {
    fprintf(stderr, "floor: the program ended with wait status %d\n", status);
    exit(1);
  }
  return (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
}

static void load_filter(struct request *request, const char *path) {
  static struct sock_filter filter[BPF_MAXINSNS];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, filter, sizeof filter);
  if (length <= 0 || length % (ssize_t)sizeof *filter) die("no filter in", path);
  close(fd);
  request->filter = (struct sock_fprog){length / sizeof *filter, filter};
}

static int by_size(const void *a, const void *b) {
  long long x = *(const long long *)a, y = *(const long long *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  static long long times_ns[MAX_RUNS];
  struct request request = {.runs = 1};
  int at = 1;
  for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
    const char *name = argv[at] + 2, *value = argv[at + 1];
    if (!strcmp(name, "root")) request.root = value;
    else if (!strcmp(name, "scratch")) request.scratch = value;
    else if (!strcmp(name, "cgroup") && request.cgroup_count < MAX_CGROUPS) request.cgroups[request.cgroup_count++] = value;
    else if (!strcmp(name, "seccomp")) load_filter(&request, value);
    else if (!strcmp(name, "runs")) request.runs = atoi(value);
    else break;
  }
  request.program = argv + at;
  if (at >= argc || argv[at][0] == '-' || !request.root || !request.scratch || request.runs < 1 || request.runs > MAX_RUNS) {
    fprintf(stderr, "usage: floor --root DIR --scratch DIR [--cgroup DIR]... [--seccomp FILE] [--runs N] PROGRAM [ARG...]\n");
    return 2;
  }
  umask(0);
  for (int i = 0; i < request.runs; i++) times_ns[i] = run_once(&request, i);
  if (request.runs == 1) return 0;
  qsort(times_ns, request.runs, sizeof *times_ns, by_size);
  printf("median %lld us, p10 %lld us, min %lld us, %d runs\n", times_ns[request.runs / 2] / 1000,
    times_ns[request.runs / 10] / 1000, times_ns[0] / 1000, request.runs);
  return 0;
}
