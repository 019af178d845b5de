// cost FILE [PID...] -- COMMAND...: runs a command and adds a line to FILE: milliseconds of wall clock,
// milliseconds of processor, and the largest resident set in kB. Of the command with those children that
// it has waited for (getrusage(2)), and of the processes PID, which work for it (proc_pid_stat(5), with
// the children that they have waited for; VmHWM of proc_pid_status(5), begun anew by clear_refs). The
// largest set is that of one process, not a sum. Small itself: what a process was before it executed
// counts, too.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Milliseconds of processor that a process and its children have had.
static long busy(const char *pid) {
  char path[64], line[1024], *after;
  unsigned long user, system, child_user, child_system;
  FILE *stat;
  size_t length;
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  if (!(stat = fopen(path, "r"))) return 0;
  length = fread(line, 1, sizeof line - 1, stat);
  fclose(stat);
  line[length] = 0;
  // The name may have blanks and brackets.
  if (!(after = strrchr(line, ')'))) return 0;
  if (sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &user, &system, &child_user,
             &child_system) != 4)
    return 0;
  return (user + system + child_user + child_system) * 1000 / sysconf(_SC_CLK_TCK);
}

static void forget_peak(const char *pid) {
  char path[64];
  FILE *file;
  snprintf(path, sizeof path, "/proc/%s/clear_refs", pid);
  if (!(file = fopen(path, "w"))) return;
  fputs("5", file);
  fclose(file);
}

static long peak(const char *pid) {
  char path[64], line[256];
  long kb = 0;
  FILE *file;
  snprintf(path, sizeof path, "/proc/%s/status", pid);
  if (!(file = fopen(path, "r"))) return 0;
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %ld kB", &kb) == 1) break;
  fclose(file);
  return kb;
}

static long milliseconds(struct timeval time) { return time.tv_sec * 1000 + time.tv_usec / 1000; }

int main(int argc, char **argv) {
  struct rusage used;
  struct timespec before, after;
  int status, first = 2, at;
  long cpu = 0, wall, most;
  pid_t child;
  FILE *to;
  while (first < argc && strcmp(argv[first], "--")) first++;
  if (first + 1 >= argc) return 2;
  for (at = 2; at < first; at++) {
    forget_peak(argv[at]);
    cpu -= busy(argv[at]);
  }
  clock_gettime(CLOCK_MONOTONIC, &before);
  child = fork();
  if (child == 0) {
    execvp(argv[first + 1], argv + first + 1);
    _exit(127);
  }
  if (child < 0 || wait4(child, &status, 0, &used) < 0) return 1;
  clock_gettime(CLOCK_MONOTONIC, &after);
  wall = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
  cpu += milliseconds(used.ru_utime) + milliseconds(used.ru_stime);
  most = used.ru_maxrss;
  for (at = 2; at < first; at++) {
    long theirs = peak(argv[at]);
    cpu += busy(argv[at]);
    if (theirs > most) most = theirs;
  }
  to = fopen(argv[1], "a");
  if (!to || fprintf(to, "%ld %ld %ld\n", wall, cpu, most) < 0 || fclose(to)) return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
