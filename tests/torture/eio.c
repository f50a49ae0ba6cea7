// Preloaded: reading, writing, flushing, linking and renaming below a folder fails now and then with
// EIO, as a dying disk or a network mount would. Nothing fails before eio_arm was called.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char root[4096];
static unsigned one_in;
static unsigned long failed;
static char tracked[65536];
static __thread unsigned seed;

void eio_arm(const char * folder, unsigned rate, unsigned start) {
    strncpy(root, folder, sizeof root - 1);
    one_in = rate;
    srand(start);
    failed = 0;
}

unsigned long eio_failed(void) { return failed; }

static int fails(void) {
    if (!one_in) return 0;
    if (!seed) seed = (unsigned) rand() | 1;
    if (rand_r(&seed) % one_in) return 0;
    __atomic_add_fetch(&failed, 1, __ATOMIC_RELAXED);
    errno = EIO;
    return 1;
}

static int ours(const char * path) { return one_in && path && !strncmp(path, root, strlen(root)); }
static int known(int fd) { return one_in && fd >= 0 && fd < (int) sizeof tracked && tracked[fd]; }
static int opened(int fd, const char * path) {
    if (fd >= 0 && fd < (int) sizeof tracked) tracked[fd] = (char) ours(path);
    return fd;
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                                      \
    int name(const char * path, int flags, ...) {                       \
        va_list words;                                                  \
        va_start(words, flags);                                         \
        mode_t mode = va_arg(words, mode_t);                            \
        va_end(words);                                                  \
        if (ours(path) && fails()) return -1;                           \
        return opened(REAL(name)(path, flags, mode), path);             \
    }
OPEN(open)
OPEN(open64)

ssize_t read(int fd, void * data, size_t size) {
    return known(fd) && fails() ? -1 : REAL(read)(fd, data, size);
}
ssize_t write(int fd, const void * data, size_t size) {
    if (known(fd) && fails()) {
        if (size > 1) REAL(write)(fd, data, size / 2);  // half of it reaches the disk
        errno = EIO;
        return -1;
    }
    return REAL(write)(fd, data, size);
}
int fsync(int fd) { return known(fd) && fails() ? -1 : REAL(fsync)(fd); }
int link(const char * from, const char * to) { return ours(to) && fails() ? -1 : REAL(link)(from, to); }
int linkat(int a, const char * from, int b, const char * to, int flags) {
    return ours(to) && fails() ? -1 : REAL(linkat)(a, from, b, to, flags);
}
int rename(const char * from, const char * to) {
    return ours(to) && fails() ? -1 : REAL(rename)(from, to);
}
int mkdir(const char * path, mode_t mode) { return ours(path) && fails() ? -1 : REAL(mkdir)(path, mode); }
