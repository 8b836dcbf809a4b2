package import EventStream
package import LibPQ

/// Since when events could be delivered.
///
/// An event's own time is what whoever recorded it says: years ago, or in years to come. When the stream was settled up to
/// which id the pushers note with their signs of life; an event's time counts as far as it fits between these.
package struct SettledMarks: Sendable {
    private let tables: StreamTables

    package init(_ info: StreamInfo) { tables = info.tables }

    /// When an event could be delivered, as SQL of the type timestamptz.
    ///
    /// - Parameters:
    ///   - id: of the event, as SQL; with its table's name.
    ///   - time: its own time, as SQL of the type timestamp, UTC.
    package func waitingSince(_ id: String, _ time: String) -> String {
        let (marks, pushers) = (tables.marks.sql, tables.pushers.sql)
        // An event past all marks: the last look that did not find it.
        return """
            (SELECT CASE WHEN own < before THEN GREATEST(before, COALESCE(since, looked))
                WHEN own > COALESCE(at, clock_timestamp()) THEN COALESCE(at, GREATEST(before, looked), clock_timestamp())
                ELSE own END
            FROM (SELECT \(time) AT TIME ZONE 'UTC' AS own,
                    (SELECT m.at FROM \(marks) m WHERE m.id < \(id) ORDER BY m.id DESC LIMIT 1) AS before,
                    (SELECT max(p.looked) FROM \(pushers) p) AS looked) known
                LEFT JOIN LATERAL (
                    SELECT m.since, m.at FROM \(marks) m WHERE m.id >= \(id) ORDER BY m.id LIMIT 1) mark ON true)
            """
    }

    /// - Parameter age: a parameter of the type bigint, in milliseconds.
    package static func looked(_ age: String) -> String { "clock_timestamp() - \(age)::bigint * interval '1 millisecond'" }

    /// Notes that the stream was settled just now up to an id: at the last look it was not.
    ///
    /// - Parameter settled: what has a row with the id if the stream is settled further than was known.
    package static func insertion(_ tables: StreamTables, of settled: String) -> String {
        """
        INSERT INTO \(tables.marks.sql) (id, since, at)
        SELECT settled, LEAST(now(), (SELECT max(looked) FROM \(tables.pushers.sql))), now() FROM \(settled)
        ON CONFLICT (id) DO NOTHING
        """
    }

    /// All there are, oldest first.
    package func load(on connection: Connection) async throws(PostgresError) -> [SettledMark] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT id, \(SettledMarks.microseconds("since")), \(SettledMarks.microseconds("at"))
                FROM \(tables.marks.sql) ORDER BY id
                """))
        return (0..<rows.count).map { row in
            SettledMark(
                id: EventID(rows.int(row, 0) ?? 0), since: EventTimestamp(microseconds: rows.int(row, 1) ?? 0),
                at: EventTimestamp(microseconds: rows.int(row, 2) ?? 0))
        }
    }

    private static func microseconds(_ column: String) -> String { "(EXTRACT(EPOCH FROM \(column)) * 1000000)::bigint" }

    /// Keeps the table small: marks of what is discarded go, and of older ones every other, as long as the gap that it leaves is
    /// short beside their age. So of any age there are some.
    package func thinOut(on connection: Connection, completion: @escaping (Result<Void, PostgresError>) -> Void) {
        let marks = tables.marks.sql
        connection.submit(
            Statement(
                """
                DELETE FROM \(marks) WHERE id < (SELECT max(m.id) FROM \(marks) m, \(tables.state.sql) s WHERE m.id <= s.discarded)
                    OR id IN (SELECT id FROM (
                            SELECT id, at, row_number() OVER newest AS n, lag(at) OVER newest - lead(at) OVER newest AS gap
                            FROM \(marks) WINDOW newest AS (ORDER BY id DESC)) m
                        WHERE n > \(SettledMarks.kept) AND n % 2 = 0 AND gap <= (clock_timestamp() - at) / 8)
                """, name: "evt_thin_marks")
        ) { completion($0.map { _ in }) }
    }

    private static let kept = 200
    /// So many may be added before they are thinned out.
    package static let period = 100
}
