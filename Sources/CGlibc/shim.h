#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

/* A GNU extension, which the Glibc module is built without; see ppoll(2). */
extern int ppoll(struct pollfd *descriptors, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
