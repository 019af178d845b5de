// peak FILE COMMAND...: runs a command and writes to FILE its largest resident set in kB (getrusage(2),
// ru_maxrss), of itself and of those children that it has waited for. Small itself: what a process was
// before it executed counts, too.
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct rusage used;
  int status;
  pid_t child;
  FILE *to;
  if (argc < 3) return 2;
  child = fork();
  if (child == 0) {
    execvp(argv[2], argv + 2);
    _exit(127);
  }
  if (child < 0 || wait4(child, &status, 0, &used) < 0) return 1;
  to = fopen(argv[1], "w");
  if (!to || fprintf(to, "%ld\n", used.ru_maxrss) < 0 || fclose(to)) return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
