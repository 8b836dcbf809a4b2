package import EventStream
package import LibPQ

/// The statements that find positions to begin at, in the table of events or in a history.
package enum StartQueries {
    /// The time of the parameter `$1`, as SQL of the type timestamp: microseconds since 2000 (``EventTimestamp/postgres``), UTC.
    package static let time = "(timestamp '2000-01-01' + $1::bigint * interval '1 microsecond')"

    /// Finds the least id, of those up to `$2`, of an event that was recorded at the time `$1` or later; no row if there is none.
    ///
    /// The times of events need not be in the order of the ids, so each event of an earlier id is looked at. Of a history with
    /// partitions these are at most the events of one month (324 000 of these took 80 ms): the partitions before that are left out, and
    /// in those after it the first event will do.
    package static func firstSince(_ table: TableName) -> Statement {
        Statement("SELECT id FROM \(table.sql) WHERE ts >= \(time) AND id <= $2::bigint ORDER BY id LIMIT 1")
    }

    /// The same of an archive, of the ids after `$2` and up to `$3`; and whether there is an event before the one that was found, or at
    /// all.
    package static func firstSince(of tables: ArchiveTables) -> Statement {
        let history = tables.history.sql
        return Statement(
            """
            WITH found AS (
                SELECT id FROM \(history) WHERE ts >= \(time) AND id > $2::bigint AND id <= $3::bigint ORDER BY id LIMIT 1)
            SELECT (SELECT id FROM found), EXISTS (SELECT FROM \(history) WHERE id > $2::bigint
                AND id < COALESCE((SELECT id FROM found), $3::bigint + 1))
            """)
    }

    /// Counts the events after `$1` and up to `$2`, no more than `$3` of them, and finds the time of the first, as text; NULL if there
    /// are none.
    static func following(_ table: TableName) -> Statement {
        Statement(
            """
            SELECT (SELECT count(*) FROM (
                    SELECT FROM \(table.sql) WHERE id > $1::bigint AND id <= $2::bigint LIMIT $3::bigint) e),
                (SELECT to_char(ts, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM \(table.sql)
                    WHERE id > $1::bigint AND id <= $2::bigint ORDER BY id LIMIT 1)
            """)
    }
}
