package import EventStream
package import LibPQ

/// A transaction that holds RowExclusiveLock on the event table: it may still make events visible.
///
/// The same whether or not it has been prepared meanwhile: PREPARE TRANSACTION takes the process away and keeps the
/// virtual transaction id. PostgreSQL 13.4, 14.0 and older change it to `-1/xid`, by way of `3/0`.
package struct TableWriter: Hashable, Sendable {
    /// `pg_locks.virtualtransaction`: `3/1742`, or `-1/981`.
    package let transaction: String
    /// The backend; nil for a prepared transaction.
    package let processID: Int32?

    package init(transaction: String, processID: Int32? = nil) {
        self.transaction = transaction
        self.processID = processID
    }

    package static func == (a: TableWriter, b: TableWriter) -> Bool { a.transaction == b.transaction }
    package func hash(into hasher: inout Hasher) { hasher.combine(transaction) }

    package var isPrepared: Bool { transaction.hasPrefix("-1/") }
    /// Whether it may have had another name before.
    package var mayBeRenamed: Bool { isPrepared || transaction.hasSuffix("/0") }
}

/// Finds the writers of the event table, and with them how far the stream is settled.
package struct WriterQueries: Sendable {
    private let info: StreamInfo
    private let holdersStatement: Statement
    private let holdersAndNewestStatement: Statement

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
    }

    /// Who may still make an event visible.
    package struct Look: Sendable {
        /// The newest event visible before the locks were looked at; nil if none is, or it was not asked for.
        package let newest: EventID?
        /// Who holds RowExclusiveLock on the event table.
        package let holders: Set<TableWriter>
        /// The last id that was drawn; nil if the role may not know.
        package let drawn: EventID?

        package init(newest: EventID?, holders: Set<TableWriter>, drawn: EventID?) {
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

    /// Who may still make an event visible, and the last id that was drawn.
    package func look(on connection: Connection) async throws(PostgresError) -> Look {
        Look(try await connection.query(holdersStatement))
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
    package func describe(_ holders: Set<TableWriter>, on connection: Connection) async -> String {
        let writers = (try? await OpenWriter.load(info.tables, from: connection, among: holders)) ?? []
        return writers.map(\.description).joined(separator: "; ")
    }
}
