// Preloaded into a process, lets its disk be full and its clock be wrong, as a file says at the moment: 8 bytes for the seconds
// that the clock is ahead, and one that is not 0 while there is no room in the directory.
//
// The monotonic clock goes on as it is, and what has its place on the disk can be written over.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct state {
    volatile int64_t seconds;
    volatile char is_full;
};
static struct state nothing;
static struct state *state = &nothing;
static const char *directory = "/";

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULTS_FILE");
    if (getenv("FAULTS_DIRECTORY")) directory = getenv("FAULTS_DIRECTORY");
    int descriptor = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    if (descriptor < 0) return;
    void *mapped = mmap(NULL, sizeof(struct state), PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapped != MAP_FAILED) state = mapped;
    close(descriptor);
}

#define ORIGINAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Whether a write up to `end` needs room that is not there.
static int lacks_room(int descriptor, off_t end) {
    struct stat status;
    if (!state->is_full || fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || end <= status.st_size) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, directory, strlen(directory)) == 0;
}

static off_t total(const struct iovec *parts, int count) {
    off_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    return size;
}

#define FAIL_WITHOUT_ROOM(descriptor, end) \
    if (state->is_full && lacks_room(descriptor, end)) { \
        errno = ENOSPC; \
        return -1; \
    }

ssize_t write(int descriptor, const void *bytes, size_t count) {
    FAIL_WITHOUT_ROOM(descriptor, lseek(descriptor, 0, SEEK_CUR) + (off_t)count)
    return ORIGINAL(write)(descriptor, bytes, count);
}
ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    FAIL_WITHOUT_ROOM(descriptor, offset + (off_t)count)
    return ORIGINAL(pwrite)(descriptor, bytes, count, offset);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off_t offset) { return pwrite(descriptor, bytes, count, offset); }
ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    FAIL_WITHOUT_ROOM(descriptor, offset + total(parts, count))
    return ORIGINAL(pwritev)(descriptor, parts, count, offset);
}
ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off_t offset) {
    return pwritev(descriptor, parts, count, offset);
}
int posix_fallocate(int descriptor, off_t offset, off_t length) {
    if (lacks_room(descriptor, offset + length)) return ENOSPC;
    return ORIGINAL(posix_fallocate)(descriptor, offset, length);
}
int posix_fallocate64(int descriptor, off_t offset, off_t length) { return posix_fallocate(descriptor, offset, length); }
int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    FAIL_WITHOUT_ROOM(descriptor, offset + length)
    return ORIGINAL(fallocate)(descriptor, mode, offset, length);
}
int fallocate64(int descriptor, int mode, off_t offset, off_t length) { return fallocate(descriptor, mode, offset, length); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(&clock_gettime) original;
    if (!original) original = ORIGINAL(clock_gettime);
    int result = original(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += state->seconds;
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *place) {
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
    if (place) *place = precise.tv_sec;
    return precise.tv_sec;
}
