// step OUT COMMAND...: runs a command one instruction at a time, with all the processes that it makes, and
// writes where it was: a line per distinct program counter of the command's own program (of those below 32 MiB:
// it is static and stands at 2 MiB), with the number of the instruction at which it was first there. Processes
// that execute another program are let go.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define END (32 << 20)
static unsigned first[END];
static struct stat program;

// Whether a process runs another program by now. The same one may have been executed from another mount.
static int is_foreign(pid_t pid) {
  char path[64];
  struct stat now;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  if (stat(path, &now)) return 0;
  return now.st_ino != program.st_ino || now.st_size != program.st_size;
}

static void let_run(pid_t child) {
  unsigned steps = 0;
  int status;
  for (pid_t pid = child; (pid = waitpid(-1, &status, __WALL)) > 0;) {
    struct user_regs_struct registers;
    int signal = WSTOPSIG(status), event = status >> 16;
    // The rest is nobody's start; the kernel lets go of it when this program ends.
    if (!WIFSTOPPED(status) && pid == child) return;
    if (!WIFSTOPPED(status)) continue;
    if (event == PTRACE_EVENT_EXEC && is_foreign(pid)) {
      ptrace(PTRACE_DETACH, pid, 0, 0);
      continue;
    }
    if (!ptrace(PTRACE_GETREGS, pid, 0, &registers) && registers.rip < END && !first[registers.rip])
      first[registers.rip] = ++steps;
    if (signal == SIGTRAP || signal == SIGSTOP || event) signal = 0;
    ptrace(PTRACE_SINGLESTEP, pid, 0, (void *)(long)signal);
  }
}

int main(int argc, char **argv) {
  const long options =
      PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
  int status;
  pid_t child;
  FILE *to;
  if (argc < 3 || stat(argv[2], &program)) return 2;
  child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execv(argv[2], argv + 2);
    _exit(127);
  }
  if (child < 0 || waitpid(child, &status, 0) < 0 || ptrace(PTRACE_SETOPTIONS, child, 0, options)) return 1;
  ptrace(PTRACE_SINGLESTEP, child, 0, 0);
  let_run(child);
  to = fopen(argv[1], "w");
  if (!to) return 1;
  for (unsigned at = 0; at < END; at++)
    if (first[at]) fprintf(to, "%x %u\n", at, first[at]);
  return fclose(to) != 0;
}
