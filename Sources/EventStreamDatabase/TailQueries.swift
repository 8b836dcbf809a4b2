package import EventStream
package import LibPQ

/// What the reader at the stream's head asks besides rows: who holds the table, the latch, where to begin.
package struct TailQueries: Sendable {
    private let info: StreamInfo
    private let holdersStatement: Statement
    private let holdersAndNewestStatement: Statement
    private let takeLatch: Statement
    private let releaseLatch: Statement
    private let takeWaker: Statement

    package init(_ info: StreamInfo) {
        self.info = info
        let sequence = "\(quotedLiteral(info.tables.sequence.sql))::regclass"
        // One statement does for all: its snapshot, which the newest id is of, is taken before it looks at the sequence and
        // the locks. The table by its name: one restored under our hands is another.
        func look(newest: String) -> String {
            """
            SELECT NULL, NULL, \(newest),
                CASE WHEN has_sequence_privilege(\(sequence), 'USAGE, SELECT')
                THEN COALESCE(pg_sequence_last_value(\(sequence)), 0) END
            UNION ALL
            SELECT virtualtransaction, pid, NULL, NULL FROM pg_locks
            WHERE locktype = 'relation' AND relation = \(quotedLiteral(info.tables.events.sql))::regclass
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND mode = 'RowExclusiveLock' AND granted
            """
        }
        holdersStatement = Statement(look(newest: "NULL::bigint"), name: "evt_holders")
        holdersAndNewestStatement = Statement(
            look(newest: "(SELECT id FROM \(info.tables.events.sql) WHERE id > $1::bigint ORDER BY id DESC LIMIT 1)"),
            name: "evt_holders_newest")
        takeLatch = Statement("SELECT pg_try_advisory_lock(\(info.key(of: .latch)))", name: "evt_take_latch")
        releaseLatch = Statement("SELECT pg_advisory_unlock(\(info.key(of: .latch)))", name: "evt_release_latch")
        takeWaker = Statement("SELECT pg_try_advisory_lock(\(info.key(of: .waker)))", name: "evt_take_waker")
    }

    /// Who may still make an event visible.
    package struct Look: Sendable {
        /// The newest event visible before the locks were looked at; nil if none is, or it was not asked for.
        package let newest: EventID?
        /// Who holds RowExclusiveLock on the event table.
        package let holders: Set<SettledHorizon.Holder>
        /// The last id that was drawn; nil if the role may not know.
        package let drawn: EventID?

        package init(newest: EventID?, holders: Set<SettledHorizon.Holder>, drawn: EventID?) {
            (self.newest, self.holders, self.drawn) = (newest, holders, drawn)
        }

        init(_ rows: Rows) {
            drawn = (0..<rows.count).lazy.compactMap { rows.int($0, 3) }.first.map { EventID($0) }
            newest = (0..<rows.count).lazy.compactMap { rows.int($0, 2) }.first.map { EventID($0) }
            holders = Set(
                (0..<rows.count).compactMap { row in
                    rows.string(row, 0).map { .init(transaction: $0, processID: rows.int(row, 1).map { Int32($0) }) }
                })
        }
    }

    /// - Parameter settled: the newest event after this one is looked for; nil for not. Without a bound, rows that are gone and not
    ///   yet vacuumed away would be looked at again and again.
    package func look(
        newestAfter settled: EventID?, on connection: Connection, completion: @escaping (Result<Look, PostgresError>) -> Void
    ) {
        guard let settled else { return connection.submit(holdersStatement, []) { completion($0.map { Look($0) }) } }
        connection.submit(holdersAndNewestStatement, [.int8(settled.rawValue)]) { completion($0.map { Look($0) }) }
    }

    package func takeLatch(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(takeLatch) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    package func releaseLatch(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(releaseLatch) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    package func takeWakerRole(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(takeWaker) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    package func listen(on connection: Connection) async throws(PostgresError) {
        try await connection.query(Statement("LISTEN \(quotedIdentifier(info.channel))"))
    }

    /// Passes a wake-up on to the other pushers.
    package func notify(on connection: Connection) {
        connection.submit(Statement("NOTIFY \(quotedIdentifier(info.channel))", name: "evt_notify")) { _ in }
    }

    /// An id up to which the stream is certainly settled: nobody can add an event there any more.
    ///
    /// If nobody is writing at the moment, that is the newest visible event; else what was known before.
    package func settledFloor(on connection: Connection) async throws(PostgresError) -> EventID {
        let known = try await connection.query(
            Statement(
                """
                SELECT GREATEST((SELECT settled FROM \(info.tables.state.sql)),
                    (SELECT COALESCE(max(last_evt_id), 0) FROM \(info.tables.consumers.sql)))
                """))
        let floor = EventID(known.int(0, 0) ?? 0)
        let look = Look(try await connection.query(holdersAndNewestStatement, [.int8(floor.rawValue)]))
        return look.holders.isEmpty ? max(floor, look.newest ?? floor) : floor
    }

    /// What those that hold the stream back are doing, for people.
    package func describe(_ holders: Set<SettledHorizon.Holder>, on connection: Connection) async -> String {
        let writers = (try? await OpenWriter.load(info.tables, from: connection, among: holders)) ?? []
        return writers.map(\.description).joined(separator: "; ")
    }
}
