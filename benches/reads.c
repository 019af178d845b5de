// reads DIRECTORY COUNT: walks a directory, then reads COUNT times 4 kB somewhere in one of its files. Prints
// the milliseconds that the walk took, with stat(2) of everything, and those that the reads took, with
// open(2) and close(2).
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct file {
  char *path;
  off_t bytes;
} *files;
static size_t count, room;

static int found(const char *path, const struct stat *status, int type, struct FTW *walk) {
  (void)walk;
  if (type != FTW_F || !S_ISREG(status->st_mode)) return 0;
  if (count == room) files = realloc(files, (room = room * 2 + 1024) * sizeof *files);
  files[count].path = strdup(path);
  files[count++].bytes = status->st_size;
  return 0;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  char buffer[4096];
  unsigned long long chance = 88172645463325252ull;
  double began, walked, done;
  if (argc != 3) return 2;
  began = now();
  if (nftw(argv[1], found, 64, FTW_PHYS) || !count) return 1;
  walked = now();
  for (long reads = atol(argv[2]); reads > 0; reads--) {
    // Marsaglia's xorshift64.
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    struct file *file = &files[chance % count];
    int descriptor = open(file->path, O_RDONLY);
    if (descriptor < 0 || pread(descriptor, buffer, sizeof buffer, (off_t)(chance >> 20) % (file->bytes + 1)) < 0) return 1;
    close(descriptor);
  }
  done = now();
  printf("%.1f %.1f\n", walked - began, done - walked);
  return 0;
}
