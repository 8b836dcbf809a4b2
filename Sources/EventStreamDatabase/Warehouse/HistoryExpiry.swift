package import EventStream
package import LibPQ

/// Ends a history before a time: looks which months may go.
///
/// Nothing is changed here; ``MonthExpiry`` drops a month.
package struct HistoryExpiry: Sendable {
    /// Up to when the history is to end.
    package enum Limit: Hashable, Sendable {
        case before(EventTimestamp)
        /// So much of the past stays, by the warehouse's clock.
        case keep(Duration)
    }

    private let info: StreamInfo
    private let history: HistoryStore
    private var tables: ArchiveTables { history.tables }

    package init(_ info: StreamInfo, _ history: HistoryStore) { (self.info, self.history) = (info, history) }

    /// - Throws: ``StoreError`` if the archive is not that of this stream, or the time is yet to come.
    package func plan(_ limit: Limit, active: Connection, warehouse: Connection) async throws -> ExpiryPlan {
        // What this database has discarded says nothing of the archive of another one.
        guard try await ArchiveHome(info, history).check(active: active, warehouse: warehouse) else {
            throw StoreError("no archiver has ever archived into \(tables.history)")
        }
        let before = try await time(limit, on: warehouse)
        // What is discarded stays discarded; what is archived meanwhile is not.
        let discarded = try await discarded(on: active)
        var months = try await survey(before, on: warehouse)
        // Through the index on ids: next to nothing follows a position.
        try await warehouse.query("SET enable_seqscan = off")
        for index in months.indices where months[index].isOver && months[index].ids != nil {
            months[index].lacking = try await MonthExpiry(history, months[index]).lacking(on: warehouse)
        }
        try await warehouse.query("RESET enable_seqscan")
        return ExpiryPlan(before: before, months: months, discarded: discarded)
    }

    /// Consumers that have not confirmed everything up to an event, with their positions.
    package func consumers(
        before last: EventID, active: Connection
    ) async throws(PostgresError) -> [(ident: String, position: EventID)] {
        let rows = try await active.query(
            Statement(
                "SELECT ident, last_evt_id FROM \(info.tables.consumers.sql) WHERE last_evt_id < $1::bigint ORDER BY ident"),
            [.int8(last.rawValue)])
        return (0..<rows.count).map { (rows.string($0, 0) ?? "", EventID(rows.int($0, 1) ?? 0)) }
    }

    private func discarded(on active: Connection) async throws -> EventID {
        let rows = try await active.query(Statement("SELECT discarded FROM \(info.tables.state.sql)"))
        try info.checkState(rows)
        return EventID(rows.int(0, 0) ?? 0)
    }

    private func time(_ limit: Limit, on warehouse: Connection) async throws -> String {
        let (time, microseconds) =
            switch limit {
            case .before(let time): ("timestamp '2000-01-01' + $1::bigint * interval '1 microsecond'", time.postgres)
            case .keep(let duration):
                (
                    "(now() AT TIME ZONE 'UTC') - $1::bigint * interval '1 microsecond'",
                    Int64(duration / .microseconds(1))
                )
            }
        let rows = try await warehouse.query(
            Statement("SELECT to_char(t, 'YYYY-MM-DD HH24:MI:SS'), t > now() AT TIME ZONE 'UTC' FROM (SELECT \(time) AS t) l"),
            [.int8(microseconds)])
        guard let text = rows.string(0, 0), rows.bool(0, 1) == false else {
            throw StoreError("the history cannot end at a time that is yet to come by the clock of the warehouse")
        }
        return text
    }

    // MARK: The months

    /// Of times, exactly.
    private static let form = "'YYYY-MM-DD HH24:MI:SS.US'"

    /// Every month that has begun, the oldest first. Events are counted in those only that had ended.
    private func survey(_ before: String, on warehouse: Connection) async throws -> [ExpiryPlan.Month] {
        let isOurs = try await warehouse.query(
            """
            SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass($1) AND partdefid = to_regclass($2)
                AND pg_get_partkeydef(partrelid) = 'RANGE (ts)'
            """, [.text(tables.history.sql), .text(tables.defaultPartition.sql)])
        let partitions = try await isOurs.count > 0 ? partitions(before, on: warehouse) : []
        let rest = try await rows(outside: partitions, before, on: warehouse)
        return (partitions + rest).sorted { $0.first < $1.first }
    }

    private func partitions(_ before: String, on warehouse: Connection) async throws -> [ExpiryPlan.Month] {
        let found = try await warehouse.query(
            Statement(
                """
                SELECT n.nspname, c.relname, to_char(first, \(HistoryExpiry.form)), to_char(after, \(HistoryExpiry.form)),
                    after <= $2::text::timestamp
                FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
                    LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([^'']+)''\\) TO \\(''([^'']+)''\\)') bound,
                    LATERAL (SELECT bound[1]::timestamp AS first, bound[2]::timestamp AS after) b
                WHERE i.inhparent = to_regclass($1) AND c.relkind = 'r' AND isfinite(first) AND isfinite(after)
                    AND first <= now() AT TIME ZONE 'UTC'
                ORDER BY first
                """), [.text(tables.history.sql), .text(before)])
        var months: [ExpiryPlan.Month] = []
        for row in 0..<found.count {
            guard let first = found.string(row, 2), let end = found.string(row, 3), let name = found.string(row, 1) else {
                continue
            }
            var month = ExpiryPlan.Month(first: first, end: end)
            (month.partition, month.isOver) = (
                TableName(schema: found.string(row, 0), name: name), found.bool(row, 4) ?? false
            )
            // Through the history: whoever may read that need not be able to read its partitions.
            let rows = try await warehouse.query(
                Statement(
                    """
                    SELECT \(month.isOver ? "count(*)" : "0"), min(id), max(id) FROM \(tables.history.sql)
                    WHERE ts >= \(month.times.first) AND ts < \(month.times.end)
                    """))
            (month.events, month.ids) = (Int(rows.int(0, 0) ?? 0), ClosedRange(rows, 0, 1))
            months.append(month)
        }
        return months
    }

    /// The months of rows that are in none of these partitions.
    private func rows(
        outside partitions: [ExpiryPlan.Month], _ before: String, on warehouse: Connection
    ) async throws(PostgresError) -> [ExpiryPlan.Month] {
        // Between them: a condition by which the planner leaves them out.
        let ends = [nil] + partitions.map(\.times.end)
        let gaps = zip(ends, partitions.map(\.times.first) + [nil]).filter { $0 != $1 }.map { end, first in
            "(\([end.map { "ts >= \($0)" }, first.map { "ts < \($0)" }].compactMap { $0 }.joined(separator: " AND ")))"
        }
        let isRest = partitions.isEmpty ? "true" : "(\(gaps.joined(separator: " OR ")))"
        let rows = try await warehouse.query(
            Statement(
                """
                SELECT to_char(month, \(HistoryExpiry.form)), to_char(month + interval '1 month', \(HistoryExpiry.form)),
                    month + interval '1 month' <= $1::text::timestamp, events, first, last
                FROM (SELECT date_trunc('month', ts) AS month, count(*) AS events, min(id) AS first, max(id) AS last
                    FROM \(tables.history.sql) WHERE \(isRest) AND ts <= now() AT TIME ZONE 'UTC' AND isfinite(ts) GROUP BY 1) m
                """), [.text(before)])
        return (0..<rows.count).compactMap { row in
            guard let first = rows.string(row, 0), let end = rows.string(row, 1) else { return nil }
            var month = ExpiryPlan.Month(first: first, end: end)
            (month.isOver, month.events) = (rows.bool(row, 2) ?? false, Int(rows.int(row, 3) ?? 0))
            month.ids = ClosedRange(rows, row, 4)
            return month
        }
    }
}
