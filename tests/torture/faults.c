/* An interposed layer between a process and its files, loaded by LD_PRELOAD.

   It counts the operations on files below one folder, and at the N-th fails, cuts short, kills or stops the process.
   Python, HDF5, ecCodes, PyTorch and libraries in Rust all reach the system by these functions of the C library. The
   order lies in memory that the process shares with the one that judges it (faults.py has the same structure). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, FAIL, FAIL_ON, SHORT, KILL_BEFORE, KILL_HALF, KILL_AFTER, STOP };
enum {
    OPEN_READ = 1, OPEN_WRITE = 2, READ = 4, WRITE = 8, SYNC = 16, RENAME = 32, REMOVE = 64, MAKE = 128, RESIZE = 256,
    CLOSE = 512
};
enum { GO_ON, FAIL_NOW, CUT_NOW, KILL_LATER, HALF_THEN_KILL };

struct order {
    long mode, error, at, kinds; /* what to do, with which errno, at which operation, among which kinds */
    volatile long count, fired;  /* how many operations there were among `kinds`, and whether it was done */
    volatile long seen[10];      /* how many of each kind */
    char place[488];             /* the operation that was struck */
    char folder[512];            /* only files below it count */
};

static struct order *order;
static unsigned char tracked[65536]; /* by file descriptor: whether the file lies below the folder */

void torture_arm(struct order *given) { order = given; }

#define NEXT(name) \
    static typeof(name) *next; \
    if (!next) next = (typeof(name) *)dlsym(RTLD_NEXT, #name)

static int below(const char *path) {
    if (!order || !path) return 0;
    if (path[0] != '/') return strncmp(path, "pipe:", 5) != 0; /* the working directory lies below the folder */
    size_t length = strlen(order->folder);
    return strncmp(path, order->folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static int is_tracked(int file) { return order && file >= 0 && file < 65536 && tracked[file]; }
static void track(int file, int yes) {
    if (file >= 0 && file < 65536) tracked[file] = (unsigned char)yes;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int strike(long kind, const char *name, const char *path, int file) {
    __sync_fetch_and_add(&order->seen[__builtin_ctzl(kind)], 1);
    if (!(order->kinds & kind)) return GO_ON;
    long number = __sync_fetch_and_add(&order->count, 1);
    int onwards = order->mode == FAIL_ON && number > order->at;
    if (order->mode == COUNT || (number != order->at && !onwards)) return GO_ON;
    if (!onwards) {
        char link[64], found[400] = "";
        if (!path) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            ssize_t size = readlink(link, found, sizeof found - 1);
            if (size > 0) found[size] = 0;
            path = found;
        }
        snprintf(order->place, sizeof order->place, "%s %s", name, path);
        order->fired = 1;
    }
    switch (order->mode) {
    case FAIL: case FAIL_ON: errno = (int)order->error; return FAIL_NOW;
    case SHORT: return CUT_NOW;
    case KILL_BEFORE: die(); return GO_ON;
    case KILL_HALF: return kind == WRITE ? HALF_THEN_KILL : KILL_LATER;
    case KILL_AFTER: return KILL_LATER;
    case STOP:
        if (getpgrp() != getpid()) kill(getpgrp(), SIGSTOP); /* a fork of the command: with it */
        raise(SIGSTOP);
        return GO_ON;
    }
    return GO_ON;
}

/* a path, then what to do with it */
#define ON_PATH(kind, name, path, type, failed, call) \
    int act = below(path) ? strike(kind, name, path, -1) : GO_ON; \
    if (act == FAIL_NOW) return failed; \
    type result = call; \
    if (act >= KILL_LATER) die(); \
    return result

#define KIND_OF(flags) (((flags) & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC)) ? OPEN_WRITE : OPEN_READ)

#define OPENING(flags, path, call) \
    int act = below(path) ? strike(KIND_OF(flags), "open", path, -1) : GO_ON; \
    if (act == FAIL_NOW) return -1; \
    int file = call; \
    if (act >= KILL_LATER) die(); \
    track(file, below(path)); \
    return file

#define PERMISSIONS(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) { NEXT(open); PERMISSIONS(flags) OPENING(flags, path, next(path, flags, mode)); }
int open64(const char *path, int flags, ...) { NEXT(open64); PERMISSIONS(flags) OPENING(flags, path, next(path, flags, mode)); }
int openat(int at, const char *path, int flags, ...) {
    NEXT(openat);
    PERMISSIONS(flags)
    if (at != AT_FDCWD && path[0] != '/') return next(at, path, flags, mode);
    OPENING(flags, path, next(at, path, flags, mode));
}
int openat64(int at, const char *path, int flags, ...) {
    NEXT(openat64);
    PERMISSIONS(flags)
    if (at != AT_FDCWD && path[0] != '/') return next(at, path, flags, mode);
    OPENING(flags, path, next(at, path, flags, mode));
}
int creat(const char *path, mode_t mode) { NEXT(creat); OPENING(O_CREAT, path, next(path, mode)); }

static FILE *opened(FILE *stream, const char *path) {
    if (stream) track(fileno(stream), below(path));
    return stream;
}
#define STREAM(path, how, call) \
    int act = below(path) ? strike(how[0] == 'r' && !strchr(how, '+') ? OPEN_READ : OPEN_WRITE, "fopen", path, -1) : GO_ON; \
    if (act == FAIL_NOW) return NULL; \
    FILE *stream = call; \
    if (act >= KILL_LATER) die(); \
    return opened(stream, path)
FILE *fopen(const char *path, const char *how) { NEXT(fopen); STREAM(path, how, next(path, how)); }
FILE *fopen64(const char *path, const char *how) { NEXT(fopen64); STREAM(path, how, next(path, how)); }

#define READING(file, size, call) \
    int act = is_tracked(file) ? strike(READ, "read", NULL, file) : GO_ON; \
    if (act == FAIL_NOW) return -1; \
    if (act == CUT_NOW && size > 1) size /= 2; \
    ssize_t result = call; \
    if (act >= KILL_LATER) die(); \
    return result
ssize_t read(int file, void *to, size_t size) { NEXT(read); READING(file, size, next(file, to, size)); }
ssize_t pread(int file, void *to, size_t size, off_t at) { NEXT(pread); READING(file, size, next(file, to, size, at)); }
ssize_t pread64(int file, void *to, size_t size, off64_t at) { NEXT(pread64); READING(file, size, next(file, to, size, at)); }
/* As the C library does where the system fails a stream: who asks ferror() is told, and who does not loops for ever. */
static size_t failed(FILE *stream) {
#ifdef __GLIBC__
    stream->_flags |= 0x20; /* _IO_ERR_SEEN */
#endif
    return 0;
}

size_t fread(void *to, size_t size, size_t count, FILE *stream) {
    NEXT(fread);
    int act = is_tracked(fileno(stream)) ? strike(READ, "fread", NULL, fileno(stream)) : GO_ON;
    if (act == FAIL_NOW) return failed(stream);
    size_t result = next(to, size, count, stream);
    if (act >= KILL_LATER) die();
    return result;
}

#define WRITING(file, size, call) \
    int act = is_tracked(file) ? strike(WRITE, "write", NULL, file) : GO_ON; \
    if (act == FAIL_NOW) return -1; \
    if ((act == CUT_NOW || act == HALF_THEN_KILL) && size > 1) size /= 2; \
    ssize_t result = call; \
    if (act >= KILL_LATER) die(); \
    return result
ssize_t write(int file, const void *from, size_t size) { NEXT(write); WRITING(file, size, next(file, from, size)); }
ssize_t pwrite(int file, const void *from, size_t size, off_t at) { NEXT(pwrite); WRITING(file, size, next(file, from, size, at)); }
ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) { NEXT(pwrite64); WRITING(file, size, next(file, from, size, at)); }
ssize_t writev(int file, const struct iovec *from, int size) { NEXT(writev); WRITING(file, size, next(file, from, size)); }
ssize_t sendfile(int to, int from, off_t *at, size_t size) { NEXT(sendfile); WRITING(to, size, next(to, from, at, size)); }
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) { NEXT(sendfile64); WRITING(to, size, next(to, from, at, size)); }
ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *at, size_t size, unsigned flags) {
    NEXT(copy_file_range);
    WRITING(to, size, next(from, start, to, at, size, flags));
}
size_t fwrite(const void *from, size_t size, size_t count, FILE *stream) {
    NEXT(fwrite);
    int act = is_tracked(fileno(stream)) ? strike(WRITE, "fwrite", NULL, fileno(stream)) : GO_ON;
    if (act == FAIL_NOW) return failed(stream);
    if (act == HALF_THEN_KILL) count = (count + 1) / 2;
    size_t result = next(from, size, count, stream);
    if (act >= KILL_LATER) { fflush(stream); die(); }
    return result;
}

#define ON_FILE(kind, name, file, failed, call) \
    int act = is_tracked(file) ? strike(kind, name, NULL, file) : GO_ON; \
    if (act == FAIL_NOW) return failed; \
    int result = call; \
    if (act >= KILL_LATER) die(); \
    return result
int fsync(int file) { NEXT(fsync); ON_FILE(SYNC, "fsync", file, -1, next(file)); }
int fdatasync(int file) { NEXT(fdatasync); ON_FILE(SYNC, "fdatasync", file, -1, next(file)); }
int ftruncate(int file, off_t size) { NEXT(ftruncate); ON_FILE(RESIZE, "ftruncate", file, -1, next(file, size)); }
int ftruncate64(int file, off64_t size) { NEXT(ftruncate64); ON_FILE(RESIZE, "ftruncate", file, -1, next(file, size)); }
int posix_fallocate(int file, off_t at, off_t size) { NEXT(posix_fallocate); ON_FILE(RESIZE, "fallocate", file, errno, next(file, at, size)); }
int posix_fallocate64(int file, off64_t at, off64_t size) { NEXT(posix_fallocate64); ON_FILE(RESIZE, "fallocate", file, errno, next(file, at, size)); }

/* a file is closed even where closing fails, as Linux does */
int close(int file) {
    NEXT(close);
    int act = is_tracked(file) ? strike(CLOSE, "close", NULL, file) : GO_ON, error = errno;
    track(file, 0);
    int result = next(file);
    if (act >= KILL_LATER) die();
    if (act != FAIL_NOW) return result;
    errno = error;
    return -1;
}
int fclose(FILE *stream) {
    NEXT(fclose);
    int file = fileno(stream), act = is_tracked(file) ? strike(CLOSE, "fclose", NULL, file) : GO_ON, error = errno;
    track(file, 0);
    int result = next(stream);
    if (act >= KILL_LATER) die();
    if (act != FAIL_NOW) return result;
    errno = error;
    return EOF;
}

int rename(const char *from, const char *to) { NEXT(rename); ON_PATH(RENAME, "rename", to, int, -1, next(from, to)); }
int renameat(int a, const char *from, int b, const char *to) { NEXT(renameat); ON_PATH(RENAME, "rename", to, int, -1, next(a, from, b, to)); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { NEXT(renameat2); ON_PATH(RENAME, "rename", to, int, -1, next(a, from, b, to, flags)); }
int link(const char *from, const char *to) { NEXT(link); ON_PATH(MAKE, "link", to, int, -1, next(from, to)); }
int symlink(const char *from, const char *to) { NEXT(symlink); ON_PATH(MAKE, "symlink", to, int, -1, next(from, to)); }
int unlink(const char *path) { NEXT(unlink); ON_PATH(REMOVE, "unlink", path, int, -1, next(path)); }
int unlinkat(int at, const char *path, int flags) { NEXT(unlinkat); ON_PATH(REMOVE, "unlink", path, int, -1, next(at, path, flags)); }
int rmdir(const char *path) { NEXT(rmdir); ON_PATH(REMOVE, "rmdir", path, int, -1, next(path)); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); ON_PATH(MAKE, "mkdir", path, int, -1, next(path, mode)); }
int mkdirat(int at, const char *path, mode_t mode) { NEXT(mkdirat); ON_PATH(MAKE, "mkdir", path, int, -1, next(at, path, mode)); }
