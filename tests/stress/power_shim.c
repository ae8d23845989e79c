/* Writes down, in order, every call that changes something below $POWER_ROOT, and every wait for the disk.
 *
 * Loaded by LD_PRELOAD. A record is a head and two strings of bytes; `power_disk.py` reads them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

struct head {
    char what, none[3];
    int32_t file;
    int64_t number;
    int32_t first, second;
};

static char known[FILES];
static int log_file = -1;
static const char *root;
static size_t root_length;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWER_LOG");
    root = getenv("POWER_ROOT");
    if (path == NULL || root == NULL) return;
    root_length = strlen(root);
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    log_file = real(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(char what, int file, int64_t number, const void *first, size_t m, const void *second, size_t n) {
    struct head head = {what, {0}, file, number, (int32_t)m, (int32_t)n};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)first, m}, {(void *)second, n}};
    if (writev(log_file, parts, 3) != (ssize_t)(sizeof head + m + n)) abort();
}

static int ours(const char *path) { return log_file >= 0 && strncmp(path, root, root_length) == 0; }
static int is_known(int file) { return file >= 0 && file < FILES && known[file]; }

static int opened(int file, const char *path, int flags) {
    if (file >= 0 && file < FILES) {
        known[file] = ours(path);
        if (known[file]) note('O', file, flags, path, strlen(path), "", 0);
    }
    return file;
}

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = dlsym(RTLD_NEXT, name)

#define OPEN(name)                                       \
    int name(const char *path, int flags, ...) {         \
        REAL(int, #name, const char *, int, ...);        \
        va_list rest;                                    \
        va_start(rest, flags);                           \
        int mode = va_arg(rest, int);                    \
        va_end(rest);                                    \
        return opened(real(path, flags, mode), path, flags); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                     \
    int name(int at, const char *path, int flags, ...) { \
        REAL(int, #name, int, const char *, int, ...);   \
        va_list rest;                                    \
        va_start(rest, flags);                           \
        int mode = va_arg(rest, int);                    \
        va_end(rest);                                    \
        return opened(real(at, path, flags, mode), path, flags); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int file) {
    REAL(int, "close", int);
    if (file >= 0 && file < FILES) known[file] = 0;
    return real(file);
}

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    off_t place = is_known(file) ? lseek(file, 0, SEEK_CUR) : 0;
    ssize_t done = real(file, data, size);
    if (done > 0 && is_known(file)) note('W', file, place, "", 0, data, done);
    return done;
}

#define PWRITE(name)                                                     \
    ssize_t name(int file, const void *data, size_t size, off_t place) { \
        REAL(ssize_t, #name, int, const void *, size_t, off_t);          \
        ssize_t done = real(file, data, size, place);                    \
        if (done > 0 && is_known(file)) note('W', file, place, "", 0, data, done); \
        return done;                                                     \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(name)                                   \
    int name(int file, off_t size) {                     \
        REAL(int, #name, int, off_t);                    \
        int done = real(file, size);                     \
        if (done == 0 && is_known(file)) note('T', file, size, "", 0, "", 0); \
        return done;                                     \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(name)                                       \
    int name(int file) {                                 \
        REAL(int, #name, int);                           \
        int done = real(file);                           \
        if (done == 0 && is_known(file)) note('S', file, 0, "", 0, "", 0); \
        return done;                                     \
    }
SYNC(fsync)
SYNC(fdatasync)

#define PAIR(what, name)                                 \
    int name(const char *one, const char *other) {       \
        REAL(int, #name, const char *, const char *);    \
        int done = real(one, other);                     \
        if (done == 0 && ours(other)) note(what, -1, 0, one, strlen(one), other, strlen(other)); \
        return done;                                     \
    }
PAIR('R', rename)
PAIR('L', link)

#define SINGLE(what, name)                               \
    int name(const char *path) {                         \
        REAL(int, #name, const char *);                  \
        int done = real(path);                           \
        if (done == 0 && ours(path)) note(what, -1, 0, path, strlen(path), "", 0); \
        return done;                                     \
    }
SINGLE('U', unlink)
SINGLE('U', rmdir)

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    int done = real(path, mode);
    if (done == 0 && ours(path)) note('M', -1, 0, path, strlen(path), "", 0);
    return done;
}
