import EventStream
package import LibPQ

/// Drops a month of a history.
///
/// A partition goes in one transaction, rows of a table in batches, each a transaction. Each notes what goes, and from where on the
/// archive is complete then: whoever reads it knows. It keeps archivers waiting for its while.
package struct MonthExpiry: Sendable {
    private let history: HistoryStore
    private let month: ExpiryPlan.Month
    private var tables: ArchiveTables { history.tables }
    /// Rows deleted with one transaction.
    private let batch: Int

    package init(_ history: HistoryStore, _ month: ExpiryPlan.Month, batch: Int = 10_000) {
        (self.history, self.month, self.batch) = (history, month, batch)
    }

    /// A lock that is needed is held by somebody.
    package struct InUse: Error, CustomStringConvertible {
        package let month: String
        package let holders: [LockHolder]

        package var description: String {
            let text = holders.prefix(3).map { "\($0) (\($0.ending))" }.joined(separator: "; ")
            let who = holders.isEmpty ? "who had the lock has ended meanwhile" : "in use by \(text)"
            return "\(month) is not dropped: \(who). Run the command again to go on"
        }
    }

    private func isIn(_ row: String) -> String { "\(row).ts >= \(month.times.first) AND \(row).ts < \(month.times.end)" }

    /// Which archiver has not come past all events of the month that it wants, in words; nil if none.
    package func lacking(on connection: Connection) async throws(PostgresError) -> String? {
        let rows = try await connection.query(
            Statement(
                """
                SELECT ident, last_evt_id FROM \(tables.positions.sql) p
                WHERE EXISTS (SELECT FROM \(tables.history.sql) h
                    WHERE h.id > p.last_evt_id AND \(isIn("h")) AND \(EventFilter.condition("p.want", wants: "h.type")))
                ORDER BY ident LIMIT 1
                """))
        return rows.string(0, 0).map { "\($0) has archived events up to \(rows.int(0, 1) ?? 0) only" }
    }

    /// - Returns: how many events are gone.
    /// - Throws: ``InUse`` if somebody uses what must be locked, ``StoreError`` if the month is not as it was when the plan was made.
    ///   The transaction at work has changed nothing then.
    package func carryOut(before: String, because reason: String?, on connection: Connection) async throws -> Int {
        let record = Record(before: before, reason: reason)
        do {
            guard let partition = month.partition else { return try await deleteRows(record, on: connection) }
            try await drop(partition, record, on: connection)
            return month.events
        } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
            let holders = try await LockHolder.users(of: [tables.history, tables.positions], from: connection)
            throw InUse(month: month.name, holders: holders)
        }
    }

    // MARK: A partition

    private func drop(_ partition: TableName, _ record: Record, on connection: Connection) async throws {
        try await connection.transaction {
            try await begin(on: connection)
            if let ids = month.ids {
                try await settleSums(ids, isGone: isIn("h"), on: connection)
                try await raise(to: ids.upperBound, on: connection)
            }
            _ = try await note(record, month.ids, events: month.events, number: nil, on: connection)
            // From here on readers wait. Whoever reads the history locks it before its partitions.
            try await connection.query(Statement("LOCK TABLE ONLY \(tables.history.sql) IN ACCESS EXCLUSIVE MODE"))
            try await connection.query(Statement("LOCK TABLE \(partition.sql) IN ACCESS EXCLUSIVE MODE"))
            let now = try await connection.query(Statement("SELECT min(id), max(id) FROM \(partition.sql)"))
            guard ClosedRange(now, 0, 0) == month.ids else { throw changed }
            try await connection.query(Statement("DROP TABLE \(partition.sql)"))
        }
    }

    private var changed: StoreError {
        StoreError("events of \(month.name) were added or deleted meanwhile: run the command again")
    }

    // MARK: Rows

    private func deleteRows(_ record: Record, on connection: Connection) async throws -> Int {
        guard let ids = month.ids else { return 0 }
        var (next, number, events) = (ids.lowerBound, Int64?.none, 0)
        while next <= ids.upperBound {
            let start = next
            let known = number
            let done: (number: Int64?, events: Int, last: EventID)? = try await connection.transaction {
                try await begin(on: connection)
                let rows = try await connection.query(
                    Statement(
                        """
                        SELECT min(id), max(id) FROM (SELECT id FROM \(tables.history.sql) h
                            WHERE id >= $1::bigint AND id <= $2::bigint AND \(isIn("h")) ORDER BY id LIMIT \(batch)) b
                        """), [.int8(start.rawValue), .int8(ids.upperBound.rawValue)])
                guard let batch = ClosedRange(rows, 0, 0) else { return nil }
                let isGone = "h.id >= \(batch.lowerBound) AND h.id <= \(batch.upperBound) AND \(isIn("h"))"
                try await settleSums(batch, isGone: isGone, on: connection)
                try await raise(to: batch.upperBound, on: connection)
                let gone = try await connection.query(Statement("DELETE FROM \(tables.history.sql) h WHERE \(isGone)")).affected
                return (try await note(record, batch, events: gone, number: known, on: connection), gone, batch.upperBound)
            }
            guard let done else { break }
            (number, events, next) = (done.number, events + done.events, done.last.next)
        }
        return events
    }

    // MARK: What both do

    /// No batch of an archiver is on its way from here on, and no position is set back.
    private func begin(on connection: Connection) async throws {
        // Of many ranges of ids in a large table none is looked for by reading all of it.
        try await connection.query("SET LOCAL enable_seqscan = off")
        try await connection.query(Statement("SELECT FROM \(tables.positions.sql) ORDER BY ident FOR UPDATE"))
        if let lacking = try await lacking(on: connection) { throw StoreError("\(month.name) stays: \(lacking)") }
    }

    /// Takes what goes out of the sums. What is wrong with the rest stays known: the sums are not made anew of what is there.
    ///
    /// - Parameter isGone: the condition for a row `h` that goes.
    private func settleSums(_ ids: ClosedRange<EventID>, isGone: String, on connection: Connection) async throws {
        let isInRange = "h.id >= s.first_id AND h.id <= s.last_id AND \(EventFilter.condition("s.want", wants: "h.type"))"
        try await connection.query(
            Statement(
                """
                DELETE FROM \(tables.sums.sql) s WHERE s.last_id <= $1::bigint
                    AND NOT EXISTS (SELECT FROM \(tables.history.sql) h WHERE \(isInRange) AND NOT (\(isGone)))
                """), [.int8(ids.upperBound.rawValue)])
        try await connection.query(
            Statement(
                """
                UPDATE \(tables.sums.sql) r SET events = r.events - gone.events, checksum = r.checksum - gone.sum
                FROM \(tables.sums.sql) s CROSS JOIN LATERAL (
                    SELECT count(*) AS events, COALESCE(sum(\(ArchiveAudit.rowSum(of: "h"))), 0) AS sum
                    FROM \(tables.history.sql) h WHERE \(isInRange) AND \(isGone)) gone
                WHERE r.ident = s.ident AND r.first_id = s.first_id AND gone.events > 0
                    AND s.first_id <= $2::bigint AND s.last_id >= $1::bigint
                """), [.int8(ids.lowerBound.rawValue), .int8(ids.upperBound.rawValue)])
    }

    private func raise(to id: EventID, on connection: Connection) async throws {
        try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET complete_from = GREATEST(complete_from, $1::bigint)
                WHERE complete_from < $1::bigint
                """), [.int8(id.rawValue)])
    }

    private struct Record {
        let before: String
        let reason: String?
    }

    /// - Parameter number: of the record that the events are added to; nil for a new one.
    /// - Returns: the number of the record.
    private func note(
        _ record: Record, _ ids: ClosedRange<EventID>?, events: Int, number: Int64?, on connection: Connection
    ) async throws -> Int64? {
        let (first, last) = (
            ids.map { Parameter.int8($0.lowerBound.rawValue) }, ids.map { Parameter.int8($0.upperBound.rawValue) }
        )
        if let number {
            try await connection.query(
                Statement(
                    "UPDATE \(tables.expired.sql) SET events = events + $2::bigint, last_id = $3::bigint WHERE number = $1::bigint"
                ),
                [.int8(number), .int8(Int64(events)), last ?? .null])
            return number
        }
        let rows = try await connection.query(
            Statement(
                """
                INSERT INTO \(tables.expired.sql) (month, before, events, first_id, last_id, reason)
                VALUES ($1::text::timestamp::date, $2::text::timestamp, $3::bigint, $4::bigint, $5::bigint, $6) RETURNING number
                """),
            [
                .text(month.first), .text(record.before), .int8(Int64(events)), first ?? .null, last ?? .null,
                .optional(record.reason),
            ])
        return rows.int(0, 0)
    }
}
