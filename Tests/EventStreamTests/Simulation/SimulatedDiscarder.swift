import EventStream
import EventStreamDiscarder
import TestSupport

/// The discarder: `DiscardStore.delete` of the real one, statement by statement, on a connection that may freeze or go.
final class SimulatedDiscarder {
    private enum Phase {
        case idle
        /// It has looked, without a lock.
        case looked(through: EventID, lowest: EventID)
        /// It has the lock that keeps others from registering.
        case locked(through: EventID, lowest: EventID)
        case decided(through: EventID, lowest: EventID)
        /// The row of the stream's state is its own until the commit.
        case deleted(through: EventID, lowest: EventID)
        /// It waits to have a segment for itself.
        case emptying(segment: Int, through: EventID)
    }

    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    private var plan: DiscardPlan
    private var phase = Phase.idle
    private var frozenUntil: MonotonicTime?

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase) {
        self.surroundings = surroundings
        self.database = database
        plan = DiscardPlan(limit: surroundings.random.pick(1...40), period: .zero)
    }

    /// When it thaws.
    var next: MonotonicTime? { frozenUntil }

    func step() {
        if let frozenUntil {
            guard frozenUntil <= surroundings.now else { return }
            self.frozenUntil = nil
        }
        if surroundings.trouble(2) {
            frozenUntil = surroundings.now + surroundings.milliseconds(1...1200)
            return
        }
        if surroundings.trouble(1) { return rollBack() }
        switch phase {
        case .idle:
            guard !surroundings.hasTrouble || surroundings.chance(30) else { return }
            let state = database.discardState()
            let stream = DiscardPlan.Stream(newest: database.newest, confirmed: state.confirmed, oldest: state.lowest)
            switch plan.next(stream, now: surroundings.now) {
            case .delete(_, let from, let through, _): phase = .looked(through: through, lowest: from)
            case .empty(let segment, let through): phase = .emptying(segment: segment, through: through)
            case .rest: break
            }
        case .emptying(let segment, let through):
            // One transaction on the server, which waits for whoever writes to the segment.
            guard !database.isWritten(segment: segment) else { return }
            if !database.empty(segment: segment, through: through) {
                plan.refused(.impossible, through: through, now: surroundings.now)
            }
            rollBack()
        case .looked(let through, let lowest):
            database.isDiscarding = true
            phase = .locked(through: through, lowest: lowest)
        case .locked(let through, let lowest):
            guard let confirmed = database.discardState().confirmed, lowest <= confirmed else { return rollBack() }
            phase = .decided(through: min(through, confirmed), lowest: lowest)
        case .decided(let through, let lowest):
            database.isStateLocked = true
            phase = .deleted(through: through, lowest: lowest)
        case .deleted(let through, let lowest):
            surroundings.note("discarded from \(lowest) to \(through)")
            database.discard(from: lowest, through: through, limit: plan.limit)
            rollBack()
        }
    }

    /// The transaction is over, one way or the other.
    func rollBack() {
        phase = .idle
        database.isDiscarding = false
        database.isStateLocked = false
    }
}
