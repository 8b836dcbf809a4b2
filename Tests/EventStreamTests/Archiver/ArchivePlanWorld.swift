import EventStream
import EventStreamDatabase
import Testing

@testable import EventStreamArchiver

/// An ``ArchivePlan`` with all it meets, as a value: so that every course of things can be tried.
struct ArchivePlanWorld {
    enum Step {
        case work(ArchivePlan.Work)
        /// The active database went back: from now on it holds these.
        case failOver([SimulatedQueue.Row])
    }

    enum Fault: CaseIterable {
        /// The step fails, and nothing is done.
        case failure
        /// The connection is lost before the step is done, or after.
        case lostBefore, lostAfter
    }

    var plan = ArchivePlan(want: .all, endpoints: 2)
    var history = SimulatedHistory(want: .all)
    /// What the active database holds.
    private var stream: [SimulatedQueue.Row]
    private(set) var script: ArraySlice<Step>
    private var isOpen = false
    private var hasLock = false
    /// The active database has given these out.
    private var tokens: Set<String> = []
    private(set) var violation: String?
    private(set) var trail: [String] = []

    init(_ stream: [SimulatedQueue.Row], _ script: [Step]) {
        self.stream = stream
        self.script = script[...]
    }

    static func rows(_ ids: ClosedRange<Int64>, era: Int = 0) -> [SimulatedQueue.Row] {
        ids.map { SimulatedQueue.Row(id: $0, type: 0, era: era) }
    }

    static func append(
        _ rows: [SimulatedQueue.Row], _ origin: StreamOrigin = origin(0), session: Int = 1
    ) -> Step { .work(.append(rows.map { SimulatedEvent.event($0) }, of: origin, session: session)) }

    static func origin(_ number: Int, start: EventID = .none, after: EventID = .none, common: EventID = .none) -> StreamOrigin {
        StreamOrigin(
            generation: StreamGeneration(stream: "S", id: "\(number)", start: start), after: after, common: common)
    }

    private mutating func broken(_ text: String) { violation = violation ?? text }

    // MARK: The script

    /// The next of the script; nil at its end.
    mutating func begin() -> ArchivePlan.Action? {
        while case .failOver(let rows)? = script.first {
            stream = rows
            script.removeFirst()
        }
        guard case .work(let work)? = script.first else { return nil }
        return plan.begin(work, isConnected: isOpen)
    }

    mutating func workIsDone() { script.removeFirst() }

    mutating func loseConnection() { (isOpen, hasLock) = (false, false) }

    mutating func restore(_ earlier: SimulatedHistory) {
        history = earlier
        loseConnection()
    }

    // MARK: Steps

    mutating func carryOut(_ action: ArchivePlan.Action, _ fault: Fault? = nil) -> ArchivePlan.Action {
        trail.append("\(action)\(fault.map { ", \($0)" } ?? "")")
        guard trail.count < 500 else {
            broken("it never ends")
            return .done(0)
        }
        switch fault {
        case nil: return effect(action)(&plan)
        case .failure: break
        case .lostBefore: loseConnection()
        case .lostAfter:
            _ = effect(action)
            loseConnection()
        }
        if case .poll = action { return plan.pollFailed(isForbidden: false) }
        return plan.failed()
    }

    /// Does it, and returns how the plan is told.
    private mutating func effect(_ action: ArchivePlan.Action) -> (inout ArchivePlan) -> ArchivePlan.Action {
        switch action {
        case .connect:
            (isOpen, hasLock) = (true, false)
            let found = history.begin()
            return { $0.connected(found) }
        case .poll(_, let after, _):
            let answer = stream.filter { $0.id > after.rawValue }.prefix(2).map { SimulatedEvent.event($0) }
            return { $0.polled(answer, discarded: .none) }
        case .introduce(let known):
            if let known, !tokens.contains(known) { broken("the token \(known) is not known") }
            let token = "T\(trail.count)"
            tokens.insert(token)
            return { $0.introduced(as: token) }
        case _ where !isOpen: return { $0.failed() }
        case .takeLock:
            hasLock = true
            return { $0.lockTaken() }
        case .giveUpLock:
            hasLock = false
            return { $0.lockGivenUp() }
        case .readPosition:
            let found = history.standing
            return { $0.found(found) }
        case .sign(let token, let known):
            let isSigned = history.sign(token, insteadOf: known)
            return { isSigned ? $0.signed() : $0.failed() }
        case .follow(let origin, let standing):
            let now = history.follow(origin, from: standing)
            return { plan in if let now { plan.followed(now) } else { plan.failed() } }
        case .ping: return { $0.pinged() }
        case .search(let first, let last, _):
            let holdsAny = history.holdsAny(from: first, through: last)
            return { $0.searched(holdsAny) }
        case .copy(let copy): return append(copy)
        case .done, .fail: return { _ in action }
        }
    }

    private mutating func append(_ copy: ArchivePlan.Copy) -> (inout ArchivePlan) -> ArchivePlan.Action {
        if !hasLock { broken("it copies without the lock") }
        if plan.introduced == nil || history.standing.token.map({ !tokens.contains($0) }) ?? true {
            broken("it copies and has not introduced itself")
        }
        let appended = history.append(copy)
        check()
        return { plan in
            switch appended {
            case .copied(let count, _): plan.copied(count)
            case .moved(let now): plan.moved(to: now)
            case nil: plan.failed()
            }
        }
    }

    // MARK: What must be true

    /// Up to the position the warehouse holds what the active database holds.
    private mutating func check() {
        let position = history.standing.position
        let (here, there) = (history.rows(after: .none, through: position), stream.filter { $0.id <= position.rawValue })
        if Array(here) != there { broken("the warehouse holds \(here.map(\.id)), not \(there.map(\.id))") }
    }

    mutating func checkEnd() {
        check()
        guard history.standing.position.rawValue != stream.last?.id else { return }
        broken("the warehouse stands at \(history.standing.position)")
    }
}
