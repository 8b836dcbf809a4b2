package import EventStream
package import LibPQ

/// Erasures in the active database: the record, the data in its tables, and which pushers have let go of it.
package struct ErasureStore: Sendable {
    private let info: StreamInfo
    private var erasures: String { info.tables.erasures.sql }
    /// Every table of the active database that has the data of events.
    private var tables: [(place: ErasurePlan.Place, name: TableName)] {
        [(.table, info.tables.events), (.parked, info.tables.parked)]
    }

    package init(_ info: StreamInfo) { self.info = info }

    func found(
        _ ids: [EventID], on connection: Connection
    ) async throws(PostgresError) -> [(place: ErasurePlan.Place, event: ErasedEvent)] {
        var found: [(place: ErasurePlan.Place, event: ErasedEvent)] = []
        for table in tables {
            found += try await ErasedEvents.found(in: table.name, ids, on: connection).map { (table.place, $0) }
        }
        return found
    }

    // MARK: The record

    /// Records that the data of these events is to go, before anything is erased.
    ///
    /// - Returns: the erasure's key.
    package func begin(
        _ events: [ErasedEvent], because reason: String, on connection: Connection
    ) async throws(PostgresError) -> String {
        let rows = try await connection.query(
            Statement(
                """
                INSERT INTO \(erasures) (ids, types, times, reason) VALUES ($1::bigint[], $2::text[], $3::text[]::timestamp[], $4)
                RETURNING erasure
                """), ErasedEvents.parameters(events) + [.text(reason)])
        return rows.string(0, 0) ?? ""
    }

    /// Records an erasure that an archive knows and this database does not: it was restored from a backup older than the erasure.
    func adopt(_ erasure: Erasure, on connection: Connection) async throws(PostgresError) {
        try await connection.query(
            Statement(
                """
                INSERT INTO \(erasures) (ids, types, times, reason, erasure, by, at)
                VALUES ($1::bigint[], $2::text[], $3::text[]::timestamp[], $4, $5::text::uuid, $6, $7::text::timestamptz)
                ON CONFLICT (erasure) DO NOTHING
                """),
            ErasedEvents.parameters(erasure.events)
                + [.text(erasure.reason), .text(erasure.key), .text(erasure.role), .text(erasure.at)])
    }

    /// Every erasure, in the order of their numbers.
    package func list(on connection: Connection) async throws(PostgresError) -> [Erasure] {
        let iso = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"
        let rows = try await connection.query(
            Statement(
                """
                SELECT number, erasure, reason, by, to_char(at AT TIME ZONE 'UTC', \(iso)), pass,
                    to_char(closed AT TIME ZONE 'UTC', \(iso)), e.id, e.type, to_char(e.ts, \(ErasedEvents.time))
                FROM \(erasures), unnest(ids, types, times) AS e (id, type, ts) ORDER BY number, e.id, e.ts
                """))
        return Erasure.list(rows) { row in
            if let closed = rows.string(row, 6) { return .closed(closed) }
            return rows.int(row, 5).map { .erased(pass: $0) } ?? .begun
        }
    }

    package func open(on connection: Connection) async throws(PostgresError) -> [Erasure] {
        try await list(on: connection).filter(\.isOpen)
    }

    /// The ids whose data was erased, or is to be, in the active database, and by no record in an archive; with the erasure's number.
    package func lacking(
        _ archive: ArchiveErasures, active: Connection, warehouse: Connection
    ) async throws(PostgresError) -> [EventID: Int] {
        let reached = try await archive.keys(on: warehouse)
        let rows = try await active.query(
            Statement("SELECT e.id, number FROM \(erasures), unnest(ids) AS e (id) WHERE erasure <> ALL ($1::text[]::uuid[])"),
            [.strings(reached)])
        return Dictionary(
            (0..<rows.count).map { (EventID(rows.int($0, 0) ?? 0), Int(rows.int($0, 1) ?? 0)) }, uniquingKeysWith: { $1 })
    }

    // MARK: The steps

    /// - Returns: of how many rows the data is gone now.
    package func erase(_ erasure: Erasure, on connection: Connection) async throws -> Int {
        try await connection.transaction {
            try await connection.query("SET LOCAL enable_seqscan = off")
            var count = 0
            for table in tables { count += try await ErasedEvents.erase(erasure.events, in: table.name, on: connection) }
            // What receivers said of these events may quote their data.
            let ids: [Parameter] = [.int8Array(erasure.events.map(\.id.rawValue))]
            try await connection.query(
                Statement("UPDATE \(info.tables.parked.sql) SET error = '' WHERE id = ANY ($1::bigint[]) AND error <> ''"), ids)
            try await connection.query(
                Statement(
                    """
                    UPDATE \(info.tables.consumers.sql) SET failed_error = NULL
                    WHERE failed_evt_id = ANY ($1::bigint[]) AND failed_error IS NOT NULL
                    """), ids)
            return count
        }
    }

    /// Lets the pushers see that the data is gone from the databases: whatever they read from here on is without it.
    package func announce(_ erasure: Erasure, on connection: Connection) async throws {
        try await connection.transaction {
            // One at a time, so that passes become visible in their order.
            try await connection.query(Statement("LOCK TABLE \(erasures) IN SHARE ROW EXCLUSIVE MODE"))
            try await connection.query(
                Statement(
                    """
                    UPDATE \(erasures) SET pass = (SELECT COALESCE(max(pass), 0) + 1 FROM \(erasures)), closed = NULL
                    WHERE erasure = $1::text::uuid
                    """), [.text(erasure.key)])
        }
    }

    /// The pushers at work that have not dropped yet what they had read before an erasure was announced.
    package func holders(_ erasure: Erasure, on connection: Connection) async throws -> [PusherStatus] {
        let pass = try await connection.query(
            Statement("SELECT pass FROM \(erasures) WHERE erasure = $1::text::uuid"), [.text(erasure.key)]
        ).int(0, 0)
        guard let pass else { throw StoreError("the erasure \(erasure.number) is not in \(info.tables.erasures)") }
        return try await PusherStatus.load(info, from: connection).filter { $0.isConnected && $0.erased < pass }
    }

    package func close(_ erasure: Erasure, on connection: Connection) async throws(PostgresError) {
        try await connection.query(
            Statement(
                "UPDATE \(erasures) SET closed = now() WHERE erasure = $1::text::uuid AND pass IS NOT NULL AND closed IS NULL"),
            [.text(erasure.key)])
    }
}

extension Erasure {
    /// - Parameter rows: number, key, reason, role, time, …, and in the columns 7 to 9 the event; an erasure's rows side by side.
    static func list(_ rows: Rows, progress: (Int) -> Progress) -> [Erasure] {
        var erasures: [Erasure] = []
        var first = 0
        while first < rows.count {
            let key = rows.string(first, 1)
            let end = (first..<rows.count).first { rows.string($0, 1) != key } ?? rows.count
            erasures.append(
                Erasure(
                    number: Int(rows.int(first, 0) ?? 0), key: key ?? "",
                    events: (first..<end).map { ErasedEvent(rows, $0, 7) }, reason: rows.string(first, 2) ?? "",
                    role: rows.string(first, 3) ?? "", at: rows.string(first, 4) ?? "", progress: progress(first)))
            first = end
        }
        return erasures
    }
}
