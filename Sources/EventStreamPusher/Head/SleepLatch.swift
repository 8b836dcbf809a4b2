package import EventStream
import EventStreamServer

/// Decides when the reader of the stream reads, pauses and sleeps, so that writers need to NOTIFY only while it sleeps.
///
/// Writers hold a shared advisory lock, the latch, from their first event to the end of their transaction, and NOTIFY
/// only if they cannot get it. The reader takes the latch exclusively before it sleeps. Getting it proves that no
/// writer in flight has missed it; one more read after that, and every later writer will notify.
///
/// A reader that is notified keeps the latch: one read brings what was committed, and the sleep goes on. NOTIFY makes writers commit
/// one after another, and so the latch is released when several of them come close together. It is taken again when pauses of
/// ``Configuration/calm`` in all have brought nothing.
///
/// Of several readers of one stream, one has the waking role and the latch; the others sleep until it, or a writer,
/// notifies them. One that finds events nobody told it of takes the waker for frozen, and polls until it is told again.
package struct SleepLatch: Sendable {
    package struct Configuration: Sendable {
        /// The pause after a dry read while writers are in flight; more than zero.
        package var shortestPause: Duration
        /// No pause while writers are in flight is longer.
        package var longestPause: Duration
        /// The safety poll underneath a sleep.
        package var longestSleep: Duration
        /// How much longer each pause is; nil doubles it.
        package var step: Duration?
        /// Two writers whose notifications come within so long of each other are close together.
        package var calm = Duration.milliseconds(2)

        package init(
            shortestPause: Duration = Settings.all.sleepMin.standard, longestPause: Duration = .milliseconds(20),
            longestSleep: Duration = Settings.all.sleepMax.standard, step: Duration? = Settings.all.sleepStep.standard
        ) {
            self.shortestPause = shortestPause
            self.longestPause = longestPause
            self.longestSleep = longestSleep
            self.step = step
        }
    }

    /// How a reader learns of new events.
    package enum Role: Sendable {
        /// It has the latch, or tries to get it.
        case waker
        /// Another reader has; notifications are passed on.
        case listener
        /// Writers must not notify (prepared transactions forbid it): short polls.
        case poller
    }

    /// What to do with the latch, in the same round trip and just before a read.
    package enum LatchOperation: Sendable { case leave, take, release }

    package enum Action: Hashable, Sendable {
        case read(LatchOperation)
        /// Read after the pause, unless woken before.
        case pause(Duration)
        /// Nothing is missed: wait for a notification, and read after this long all the same.
        case sleep(Duration)
    }

    private enum State: Sendable { case reading, pausing, sleeping }

    package let configuration: Configuration
    package private(set) var role: Role
    /// Whether the latch is ours.
    package private(set) var holdsLatch = false
    private var state = State.sleeping
    private var nextPause: Duration
    private var wokenWhileReading = false
    private var isBlocked = false
    /// Who has notified last, and when.
    private var lastWriter: (process: Int32, at: MonotonicTime)?
    /// Whether writers come close together, so that they must not be made to notify.
    private var isCrowded = false
    /// How long pauses have brought nothing.
    private var quiet = Duration.zero
    /// Whether the present pause is for company: there is no thought of sleep, and writers need not be made to notify.
    private var isBusy = false
    /// Whether the present read is the safety poll underneath a sleep.
    private var isSafetyPoll = false
    /// Whether the reader with the waking role has failed to pass a wake-up on.
    private var wakerIsSilent = false

    package init(_ configuration: Configuration, role: Role) {
        self.configuration = configuration
        self.role = role
        nextPause = configuration.shortestPause
    }

    /// The first action on a new connection, which holds no locks.
    package mutating func started(as role: Role) -> Action {
        self.role = role
        holdsLatch = false
        wokenWhileReading = false
        isBlocked = false
        isCrowded = false
        wakerIsSilent = false
        return read(.leave)
    }

    /// The role was won or lost while running.
    package mutating func roleChanged(to role: Role) {
        self.role = role
        wakerIsSilent = false
    }

    /// A read came back.
    ///
    /// - Parameters:
    ///   - foundRows: whether it brought events that could be delivered.
    ///   - company: how long the next ones may wait for company; zero for not.
    ///   - more: whether there is probably more to read at once.
    ///   - latched: what became of the attempt to take the latch, if one was made before this read.
    ///   - blocked: whether rows wait behind a gap, whose end nobody will announce.
    package mutating func didRead(
        foundRows: Bool, company: Duration = .zero, more: Bool, latched: Bool?, blocked: Bool
    ) -> Action {
        if latched == true { holdsLatch = true }
        if isSafetyPoll, foundRows, role == .listener, !wokenWhileReading { wakerIsSilent = true }
        // A gap that has just opened mostly closes at once.
        if blocked, !isBlocked { nextPause = configuration.shortestPause }
        isBlocked = blocked
        if foundRows || wokenWhileReading {
            let isAsked = wokenWhileReading
            wokenWhileReading = false
            (nextPause, quiet) = (configuration.shortestPause, .zero)
            if holdsLatch {
                guard !isCrowded, !isSafetyPoll, !blocked, latched == nil, company == .zero else { return read(.release) }
                return more || isAsked ? read(.leave) : sleep()
            }
            if company > .zero, !more, !isAsked {
                state = .pausing
                isBusy = true
                return .pause(company)
            }
            return read(role == .waker && !more && !blocked && !isCrowded ? .take : .leave)
        }
        if blocked { return pause() }
        switch role {
        case .listener: return wakerIsSilent ? pause() : sleep()
        case .poller: return pause()
        case .waker:
            if holdsLatch { return sleep() }
            return latched == nil && !isCrowded ? read(.take) : pause()
        }
    }

    /// The pause or the sleep is over.
    package mutating func timerFired() -> Action? {
        switch state {
        case .reading: return nil
        case .pausing:
            if !isBusy { pausedInVain() }
            // While events wait behind a gap there is no sleep, and writers need not be made to notify.
            guard !holdsLatch else { return read(isBlocked ? .release : .leave) }
            let mayTake = role == .waker && !isBlocked && !isBusy && (!isCrowded || quiet >= configuration.calm)
            return read(mayTake ? .take : .leave)
        // The safety poll keeps the latch: finding nothing, it sleeps on at the price of one statement.
        case .sleeping: return read(.leave, isSafetyPoll: true)
        }
    }

    /// A notification came.
    ///
    /// - Parameter process: the server's process that has notified.
    package mutating func notified(by process: Int32, at now: MonotonicTime) -> Action? {
        wakerIsSilent = false
        if holdsLatch {
            let isClose = lastWriter.map { $0.process != process && now - $0.at < configuration.calm } ?? false
            isCrowded = isCrowded || isClose
            lastWriter = (process, now)
        }
        return woken()
    }

    /// Someone asks for the newest state.
    package mutating func woken() -> Action? {
        guard state != .reading else {
            wokenWhileReading = true
            return nil
        }
        return read(holdsLatch && (isCrowded || isBlocked) ? .release : .leave)
    }

    private mutating func read(_ operation: LatchOperation, isSafetyPoll: Bool = false) -> Action {
        state = .reading
        isBusy = false
        self.isSafetyPoll = isSafetyPoll
        if operation == .release { holdsLatch = false }
        return .read(operation)
    }

    private mutating func sleep() -> Action {
        state = .sleeping
        isCrowded = false
        (nextPause, quiet) = (configuration.shortestPause, .zero)
        return .sleep(configuration.longestSleep)
    }

    private mutating func pause() -> Action {
        state = .pausing
        return .pause(nextPause)
    }

    /// Pauses that somebody ends do not count, nor grow.
    private mutating func pausedInVain() {
        quiet += nextPause
        nextPause = min(configuration.longestPause, configuration.step.map { nextPause + $0 } ?? nextPause * 2)
    }
}
