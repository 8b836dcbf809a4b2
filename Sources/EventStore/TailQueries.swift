public import EventStream
public import Postgres

/// What the reader at the stream's head asks besides rows: who holds the table, the latch, where to begin.
public struct TailQueries: Sendable {
    private let info: StreamInfo
    private let holdersStatement: Statement
    private let takeLatch: Statement
    private let releaseLatch: Statement
    private let takeWaker: Statement

    public init(_ info: StreamInfo) {
        self.info = info
        holdersStatement = Statement(
            """
            SELECT virtualtransaction, pid FROM pg_locks WHERE locktype = 'relation' AND relation = \(info.tableOID)
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND mode = 'RowExclusiveLock' AND granted
            """, name: "evt_holders")
        takeLatch = Statement("SELECT pg_try_advisory_lock(\(info.latchKey))", name: "evt_take_latch")
        releaseLatch = Statement("SELECT pg_advisory_unlock(\(info.latchKey))", name: "evt_release_latch")
        takeWaker = Statement("SELECT pg_try_advisory_lock(\(info.wakerKey))", name: "evt_take_waker")
    }

    /// Who holds RowExclusiveLock on the event table: everyone who may still make an event visible.
    public func holders(
        on connection: Connection, completion: @escaping (Result<Set<SettledHorizon.Holder>, PostgresError>) -> Void
    ) {
        connection.submit(holdersStatement) { result in
            completion(
                result.map { rows in
                    Set(
                        (0..<rows.count).map { row in
                            SettledHorizon.Holder(
                                transaction: rows.string(row, 0) ?? "", processID: rows.int(row, 1).map { Int32($0) })
                        })
                })
        }
    }

    public func takeLatch(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(takeLatch) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    public func releaseLatch(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(releaseLatch) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    public func takeWakerRole(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(takeWaker) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    public func listen(on connection: Connection) async throws(PostgresError) {
        try await connection.query(Statement("LISTEN \(quotedIdentifier(info.channel))"))
    }

    /// Passes a wake-up on to the other pushers.
    public func notify(on connection: Connection) {
        connection.submit(Statement("NOTIFY \(quotedIdentifier(info.channel))", name: "evt_notify")) { _ in }
    }

    /// An id up to which the stream is certainly settled: nobody can add an event there any more.
    ///
    /// If nobody is writing at the moment, that is the newest visible event; else what was known before.
    public func settledFloor(on connection: Connection) async throws(PostgresError) -> EventID {
        let known = try await connection.query(
            Statement(
                """
                SELECT GREATEST((SELECT settled FROM \(info.tables.state.sql)),
                    (SELECT COALESCE(max(last_evt_id), 0) FROM \(info.tables.consumers.sql)))
                """))
        // First the newest event, then, with a fresh snapshot, the holders: the other order would not be sound.
        let newest = try await connection.query(
            Statement("SELECT id FROM \(info.tables.events.sql) ORDER BY id DESC LIMIT 1"))
        let holders = try await connection.query(holdersStatement)
        let floor = known.int(0, 0) ?? 0
        guard holders.count == 0, newest.count == 1, let newest = newest.int(0, 0) else { return EventID(floor) }
        return EventID(max(floor, newest))
    }

    /// What those that hold the stream back are doing, for people.
    public func describe(_ holders: Set<SettledHorizon.Holder>, on connection: Connection) async -> String {
        let writers = (try? await OpenWriter.load(info, from: connection, among: holders)) ?? []
        return writers.map(\.description).joined(separator: "; ")
    }
}
