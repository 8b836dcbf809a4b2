import EventStream
import EventStreamDatabase
import TestSupport

@testable import EventStreamArchiver

/// The warehouse of a simulated world: its server, and what must be true of what it holds.
final class SimulatedWarehouse {
    private let surroundings: Surroundings
    private let database: SimulatedDatabase
    private let oracle: Oracle
    /// The consumer whose events are archived.
    static let consumer = 1
    var consumer: Int { SimulatedWarehouse.consumer }
    private(set) var history: SimulatedHistory
    /// An earlier state, to be restored.
    private var backup: SimulatedHistory?
    private(set) var connections: [SimulatedConnection] = []
    private var lastConnection = 0
    /// The connection with the lock of the archiver's name.
    private var lock: Int?
    /// What a restore has taken away: of these what is discarded cannot be had again. Nor can what was discarded be compared: of an
    /// earlier generation it is set aside.
    private var restoredAway: Set<SimulatedQueue.Row> = []
    private var isBehind = false
    /// Nothing is missing up to here.
    private var checked = EventID.none

    init(_ surroundings: Surroundings, _ database: SimulatedDatabase, _ oracle: Oracle) {
        self.surroundings = surroundings
        self.database = database
        self.oracle = oracle
        history = SimulatedHistory(want: oracle.consumers[SimulatedWarehouse.consumer].want)
    }

    // MARK: Connections

    func connect() -> SimulatedConnection {
        lastConnection += 1
        let connection = SimulatedConnection(number: 100_000 + lastConnection, surroundings)
        connections.append(connection)
        return connection
    }

    func owns(_ connection: SimulatedConnection) -> Bool { connections.contains { $0 === connection } }

    func serve(_ connection: SimulatedConnection) {
        if connection.serve() { unlock(connection) }
        forget()
    }

    func kill(_ connection: SimulatedConnection) {
        connection.die()
        unlock(connection)
        forget()
    }

    private func unlock(_ connection: SimulatedConnection) { if lock == connection.number { lock = nil } }
    private func forget() { connections.removeAll(where: \.isOver) }
    func tearDown() { for connection in connections { connection.tearDown() } }

    // MARK: Trouble

    func loseConnection() {
        guard !connections.isEmpty else { return }
        let connection = connections[surroundings.random.below(connections.count)]
        surroundings.note("connection \(connection.number) is lost")
        if surroundings.chance(50) { kill(connection) }
        if connection.isOpen, surroundings.chance(50) { connection.lose() }
    }

    func backUp() { backup = history }

    /// The warehouse is as it was when it was backed up.
    func restore() {
        // What a backup of an earlier generation has too much, the stream tells only of the generation just before: `evt archive verify`
        // finds what two fail-overs have left (archive.md).
        guard let backup, backup.standing.generation == history.standing.generation else { return }
        surroundings.note("the warehouse is restored: position \(history.standing.position) -> \(backup.standing.position)")
        restoredAway.formUnion(Set(history.rows).subtracting(backup.rows))
        history = backup
        checked = min(checked, backup.standing.position)
        isBehind = true
        for connection in connections { kill(connection) }
    }

    // MARK: Statements

    func begin(knowing known: HistoryStore.Standing?) -> HistoryStore.Standing {
        surroundings.fault == .standingOfBefore ? known ?? history.begin() : history.begin()
    }

    func standing(knowing known: HistoryStore.Standing?) -> HistoryStore.Standing {
        surroundings.fault == .standingOfBefore ? known ?? history.standing : history.standing
    }

    func takeLock(_ connection: SimulatedConnection) -> Bool {
        guard lock == nil || lock == connection.number else { return false }
        lock = connection.number
        return true
    }

    func giveUpLock(_ connection: SimulatedConnection) { unlock(connection) }

    func sign(_ token: String, insteadOf known: String?) -> Bool? { history.sign(token, insteadOf: known) ? true : nil }

    func follow(_ origin: StreamOrigin, from standing: HistoryStore.Standing) -> HistoryStore.Standing? {
        let before = history.standing
        let now = history.follow(origin, from: standing)
        if history.standing != before {
            surroundings.note(
                """
                the warehouse follows generation \(origin.generation): position \(before.position) -> \
                \(history.standing.position), doubtful \(history.standing.doubtfulAfter)...\(history.standing.doubtful)
                """)
            checked = min(checked, history.standing.position, origin.common)
        }
        return now
    }

    func append(_ copy: ArchivePlan.Copy, over connection: SimulatedConnection) -> HistoryStore.Appended? {
        if lock != connection.number { surroundings.broken("connection \(connection.number) copies without the lock") }
        let isKept = surroundings.fault != .positionWithoutRows || surroundings.chance(90)
        let appended = history.append(copy, keeping: isKept)
        guard case .copied(let count, let lost)? = appended, let last = copy.events.last?.id else { return appended }
        surroundings.note(
            "archived \(copy.events.map(\.id)), \(count) new, \(lost) lost\(copy.lackedSince == nil ? "" : ", was missing")")
        for event in copy.events { oracle.processed(SimulatedEvent.row(event), by: consumer, after: nil) }
        if copy.lackedSince == nil { isBehind = false }
        check(from: min(checked, EventID((copy.events.first?.id.rawValue ?? 1) - 1)), through: last)
        return appended
    }

    // MARK: What must be true

    /// Whether what the warehouse holds and what the database holds can be compared: both are of one generation.
    private var isComparable: Bool { database.isEstablished && history.standing.generation == database.identity.generation }

    private func check(from first: EventID, through last: EventID) {
        guard isComparable, first < last else { return }
        if let difference = difference(after: first, through: last) { return surroundings.broken(difference) }
        checked = max(checked, last)
    }

    private func difference(after first: EventID, through last: EventID) -> String? {
        let (wanted, start) = (oracle.consumers[consumer].wanted, oracle.consumers[consumer].discardedBefore)
        let rows = history.rows(after: first, through: last)
        if let twice = zip(rows, rows.dropFirst()).first(where: { $0.id == $1.id }) {
            return "the warehouse has \(twice.0.id) twice"
        }
        let committed = database.committed(after: first, through: last)
        let (here, there) = (Set(rows), Set(committed))
        if let other = rows.first(where: { !there.contains($0) }) { return "the warehouse has \(other), which nobody committed" }
        let missing = committed.first { row in
            wanted[row.type] && row.id > start && !here.contains(row)
                && !(row.id <= database.discarded && (restoredAway.contains(row) || history.lost.contains(row)))
        }
        guard let missing else { return nil }
        return "the warehouse lacks \(missing) and stands at \(history.standing.position), completed through \(last)"
    }

    /// What is wrong at the end; nil if the warehouse has all there was to be had.
    var remainder: String? {
        // What it lacks, or has too much, is found with the next batch.
        guard isComparable, !isBehind else { return nil }
        return difference(after: .none, through: history.standing.position)
    }
}
