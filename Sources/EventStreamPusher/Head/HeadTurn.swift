import EventStream
import EventStreamDatabase
import EventStreamServer

/// The turn at reading that is under way: who waits for it, and what became of the latch.
struct HeadTurn {
    /// Whether reads are under way on the present connection.
    var isFollowing = false
    /// What became of the attempt to take the latch in this turn.
    var latched: Bool?
    /// Who waits for a read that begins after they asked.
    private var askers: [(Bool) -> Void] = []
    private var askersOfThisTurn: [(Bool) -> Void] = []

    /// Whether somebody waits for what this turn finds.
    var isAsked: Bool { !askersOfThisTurn.isEmpty }
    /// Whether somebody waits for a further turn.
    var hasAskers: Bool { !askers.isEmpty }

    mutating func asked(_ asker: @escaping (Bool) -> Void) { askers.append(asker) }

    mutating func began() {
        askersOfThisTurn += askers
        (askers, latched) = ([], nil)
    }

    /// - Returns: who knows everything now; the others wait for the next turn.
    mutating func ended(isFresh: Bool) -> [(Bool) -> Void] {
        defer { askersOfThisTurn = [] }
        guard !isFresh else { return askersOfThisTurn }
        askers = askersOfThisTurn + askers
        return []
    }

    /// The connection is gone.
    ///
    /// - Returns: who waited in vain.
    mutating func lost() -> [(Bool) -> Void] {
        defer { self = HeadTurn() }
        return askersOfThisTurn + askers
    }
}

/// Since when the database owes an answer, or events wait.
struct HeadWatch {
    private var turnBegan: MonotonicTime?
    /// When the last turn that has ended began, and the one before.
    private(set) var lookedAt: MonotonicTime?
    private(set) var lookedBefore: MonotonicTime?
    private var lastError: String?

    mutating func turnBegan(at now: MonotonicTime) { turnBegan = now }
    mutating func turnEnded() { (lookedBefore, lookedAt, turnBegan) = (lookedAt, turnBegan ?? lookedAt, nil) }
    mutating func failed(_ error: any Error) { (lastError, turnBegan) = ("\(error)", nil) }

    /// Why events that wait do not move, in words for people.
    func trouble(isConnected: Bool, gap: SettledHorizon.Gap?, at now: MonotonicTime) -> String? {
        guard isConnected else { return lastError ?? "the database cannot be reached" }
        if let turnBegan, now - turnBegan > Progress.stallTimeout {
            return "the database has not answered a read of new events for \((now - turnBegan).components.seconds) s"
        }
        guard let gap, gap.age(at: now) > Progress.stallTimeout else { return nil }
        let processes = (gap.holders ?? []).map { $0.processID.map { "pid \($0)" } ?? "prepared \($0.transaction)" }
        return "events after \(gap.after) wait for an open transaction that recorded earlier ones: "
            + processes.sorted().joined(separator: ", ")
    }

    /// Whether the database owes an answer, or events wait for an open transaction, for so long that somebody may be to blame.
    func isHeldUp(gap: SettledHorizon.Gap?, at now: MonotonicTime) -> Bool {
        if let turnBegan, now - turnBegan > .seconds(1) { return true }
        return gap.map { $0.age(at: now) > Progress.stallTimeout - .seconds(5) } ?? false
    }
}
