package import EventStream
package import LibPQ

/// Finds where a consumer begins that is to get what was recorded at a time or later.
package enum StartQueries {
    /// A time as SQL.
    ///
    /// - Parameter microseconds: since 2000, as SQL of the type bigint (``EventTimestamp/postgres``).
    package static func time(_ microseconds: String) -> String {
        "timestamp '2000-01-01' + \(microseconds)::bigint * interval '1 microsecond'"
    }

    /// The first event in the order of ids, NULL if there is none; the parameter is the time in microseconds since 2000.
    package static func firstSince(_ table: TableName) -> Statement {
        Statement("SELECT min(id) FROM \(table.sql) WHERE ts >= \(time("$1"))")
    }
}
