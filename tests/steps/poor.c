// Preloaded: a file system that has neither hard links nor locks, as some network mounts and FAT.
// POOR names the errno that locks end with.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

int flock(int fd, int operation) {
    (void) fd, (void) operation;
    errno = atoi(getenv("POOR"));
    return -1;
}

int link(const char * old, const char * new) {
    (void) old, (void) new;
    errno = EPERM;
    return -1;
}

int linkat(int from, const char * old, int to, const char * new, int flags) {
    (void) from, (void) to, (void) flags;
    return link(old, new);
}
