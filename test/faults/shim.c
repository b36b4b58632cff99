// A library to preload that injects faults into the file calls of a process (see fault-kit.ts).
//
// It counts, from 1, the calls below whose file lies at or under one path prefix, and at the n-th of them
//   kill    kills the process before the call is made;
//   fail    lets the call fail with an error number, without making it; once, or from then on;
//   torn    writes only k bytes of the n-th *write*, then kills the process;
//   short   writes only k bytes of the n-th *write* and returns k, as a full disk does; once, or from then on.
//   full    writes only k bytes of the n-th *write*, and lets the next one fail. libuv tries to complete a short write
//           by itself and, where that fails, reports neither error nor loss but the k bytes: a disk that fills up.
//   stall   lets the call wait until the fault is taken away: a device that does not answer.
// For torn, short and full only writes are counted.
//
// Settings, by environment:
//   HOLDFAST_FAULT_PREFIX    absolute path; nothing is counted without it
//   HOLDFAST_FAULT_CONTROL   file of six 64-bit integers: generation, action (0 none, 1 kill, 2 fail, 3 torn, 4 short,
//                            5 full, 6 stall), n, error number, k, repeat (1: from the n-th on; 0: once). It is mapped, so whoever writes
//                            it changes the fault of a running process. A new generation starts counting from 1.
//   HOLDFAST_FAULT_TRACE     file that gets a line per counted call ("name path"), and a line "!" where the fault fired
//
// Paths are compared as they are given, so they must be absolute. Calls that the C library makes by itself, or that
// are made through syscall() or io_uring, are not seen; a test compares with strace.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NONE, KILL, FAIL, TORN, SHORT, FULL, STALL };

// What is to become of a call.
enum fate { PASS, REFUSE, CUT, WAIT };

struct control {
  int64_t generation;
  int64_t action;
  int64_t at;
  int64_t error_number;
  int64_t bytes;
  int64_t repeat;
};

static const char *prefix;
static size_t prefix_length;
static volatile struct control *control;
static int trace_fd = -1;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t generation;
static int64_t counted;

static int open_raw(const char *path, int flags) {
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

__attribute__((constructor)) static void start(void) {
  const char *control_path = getenv("HOLDFAST_FAULT_CONTROL");
  const char *trace_path = getenv("HOLDFAST_FAULT_TRACE");
  if (control_path == NULL || trace_path == NULL) return;
  int fd = open_raw(control_path, O_RDWR);
  void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  trace_fd = open_raw(trace_path, O_WRONLY | O_CREAT | O_APPEND);
  if (mapped == MAP_FAILED || trace_fd < 0) {
    perror("holdfast fault shim");
    _exit(99);
  }
  close(fd);
  control = mapped;
  prefix = getenv("HOLDFAST_FAULT_PREFIX");
  if (prefix != NULL) prefix_length = strlen(prefix);
}

static int watched(const char *path) {
  if (prefix == NULL || path == NULL || strncmp(path, prefix, prefix_length) != 0) return 0;
  char next = path[prefix_length];
  return next == '\0' || next == '/' || next == ' ';
}

// The path that a descriptor was opened by; a deleted file has " (deleted)" behind it.
static const char *path_of(int fd, char *buffer) {
  char link_name[64];
  snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link_name, buffer, PATH_MAX);
  if (length < 0) return NULL;
  buffer[length] = '\0';
  return buffer;
}

static void note(const char *first, const char *second) {
  if (trace_fd < 0) return;
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%s%s%s\n", first, *second ? " " : "", second);
  if (length > 0) (void)syscall(SYS_write, trace_fd, line, (size_t)length);
}

static void die(void) {
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

// Counts the call and says what the fault does to it. Kills the process where that is the fault.
static enum fate decide(const char *name, const char *path, int is_write) {
  if (!watched(path)) return PASS;
  int saved = errno;
  pthread_mutex_lock(&lock);
  note(name, path);
  if (control->generation != generation) {
    generation = control->generation;
    counted = 0;
  }
  enum action action = (enum action)control->action;
  enum fate fate = PASS;
  if (is_write || (action != TORN && action != SHORT && action != FULL)) {
    counted++;
    int hit = action != NONE && (control->repeat ? counted >= control->at : counted == control->at);
    if (hit) fate = action == FAIL ? REFUSE : action == STALL ? WAIT : CUT;
    if (action == FULL && counted == control->at + 1) fate = REFUSE;
  }
  if (fate != PASS) note("!", "");
  if (fate != PASS && action == KILL) die();
  pthread_mutex_unlock(&lock);
  // Without the lock: other threads' calls go on meanwhile.
  while (fate == WAIT && control->action == STALL) usleep(1000);
  errno = saved;
  return fate == WAIT ? PASS : fate;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF_FIRES(name, path)                                                                                      \
  if (decide(name, path, 0) == REFUSE) {                                                                                        \
    errno = (int)control->error_number;                                                                                \
    return -1;                                                                                                         \
  }

// Opening.

#define OPEN(name)                                                                                                     \
  int name(const char *path, int flags, ...) {                                                                         \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;                    \
    va_end(rest);                                                                                                      \
    FAIL_IF_FIRES(flags & O_CREAT ? "create" : "open", path)                                                           \
    return REAL(name)(path, flags, mode);                                                                              \
  }
#define OPENAT(name)                                                                                                   \
  int name(int directory, const char *path, int flags, ...) {                                                          \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;                    \
    va_end(rest);                                                                                                      \
    FAIL_IF_FIRES(flags & O_CREAT ? "create" : "open", path)                                                           \
    return REAL(name)(directory, path, flags, mode);                                                                   \
  }
OPEN(open)
OPENAT(openat)
#ifdef __GLIBC__
OPEN(open64)
OPENAT(openat64)
#endif

// Writing. What is kept of a torn or short write goes through pwritev/writev with a shortened vector, or the same
// call with a shorter length.

#define WRITE(name, parameters, length, whole, part)                                                                   \
  ssize_t name parameters {                                                                                            \
    char buffer[PATH_MAX + 1];                                                                                         \
    enum fate fate = decide("write", path_of(fd, buffer), 1);                                                          \
    if (fate == REFUSE) {                                                                                              \
      errno = (int)control->error_number;                                                                              \
      return -1;                                                                                                       \
    }                                                                                                                  \
    if (fate == CUT) {                                                                                                 \
      size_t kept = (size_t)control->bytes < (length) ? (size_t)control->bytes : (length);                             \
      ssize_t written = kept == 0 ? 0 : part;                                                                          \
      if (control->action == TORN) die();                                                                              \
      return written;                                                                                                  \
    }                                                                                                                  \
    return whole;                                                                                                      \
  }

static size_t total(const struct iovec *vector, int count) {
  size_t sum = 0;
  for (int i = 0; i < count; i++) sum += vector[i].iov_len;
  return sum;
}

// The bytes of a vector in one piece, so that a prefix of them can be written. Never freed: it happens once.
static const char *flat(const struct iovec *vector, int count) {
  char *bytes = malloc(total(vector, count) + 1);
  size_t offset = 0;
  for (int i = 0; i < count; i++) {
    memcpy(bytes + offset, vector[i].iov_base, vector[i].iov_len);
    offset += vector[i].iov_len;
  }
  return bytes;
}

WRITE(write, (int fd, const void *data, size_t size), size, REAL(write)(fd, data, size), REAL(write)(fd, data, kept))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t offset), size, REAL(pwrite)(fd, data, size, offset),
      REAL(pwrite)(fd, data, kept, offset))
WRITE(writev, (int fd, const struct iovec *vector, int count), total(vector, count), REAL(writev)(fd, vector, count),
      REAL(write)(fd, flat(vector, count), kept))
WRITE(pwritev, (int fd, const struct iovec *vector, int count, off_t offset), total(vector, count),
      REAL(pwritev)(fd, vector, count, offset), REAL(pwrite)(fd, flat(vector, count), kept, offset))
#ifdef __GLIBC__
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t offset), size, REAL(pwrite64)(fd, data, size, offset),
      REAL(pwrite64)(fd, data, kept, offset))
WRITE(pwritev64, (int fd, const struct iovec *vector, int count, off64_t offset), total(vector, count),
      REAL(pwritev64)(fd, vector, count, offset), REAL(pwrite64)(fd, flat(vector, count), kept, offset))
#endif

// Everything else that changes a file or a name, and what makes it durable.

#define BY_DESCRIPTOR(name, parameters, call)                                                                          \
  int name parameters {                                                                                                \
    char buffer[PATH_MAX + 1];                                                                                         \
    FAIL_IF_FIRES(#name, path_of(fd, buffer))                                                                          \
    return call;                                                                                                       \
  }
#define BY_PATH(name, parameters, call)                                                                                \
  int name parameters {                                                                                                \
    FAIL_IF_FIRES(#name, path)                                                                                         \
    return call;                                                                                                       \
  }

BY_DESCRIPTOR(fsync, (int fd), REAL(fsync)(fd))
BY_DESCRIPTOR(fdatasync, (int fd), REAL(fdatasync)(fd))
BY_DESCRIPTOR(ftruncate, (int fd, off_t size), REAL(ftruncate)(fd, size))
#ifdef __GLIBC__
BY_DESCRIPTOR(ftruncate64, (int fd, off64_t size), REAL(ftruncate64)(fd, size))
#endif

// For calls with two paths the new one counts.
BY_PATH(rename, (const char *from, const char *path), REAL(rename)(from, path))
BY_PATH(renameat, (int from_directory, const char *from, int directory, const char *path),
        REAL(renameat)(from_directory, from, directory, path))
BY_PATH(link, (const char *from, const char *path), REAL(link)(from, path))
BY_PATH(linkat, (int from_directory, const char *from, int directory, const char *path, int flags),
        REAL(linkat)(from_directory, from, directory, path, flags))
BY_PATH(symlink, (const char *target, const char *path), REAL(symlink)(target, path))
BY_PATH(unlink, (const char *path), REAL(unlink)(path))
BY_PATH(unlinkat, (int directory, const char *path, int flags), REAL(unlinkat)(directory, path, flags))
BY_PATH(mkdir, (const char *path, mode_t mode), REAL(mkdir)(path, mode))
BY_PATH(rmdir, (const char *path), REAL(rmdir)(path))
