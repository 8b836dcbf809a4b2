#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <linux/sockios.h>

/* A GNU extension, which the Glibc module is built without; see ppoll(2). */
extern int ppoll(struct pollfd *descriptors, nfds_t count, const struct timespec *timeout, const sigset_t *mask);

/* ioctl(2) is variadic, which Swift cannot call. */
static inline int evt_unsent_bytes(int descriptor, int *count) { return ioctl(descriptor, SIOCOUTQ, count); }

/* The C standard's stream is a variable, which Swift cannot use safely. */
static inline int evt_stdout_failed(void) { return ferror(stdout); }
