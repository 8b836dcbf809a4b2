package import EventStream
package import EventStreamDatabase
package import LibPQ

/// The pushers at work on one database, and their signs of life.
package struct PusherRegistry: Sendable {
    private let info: StreamInfo
    private var tables: StreamTables { info.tables }
    private let beatStatement: Statement

    package init(_ info: StreamInfo) {
        self.info = info
        let tables = info.tables
        // What was stored before is told as it was: where the database went back, nothing must be stored that was learned before.
        beatStatement = Statement(
            """
            WITH mine AS (
                    UPDATE \(tables.pushers.sql) SET beat = beat + 1, looked = COALESCE(\(SettledMarks.looked("$5")), looked),
                        erased = $6::bigint
                    WHERE id = $1::bigint RETURNING id),
                settled AS (
                    UPDATE \(tables.state.sql) SET settled = $2::bigint
                    WHERE settled < $2::bigint AND settled >= $3::bigint AND generation = $4::text::uuid RETURNING settled),
                marked AS (\(SettledMarks.insertion(tables, of: "settled")))
            SELECT id, beat, EXISTS (SELECT FROM mine), NULL, beat_interval, reads_archive, NULL::boolean FROM \(tables.pushers.sql)
            UNION ALL
            SELECT session_epoch, barrier, takes_parked AND EXISTS (
                    SELECT FROM \(tables.parked.sql) p WHERE p.consumer = c.id AND retry IS NOT NULL), ident, NULL, paused, NULL
                FROM \(tables.consumers.sql) c WHERE session_owner = $1::bigint
            UNION ALL
            SELECT NULL, settled, generation = $4::text::uuid AND settled >= $3::bigint
                AND \(quotedLiteral(tables.events.sql))::regclass::oid::bigint = \(info.tableOID)
                AND \(TableGuard.noneIsFed(info.tableOIDs)), discarded::text,
                (SELECT COALESCE(max(pass), 0) FROM \(tables.erasures.sql))::float8, wide_types,
                EXISTS (SELECT FROM \(tables.consumers.sql) WHERE barrier = 0)
            FROM \(tables.state.sql)
            UNION ALL
            \(TableRewriting.sizeRows(TableRewriting.hotTables(of: info)))
            """, name: "evt_beat")
    }

    /// Takes the lock that tells others this pusher's connection lives, and enters it in the table.
    ///
    /// - Returns: false while an earlier connection of the same pusher still has the lock.
    package func enter(
        _ pusher: Int64, application: String, interval: Duration, readsArchive: Bool, on connection: Connection
    ) async throws(PostgresError) -> Bool {
        let locked = try await connection.query("SELECT pg_try_advisory_lock($1::bigint)", [.int8(pusher)])
        guard locked.bool(0, 0) == true else { return false }
        try await connection.query(
            Statement(
                """
                INSERT INTO \(tables.pushers.sql) (id, application, beat_interval, reads_archive)
                VALUES ($1::bigint, $2::text, $3::float8, $4::boolean)
                ON CONFLICT (id) DO UPDATE SET erased = \(tables.pushers.sql).erased
                """), [.int8(pusher), .text(application), .text("\(interval / .seconds(1))"), .text("\(readsArchive)")])
        // Whoever is gone for good is forgotten: nobody holds its lock.
        try await connection.query(
            Statement(
                "DELETE FROM \(tables.pushers.sql) WHERE id <> $1::bigint AND pg_try_advisory_xact_lock(id)"),
            [.int8(pusher)])
        return true
    }

    package func leave(_ pusher: Int64, on connection: Connection, completion: @escaping () -> Void) {
        connection.submit(
            Statement("DELETE FROM \(tables.pushers.sql) WHERE id = $1::bigint"), [.int8(pusher)]
        ) { _ in completion() }
    }

    /// What a pusher learns of a consumer that is its own.
    package struct Owned: Hashable, Sendable {
        package let epoch: Int64
        /// Whether an operator has stopped its delivery.
        package var isPaused = false
        /// Whether it has parked events to be delivered again.
        package var hasRetries = false
        /// Nothing beyond it is to be delivered.
        package var barrier: EventID?

        package init(epoch: Int64) { self.epoch = epoch }
    }

    /// What a pusher learns with each sign of life.
    package struct Pulse: Sendable {
        /// Every pusher's beat, the own one included, and how often it means to give one.
        package var beats: [Int64: (beat: Int64, interval: Duration)] = [:]
        /// Up to here events are discarded.
        package var discarded = EventID.none
        /// The newest pass of erasing that was announced: what was read before may have data that is gone.
        package var erased: Int64 = 0
        /// Whether somebody has stopped delivery to a consumer, and waits until every pusher has given further signs of life.
        package var isAwaited = false
        /// Whether the stream takes wide event types.
        package var takesWideTypes = false
        /// Pushers that read the archive.
        package var archiveReaders: Set<Int64> = []
        /// Which consumers are this pusher's: an operator or another pusher may have taken one away.
        package var owned: [ConsumerIdentity: Owned] = [:]
        /// Bytes of the small tables that are written all the time.
        package var sizes: [TableName: Int] = [:]
        /// Whether others still count on this pusher.
        package var isAlive = false
        /// The settled id that is stored now; nil if the database is not the one it was: restored, fed by a subscription, or somebody
        /// found that it went back.
        package var stored: EventID?

        package init() {}
    }

    /// Gives a sign of life, stores how far the stream is settled, and looks around.
    ///
    /// - Parameters:
    ///   - settled: up to here the stream is settled.
    ///   - stored: what an earlier sign of life has stored of this.
    ///   - erased: the newest pass of erasing after which everything was read anew.
    ///   - looked: how long ago the last look at the stream's head began that found no more than this; nil for none yet.
    package func beat(
        _ pusher: Int64, settled: EventID, stored: EventID, looked: Duration?, erased: Int64,
        generation: StreamGeneration, on connection: Connection,
        completion: @escaping (Result<Pulse, PostgresError>) -> Void
    ) {
        let parameters: [Parameter] = [
            .int8(pusher), .int8(settled.rawValue), .int8(stored.rawValue), .text(generation.id),
            looked.map { .int8(Int64($0 / .milliseconds(1))) } ?? .null, .int8(erased),
        ]
        let hotTables = TableRewriting.hotTables(of: info)
        connection.submit(beatStatement, parameters) { result in
            completion(
                result.map { rows in
                    var pulse = Pulse()
                    for row in 0..<rows.count {
                        if rows.isNull(row, 0) {
                            guard rows.bool(row, 2) == true else { continue }
                            pulse.stored = max(settled, EventID(rows.int(row, 1) ?? 0))
                            pulse.discarded = EventID(rows.int(row, 3) ?? 0)
                            pulse.erased = Int64(rows.double(row, 4))
                            pulse.takesWideTypes = rows.bool(row, 5) == true
                            pulse.isAwaited = rows.bool(row, 6) == true
                        } else if rows.double(row, 4) < 0 {
                            pulse.sizes[hotTables[Int(rows.int(row, 0) ?? 1) - 1]] = Int(rows.int(row, 1) ?? 0)
                        } else if rows.isNull(row, 3) {
                            pulse.beats[rows.int(row, 0) ?? 0] = (rows.int(row, 1) ?? 0, .seconds(rows.double(row, 4)))
                            if rows.bool(row, 5) == true { pulse.archiveReaders.insert(rows.int(row, 0) ?? 0) }
                            pulse.isAlive = pulse.isAlive || rows.bool(row, 2) == true
                        } else if let consumer = rows.string(row, 3).flatMap({ ConsumerIdentity($0) }) {
                            var owned = Owned(epoch: rows.int(row, 0) ?? 0)
                            owned.isPaused = rows.bool(row, 5) == true
                            owned.hasRetries = rows.bool(row, 2) == true
                            owned.barrier = rows.int(row, 1).map { EventID($0) }
                            pulse.owned[consumer] = owned
                        }
                    }
                    return pulse
                })
        }
    }
}
