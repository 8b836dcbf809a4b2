public import EventStream
public import Postgres

/// The pushers at work on one database, and their signs of life.
public struct PusherRegistry: Sendable {
    private let tables: StreamTables
    private let beatStatement: Statement
    private let ownedStatement: Statement

    public init(_ tables: StreamTables) {
        self.tables = tables
        beatStatement = Statement(
            """
            WITH mine AS (UPDATE \(tables.pushers.sql) SET beat = beat + 1 WHERE id = $1::bigint RETURNING id),
                settled AS (UPDATE \(tables.state.sql) SET settled = $2::bigint WHERE settled < $2::bigint)
            SELECT id, beat, EXISTS (SELECT FROM mine) FROM \(tables.pushers.sql)
            """, name: "evt_beat")
        ownedStatement = Statement(
            "SELECT ident, session_epoch FROM \(tables.consumers.sql) WHERE session_owner = $1::bigint", name: "evt_owned")
    }

    /// Which consumers are this pusher's, and with which epoch: an operator or another pusher may have taken one away.
    public func owned(
        by pusher: Int64, on connection: Connection,
        completion: @escaping (Result<[ConsumerIdentity: Int64], PostgresError>) -> Void
    ) {
        connection.submit(ownedStatement, [.int8(pusher)]) { result in
            completion(
                result.map { rows in
                    var owned: [ConsumerIdentity: Int64] = [:]
                    for row in 0..<rows.count {
                        guard let consumer = rows.string(row, 0).flatMap({ ConsumerIdentity($0) }) else { continue }
                        owned[consumer] = rows.int(row, 1)
                    }
                    return owned
                })
        }
    }

    /// Takes the lock that tells others this pusher's connection lives, and enters it in the table.
    ///
    /// - Returns: false while an earlier connection of the same pusher still has the lock.
    public func enter(_ pusher: Int64, application: String, on connection: Connection) async throws(PostgresError) -> Bool {
        let locked = try await connection.query("SELECT pg_try_advisory_lock($1::bigint)", [.int8(pusher)])
        guard locked.bool(0, 0) == true else { return false }
        try await connection.query(
            Statement(
                """
                INSERT INTO \(tables.pushers.sql) (id, application) VALUES ($1::bigint, $2::text)
                ON CONFLICT (id) DO UPDATE SET beat = \(tables.pushers.sql).beat + 1
                """), [.int8(pusher), .text(application)])
        // Whoever is gone for good is forgotten: nobody holds its lock.
        try await connection.query(
            Statement(
                "DELETE FROM \(tables.pushers.sql) WHERE id <> $1::bigint AND pg_try_advisory_xact_lock(id)"),
            [.int8(pusher)])
        return true
    }

    public func leave(_ pusher: Int64, on connection: Connection, completion: @escaping () -> Void) {
        connection.submit(
            Statement("DELETE FROM \(tables.pushers.sql) WHERE id = $1::bigint"), [.int8(pusher)]
        ) { _ in completion() }
    }

    /// Gives a sign of life, and stores how far the stream is settled.
    ///
    /// - Returns: to the completion: every pusher's beat, the own one included; nil if another declared this pusher dead.
    public func beat(
        _ pusher: Int64, settled: EventID, on connection: Connection,
        completion: @escaping (Result<[Int64: Int64]?, PostgresError>) -> Void
    ) {
        connection.submit(beatStatement, [.int8(pusher), .int8(settled.rawValue)]) { result in
            completion(
                result.map { rows in
                    guard rows.count > 0, rows.bool(0, 2) == true else { return nil }
                    var beats: [Int64: Int64] = [:]
                    for row in 0..<rows.count { beats[rows.int(row, 0) ?? 0] = rows.int(row, 1) ?? 0 }
                    return beats
                })
        }
    }
}
