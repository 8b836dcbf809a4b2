import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamPusher
import EventStreamServer
import LibPQ

/// Reads the stream page by page, as events are settled: from the archive where they are discarded, else from the active table.
///
/// A page of the table counts only if nothing after its first id was discarded by a look that began when the page was complete, one of
/// the archive only if the archive was complete so far before and afterwards: the rules by which a pusher reads, too.
struct HistoryFollower {
    enum Turn {
        /// What follows, and up to where that is all there is.
        case page([Event], through: EventID)
        /// There is nothing new; why, if that is no matter of course.
        case nothing(String?)
    }

    private let active: (info: StreamInfo, connection: Connection)
    private let archive: (tables: ArchiveTables, connection: Connection)
    private let want: EventFilter

    init(_ active: (info: StreamInfo, connection: Connection), _ archive: (HistoryStore, Connection), want: EventFilter) {
        self.active = active
        self.archive = (archive.0.tables, archive.1)
        self.want = want
    }

    struct State {
        let generation: StreamGeneration
        /// Up to here events are discarded.
        let discarded: EventID
    }

    func state() async throws -> State {
        let rows = try await active.connection.query(
            Statement(
                "SELECT stream, generation, leap, discarded FROM \(active.info.tables.state.sql)", name: "evt_follow_state"))
        try active.info.checkState(rows)
        return State(
            generation: StreamGeneration(
                stream: rows.string(0, 0) ?? "", id: rows.string(0, 1) ?? "", start: EventID(rows.int(0, 2) ?? 0)),
            discarded: EventID(rows.int(0, 3) ?? 0))
    }

    /// From where on the archive is complete, if it is not from the first event.
    func beginning() async throws -> EventID {
        let state = try await state()
        guard state.discarded > .none, case .missing(let first) = try await extent().reach(after: .none, of: state.generation)
        else { return .none }
        return first
    }

    /// Reads what follows an event.
    ///
    /// - Parameter state: of a moment ago.
    func next(after: EventID, _ state: State) async throws -> Turn {
        if after < state.discarded { return try await nextOfArchive(after: after, through: state.discarded, state.generation) }
        // Whatever is settled now is seen by every later snapshot.
        let settled = try await WriterQueries(active.info).settledFloor(on: active.connection)
        guard after < settled else { return .nothing(nil) }
        let rows = try await page(QueueReader(active.info.tables), after: after, through: settled, on: active.connection)
        // With a snapshot of its own: TRUNCATE may have shown the page an empty table.
        let now = try await self.state()
        guard now.discarded <= after, now.generation == state.generation else { return .page([], through: after) }
        return .page(try rows.events(), through: rows.through)
    }

    // MARK: The archive

    private func nextOfArchive(after: EventID, through: EventID, _ generation: StreamGeneration) async throws -> Turn {
        var bound = through
        while true {
            let before = try await extent().reach(after: after, of: generation)
            let rows = try await page(QueueReader(archive.tables), after: after, through: bound, on: archive.connection)
            switch before.and(try await extent().reach(after: after, of: generation)) {
            case .through(let end) where end >= rows.through: return .page(try rows.events(), through: rows.through)
            case .through(let end): bound = end
            case .missing(let first):
                throw CommandFailure("the archive begins after event \(first): --from \(first.next) at the earliest")
            case .never(let text): throw CommandFailure(text)
            case .waiting(let text): return .nothing(text)
            }
        }
    }

    private func extent() async throws -> ArchiveExtent {
        ArchiveExtent(try await archive.connection.query(ArchiveExtent.statement(archive.tables)))
    }

    private func page(
        _ reader: QueueReader, after: EventID, through: EventID, on connection: Connection
    ) async throws(PostgresError) -> QueueRows {
        try await reader.page(after: after, through: through, want: want, limits: QueueReader.Limits(), on: connection)
    }
}

/// `evt history --follow`: prints what there is, then what is settled, over as many connections as it takes.
struct HistoryFollow: Sendable {
    let database: DatabaseConfiguration
    let warehouse: String
    let tables: ArchiveTables
    let starts: ArchiveSetting
    let want: EventFilter
    let fields: EventFields
    let since: EventTimestamp?

    /// How far it has come.
    private struct Progress: Sendable {
        /// Nil where it has not begun.
        var after: EventID?
        var left: Int
        var generation: StreamGeneration?
        /// Why it has ended; nil if there is no more to print.
        var lost: String?
    }

    /// - Parameters:
    ///   - first: from this id on; nil for the first event there is.
    ///   - limit: so many.
    func run(from first: EventID?, limit: Int) async throws {
        var progress = Progress(after: first.map { EventID($0.rawValue - 1) }, left: limit)
        var told: String?
        while progress.left > 0 {
            let known = progress
            do {
                progress = try await withDatabase(
                    database.url, .stream(database.tables), settings: commandLimits.merging(StreamInfo.plans) { $1 }
                ) { try await follow(known, over: $0) }
            } catch let error as PostgresError where known.after != nil && error.code != .server {
                progress.lost = "\(error)"
            }
            guard let lost = progress.lost else { return }
            if lost != told { printError("evt history: \(printable(lost)); trying again") }
            told = lost
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func follow(_ known: Progress, over active: Connection) async throws -> Progress {
        var progress = known
        progress.lost = nil
        let other = try await Connection.open(
            ConnectionOptions(
                warehouse, applicationName: "evt", settings: commandLimits.merging(StreamInfo.plans) { $1 }), on: active.loop)
        defer { other.close() }
        do {
            let info = try await StreamInfo.load(database.tables, from: active)
            let store = try await HistoryStore.load(
                tables, archiver: ConsumerIdentity(component: .archiver), from: other, writing: false)
            let follower = HistoryFollower((info, active), (store, other), want: want)
            var after = try await start(progress, info, follower, active)
            progress.after = after
            var (pause, told) = (Duration.milliseconds(50), String?.none)
            while progress.left > 0 {
                let state = try await follower.state()
                check(state.generation, &progress.generation)
                switch try await follower.next(after: after, state) {
                case .page(let events, let through):
                    let wanted = events.filter { event in since.map { event.timestamp >= $0 } ?? true }.prefix(progress.left)
                    try OutputReader.show(wanted.map { $0.with(only: fields) })
                    progress.left -= wanted.count
                    (after, progress.after) = (through, through)
                    (pause, told) = (.milliseconds(50), nil)
                case .nothing(let why):
                    if let why, why != told { printError("evt history: waiting: \(printable(why))") }
                    told = why
                    try await Task.sleep(for: pause)
                    pause = min(pause * 2, .milliseconds(500))
                }
            }
        } catch let error as PostgresError where !active.isOpen || !other.isOpen {
            progress.lost = "the connection to the \(active.isOpen ? "warehouse" : "database") was lost: \(error.message)"
        }
        return progress
    }

    private func start(
        _ progress: Progress, _ info: StreamInfo, _ follower: HistoryFollower, _ connection: Connection
    ) async throws -> EventID {
        if let after = progress.after { return after }
        if let since {
            let link = starts.link
            defer { link?.close() }
            return try await StartResolver(info, link).position(of: .since(since), for: "", on: connection)
        }
        let first = try await follower.beginning()
        if first > .none { printError("evt history: the archive is complete after event \(first), and is read from there on") }
        return first
    }

    private func check(_ present: StreamGeneration, _ known: inout StreamGeneration?) {
        if let known, known != present {
            printError("evt history: the database went back, or may have: events that were printed may be lost there")
        }
        known = present
    }
}
