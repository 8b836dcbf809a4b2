import CGlibc
import Glibc

/// Starts a child with no signals blocked.
///
/// A child inherits its parent thread's signal mask, and the threads of the concurrency pool block everything: the child
/// would never see the signal, or the alarm, that ends it.
package func withSignalsUnblocked(_ body: () throws -> Void) rethrows {
    var (all, before) = (sigset_t(), sigset_t())
    sigfillset(&all)
    pthread_sigmask(SIG_UNBLOCK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try body()
}
