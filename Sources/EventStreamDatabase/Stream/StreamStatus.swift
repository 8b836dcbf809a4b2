package import EventStream
package import LibPQ

/// How a stream stands, read from its tables.
package struct StreamStatus: Sendable {
    /// Events of the active table, counted together.
    package struct Waiting: Hashable, Sendable {
        package fileprivate(set) var events = 0
        /// Bytes of their data.
        package fileprivate(set) var bytes = 0
        /// Since when the first of them could be delivered; UTC, as an ISO 8601 text; empty if there are none.
        package fileprivate(set) var since = ""
        /// How long that is; 0 if there are none.
        package fileprivate(set) var seconds = 0.0
        /// The first one, which has waited longest.
        fileprivate var first: EventID?

        fileprivate mutating func add(_ other: Waiting) {
            events += other.events
            bytes += other.bytes
            first = [first, other.first].compactMap { $0 }.min()
        }

        fileprivate mutating func take(_ ages: [EventID: (since: String, seconds: Double)]) {
            if let age = first.flatMap({ ages[$0] }) { (since, seconds) = age }
        }
    }

    package struct Consumer: Sendable {
        package let consumer: String
        /// Which slice of its consumer it is; nil if it is none.
        package let slice: EventSlice?
        package let position: EventID
        /// Event types it asked for when it was last served.
        package let want: EventFilter
        /// What it wants and has not confirmed.
        package fileprivate(set) var lag = Waiting()
        /// What is kept because of it, wanted or not: all after its position, or less where its maximum lag is exceeded.
        package fileprivate(set) var held = Waiting()
        /// It holds events after this id; nil if it holds none.
        package let holdsAfter: EventID?
        /// How many ids its position is below the discarded events, so that the archive is read for it; 0 if none, and of archivers.
        package let archiveIDs: Int
        /// Its own maximum lag; nil if what the discarder is set to counts.
        package let maxLag: MaxLag?
        /// UTC, as an ISO 8601 text.
        package let lastSeen: String
        package let lastSeenSeconds: Double
        /// Whether a pusher that is there has a session for it.
        package let isServed: Bool
        /// Of a required archiver: up to here its archive was seen to hold the events.
        package let verified: EventID
        /// Whether an operator has stopped its delivery.
        package let isPaused: Bool
        /// Nothing beyond it is delivered until the consumer is cut into other slices; nil if it is not to be.
        package let barrier: EventID?
        /// Its parked events.
        package let parked: Int
        /// The event at its position, if that has failed: how often, and what the receiver said.
        ///
        /// `isAlone` is false where the group failed of which the event is the first.
        package let failing: (event: EventID, isAlone: Bool, attempts: Int, error: String)?

        /// Whether events that it has not confirmed are discarded. Those are read from the archive.
        package var readsArchive: Bool { archiveIDs > 0 }
    }

    /// The newest event's id, 0 if there is none.
    package let head: EventID
    /// Events in the active table.
    package let backlog: Waiting
    /// Up to which id events were discarded.
    package let discarded: EventID
    /// Which life of the stream the database holds.
    package let generation: StreamGeneration
    /// When it began; UTC, as an ISO 8601 text.
    package let generationSince: String
    /// Why, in words for people; nil for the first one.
    package let generationReason: String?
    /// Why confirmed events are kept nevertheless; nil if they are not.
    package let refusal: String?
    /// How far a consumer may be behind and hold all its events, as the discarder at work is set: a number of events, or a time; nil
    /// for no limit.
    package let maxLag: String?
    /// By name.
    package let consumers: [Consumer]
    /// Those open for more than a second, the oldest first.
    package let writers: [OpenWriter]
    /// What keeps processes or writers from the tables.
    package let locks: [TableLock]
    /// Who has an advisory lock of the stream and should not, or for too long.
    package let roleLocks: [RoleLock]
    package let pushers: [PusherStatus]
    /// What was recorded after the event that was asked for, by type. What has been discarded already is not
    /// among it.
    package let recorded: [EventType: Int]
    /// What somebody has done to the tables.
    package let tableTroubles: [TableTrouble]

    package var hasPusher: Bool { pushers.contains(where: \.isConnected) }

    /// The consumer that holds most events back, if any does.
    package var slowest: Consumer? {
        consumers.filter { $0.held.events > 0 }.min { $0.holdsAfter ?? $0.position < $1.holdsAfter ?? $1.position }
    }

    private static let iso = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"

    /// - Parameter since: what was recorded after this event is counted, too; nil for not.
    package static func load(
        _ info: StreamInfo, since: EventID? = nil, from connection: Connection
    ) async throws -> StreamStatus {
        // First, and from catalogs alone: what follows may wait for one of them.
        let locks = try await TableLock.load(info.tables.lockScope, from: connection)
        let roleLocks = try await RoleLock.load(info.tables, from: connection).filter { $0.isStrange || $0.isLate }
        // One snapshot: the figures fit each other.
        try await connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        let state = try await connection.query(
            Statement(
                """
                SELECT GREATEST((SELECT max(id) FROM \(info.tables.events.sql)), discarded, 0), discarded, refusal, stream,
                    generation, to_char(generation_since AT TIME ZONE 'UTC', \(iso)), generation_reason, leap, max_lag
                FROM \(info.tables.state.sql)
                """))
        var consumers = try await consumers(info, on: connection)
        let boundaries = Set(consumers.flatMap { [$0.position, $0.holdsAfter ?? $0.position] }).sorted()
        let counts = try await counts(info, between: boundaries, on: connection)
        // Of slices it is counted which events these are of.
        var sliced: [Int: [Count]] = [:]
        for number in Set(consumers.compactMap { $0.slice?.count }) {
            sliced[number] = try await self.counts(info, between: boundaries, slices: number, on: connection)
        }
        let recorded = if let since { try await countByType(info, after: since, on: connection) } else { [EventType: Int]() }
        var backlog = Waiting()
        for count in counts { backlog.add(count.waiting) }
        add(counts, sliced, between: boundaries, to: &consumers)
        let ages = try await ages(
            of: Set(([backlog] + consumers.flatMap { [$0.lag, $0.held] }).compactMap(\.first)), info, on: connection)
        try await connection.query("COMMIT")
        try info.checkState(state)
        backlog.take(ages)
        for consumer in consumers.indices {
            consumers[consumer].lag.take(ages)
            consumers[consumer].held.take(ages)
        }
        return StreamStatus(
            head: EventID(state.int(0, 0) ?? 0), backlog: backlog, discarded: EventID(state.int(0, 1) ?? 0),
            generation: StreamGeneration(
                stream: state.string(0, 3) ?? "", id: state.string(0, 4) ?? "", start: EventID(state.int(0, 7) ?? 0)),
            generationSince: state.string(0, 5) ?? "", generationReason: state.string(0, 6), refusal: state.string(0, 2),
            maxLag: state.string(0, 8), consumers: consumers,
            writers: try await OpenWriter.load(info.tables, from: connection, olderThan: 1), locks: locks,
            roleLocks: roleLocks, pushers: try await PusherStatus.load(info, from: connection), recorded: recorded,
            tableTroubles: try await TableTrouble.load(info, from: connection))
    }

    private static func consumers(_ info: StreamInfo, on connection: Connection) async throws -> [Consumer] {
        let rule = HoldRule(noted: info.tables)
        let rows = try await connection.query(
            Statement(
                """
                SELECT c.ident, c.last_evt_id, to_char(c.last_time, \(iso)),
                    EXTRACT(EPOCH FROM (clock_timestamp() AT TIME ZONE 'UTC') - c.last_time), array_to_string(c.want, ','),
                    EXISTS (SELECT FROM pg_locks l WHERE \(isAdvisoryLock("l", of: "c.session_owner"))), c.verified_evt_id,
                    \(rule.holdsAfter), CASE WHEN \(rule.isArchiver) THEN 0 ELSE GREATEST(s.discarded - c.last_evt_id, 0) END,
                    c.max_lag_events, (EXTRACT(EPOCH FROM c.max_lag_time) * 1000000)::bigint, c.paused,
                    COALESCE(p.count, 0), CASE WHEN c.failed_attempts > 0 AND c.failed_evt_id > c.last_evt_id THEN c.failed_evt_id END,
                    c.failed_attempts, c.failed_error, c.failed_alone, c.barrier
                FROM \(info.tables.consumers.sql) c CROSS JOIN \(info.tables.state.sql) s
                    LEFT JOIN (SELECT consumer, count(*) AS count FROM \(info.tables.parked.sql) GROUP BY 1) p ON p.consumer = c.id
                ORDER BY c.ident
                """))
        return (0..<rows.count).map { row in
            Consumer(
                consumer: rows.string(row, 0) ?? "",
                slice: ConsumerIdentity(rows.string(row, 0) ?? "")?.component.slice, position: EventID(rows.int(row, 1) ?? 0),
                want: EventFilter(list: rows.string(row, 4)) ?? .all, holdsAfter: rows.int(row, 7).map { EventID($0) },
                archiveIDs: Int(rows.int(row, 8) ?? 0),
                maxLag: MaxLag(events: rows.int(row, 9), microseconds: rows.int(row, 10)), lastSeen: rows.string(row, 2) ?? "",
                lastSeenSeconds: max(0, rows.double(row, 3)), isServed: rows.bool(row, 5) ?? false,
                verified: EventID(rows.int(row, 6) ?? 0), isPaused: rows.bool(row, 11) == true,
                barrier: rows.int(row, 17).map { EventID($0) },
                parked: Int(rows.int(row, 12) ?? 0),
                failing: rows.int(row, 13).map {
                    (EventID($0), rows.bool(row, 16) == true, Int(rows.int(row, 14) ?? 0), rows.string(row, 15) ?? "")
                })
        }
    }

    /// From the newest on: what lies behind an id is its bucket and all above.
    ///
    /// - Parameter sliced: the same of each number of slices there is.
    private static func add(
        _ counts: [Count], _ sliced: [Int: [Count]], between boundaries: [EventID], to consumers: inout [Consumer]
    ) {
        for (number, counts) in sliced {
            let its = consumers.indices.filter { consumers[$0].slice?.count == number }
            for consumer in its {
                for count in counts
                where count.slice == consumers[consumer].slice?.index
                    && count.bucket > 0 && boundaries[count.bucket - 1] >= consumers[consumer].position
                    && count.type.map({ consumers[consumer].want.wants($0) }) ?? true
                { consumers[consumer].lag.add(count.waiting) }
            }
        }

        let buckets = Dictionary(grouping: counts, by: \.bucket)
        let following = Dictionary(grouping: consumers.indices) { consumers[$0].position }
        let holding = Dictionary(grouping: consumers.indices.filter { consumers[$0].holdsAfter != nil }) {
            consumers[$0].holdsAfter!
        }
        var behind: [EventType?: Waiting] = [:]
        for (index, boundary) in boundaries.enumerated().reversed() {
            for count in buckets[index + 1] ?? [] { behind[count.type, default: Waiting()].add(count.waiting) }
            for consumer in holding[boundary] ?? [] {
                for waiting in behind.values { consumers[consumer].held.add(waiting) }
            }
            for consumer in following[boundary] ?? [] where consumers[consumer].slice == nil {
                for (type, waiting) in behind where type.map({ consumers[consumer].want.wants($0) }) ?? true {
                    consumers[consumer].lag.add(waiting)
                }
            }
        }
    }

    /// Since when events could be delivered.
    private static func ages(
        of ids: Set<EventID>, _ info: StreamInfo, on connection: Connection
    ) async throws -> [EventID: (since: String, seconds: Double)] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT id, to_char(since AT TIME ZONE 'UTC', \(iso)), EXTRACT(EPOCH FROM clock_timestamp() - since) FROM (
                    SELECT e.id, \(SettledMarks(info).waitingSince("e.id", "e.ts")) AS since
                    FROM unnest($1::bigint[]) first (id) JOIN \(info.tables.events.sql) e ON e.id = first.id OFFSET 0) s
                """), [.int8Array(ids.map(\.rawValue))])
        return Dictionary(
            (0..<rows.count).map { row in
                (EventID(rows.int(row, 0) ?? 0), (rows.string(row, 1) ?? "", max(0, rows.double(row, 2))))
            }, uniquingKeysWith: { $1 })
    }

    private static func countByType(
        _ info: StreamInfo, after id: EventID, on connection: Connection
    ) async throws -> [EventType: Int] {
        let rows = try await connection.query(
            Statement("SELECT type, count(*) FROM \(info.tables.events.sql) WHERE id > $1::bigint GROUP BY 1"),
            [.int8(id.rawValue)])
        return Dictionary(
            (0..<rows.count).compactMap { row in
                rows.string(row, 0).flatMap { EventType($0) }.map { ($0, Int(rows.int(row, 1) ?? 0)) }
            }, uniquingKeysWith: { $1 })
    }

    /// Events of one type between two ids, and of one slice where slices are counted.
    private typealias Count = (bucket: Int, type: EventType?, slice: Int?, waiting: Waiting)

    /// Each event is looked at once, however many consumers there are: counted by type between the ids.
    ///
    /// - Parameter slices: by slice, too, of so many.
    private static func counts(
        _ info: StreamInfo, between boundaries: [EventID], slices: Int? = nil, on connection: Connection
    ) async throws -> [Count] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT width_bucket(id, $1::bigint[]), type, count(*), sum(bytes), min(id), \(slices.map { EventSlice.sql(of: $0) } ?? "NULL")
                FROM \(info.tables.events.sql) GROUP BY 1, 2, 6
                """), [.int8Array(boundaries.map { $0.rawValue + 1 })])
        return (0..<rows.count).map { row in
            let waiting = Waiting(
                events: Int(rows.int(row, 2) ?? 0), bytes: Int(rows.int(row, 3) ?? 0), first: rows.int(row, 4).map { EventID($0) }
            )
            return (
                Int(rows.int(row, 0) ?? 0), rows.string(row, 1).flatMap { EventType($0) }, rows.int(row, 5).map { Int($0) },
                waiting
            )
        }
    }
}

extension Rows {
    /// A number's text; 0 for NULL.
    package func double(_ row: Int, _ column: Int) -> Double { string(row, column).flatMap { Double($0) } ?? 0 }
}
