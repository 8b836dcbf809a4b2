package import EventStream
package import LibPQ

/// The sums kept in the warehouse: what ranges of ids held when the archive was compared with the active table.
///
/// They outlive the events in the active table, so that ranges discarded long ago can be verified.
package struct ArchiveSums: Sendable {
    private let history: HistoryStore
    private var table: String { history.tables.sums.sql }
    private var ident: Parameter { .text(history.archiver.description) }

    package init(_ history: HistoryStore) { self.history = history }

    package struct Record: Hashable, Sendable {
        package let first: EventID
        package let last: EventID
        package let want: EventFilter
        package let sum: ArchiveAudit.Sum
        /// When it was compared last; UTC, as an ISO 8601 text.
        package let compared: String
    }

    /// Up to which id sums are recorded.
    package func end(on connection: Connection) async throws -> EventID {
        let rows = try await connection.query(
            Statement("SELECT last_id FROM \(table) WHERE ident = $1 ORDER BY first_id DESC LIMIT 1"), [ident])
        return EventID(rows.int(0, 0) ?? 0)
    }

    /// Records blocks that were found equal. One that goes on where the last record ends is added to it, as long as that
    /// is small.
    ///
    /// - Parameter erased: ``ArchiveErasures/newest(on:)`` of before the comparison.
    /// - Returns: false if data was erased meanwhile, and nothing is recorded: the archive is to be compared again.
    package func record(
        _ blocks: [ArchiveAudit.Block], want: EventFilter, unlessErasedSince erased: Int64, on connection: Connection
    ) async throws -> Bool {
        do {
            try await record(blocks, want: want, erased, on: connection)
            return true
        } catch is ErasedMeanwhile {
            return false
        }
    }

    private struct ErasedMeanwhile: Error {}

    private func record(
        _ blocks: [ArchiveAudit.Block], want: EventFilter, _ erased: Int64, on connection: Connection
    ) async throws {
        try await connection.transaction {
            for block in blocks {
                let parameters: [Parameter] = [
                    ident, .int8(block.first.rawValue), .int8(block.last.rawValue), .types(want),
                    .int8(Int64(block.archived.events)), .text(block.archived.checksum),
                ]
                let extended = try await connection.query(
                    Statement(
                        """
                        UPDATE \(table) SET last_id = $3::bigint, events = events + $5::bigint,
                            checksum = checksum + $6::text::numeric, compared = now()
                        WHERE ident = $1 AND first_id = (SELECT max(first_id) FROM \(table) WHERE ident = $1)
                            AND last_id = $2::bigint - 1 AND want IS NOT DISTINCT FROM $4::text[]
                            AND events + $5::bigint <= \(1 << ArchiveAudit.blockBits)
                        """, name: "evt_extend_sum"), parameters)
                guard extended.affected == 0 else { continue }
                try await connection.query(
                    Statement(
                        """
                        INSERT INTO \(table) (ident, first_id, last_id, want, events, checksum)
                        VALUES ($1, $2::bigint, $3::bigint, $4::text[], $5::bigint, $6::text::numeric)
                        ON CONFLICT (ident, first_id) DO NOTHING
                        """, name: "evt_record_sum"), parameters)
            }
            // Afterwards: whoever erases waits for what was written above, and then finds it; or this finds the erasure.
            guard try await ArchiveErasures(history).newest(on: connection) == erased else { throw ErasedMeanwhile() }
        }
    }

    /// Records of ranges that reach into [first, last], in order, at most so many.
    package func records(
        from first: EventID, through last: EventID, limit: Int, on connection: Connection
    ) async throws -> [Record] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT first_id, last_id, array_to_string(want, ','), events, checksum,
                    to_char(compared AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                FROM \(table) WHERE ident = $1 AND last_id >= $2::bigint AND first_id <= $3::bigint
                    AND first_id >= COALESCE(
                        (SELECT max(first_id) FROM \(table) WHERE ident = $1 AND first_id <= $2::bigint), 0)
                ORDER BY first_id LIMIT $4::bigint
                """), [ident, .int8(first.rawValue), .int8(last.rawValue), .int8(Int64(limit))])
        return try (0..<rows.count).map { row in
            guard let want = EventFilter(list: rows.string(row, 2)) else {
                throw StoreError("\(history.tables.sums): \(rows.string(row, 2) ?? "") is no list of event types")
            }
            return Record(
                first: EventID(rows.int(row, 0) ?? 0), last: EventID(rows.int(row, 1) ?? 0),
                want: want,
                sum: .init(events: Int(rows.int(row, 3) ?? 0), checksum: rows.string(row, 4) ?? "0"),
                compared: rows.string(row, 5) ?? "")
        }
    }
}
