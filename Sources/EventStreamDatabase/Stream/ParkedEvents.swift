package import EventStream
package import LibPQ

/// Events that consumers could not process, for operators.
package struct ParkedEvents: Sendable {
    private let info: StreamInfo
    private var parked: String { info.tables.parked.sql }
    private var consumers: String { info.tables.consumers.sql }

    package init(_ info: StreamInfo) { self.info = info }

    package struct Row: Sendable {
        package let consumer: String
        package let id: EventID
        package let type: String
        /// When the event was recorded, and when it was parked; UTC, as ISO 8601 texts.
        package let recorded: String
        package let parked: String
        package let attempts: Int
        package let error: String
        /// Whether it is to be delivered again.
        package let isRetried: Bool
        /// The generation of the stream, where that is not the present one.
        package let generation: String?
        package let key: String?
        /// Its data and meta as JSON; nil where these were not asked for.
        package let data: String?
        package let meta: String?
    }

    /// Which events of one consumer, or of all.
    package struct Choice: Sendable {
        package var consumer: String?
        /// Nil for all.
        package var ids: [EventID]?
        /// Those parked before this time.
        package var before: EventTimestamp?
        /// Those whose error has this text in it.
        package var error: String?

        package init(_ consumer: String?, ids: [EventID]? = nil, before: EventTimestamp? = nil, error: String? = nil) {
            (self.consumer, self.ids, self.before, self.error) = (consumer, ids, before, error)
        }

        fileprivate var parameters: [Parameter] {
            [
                .optional(consumer), ids.map { .int8Array($0.map(\.rawValue)) } ?? .null,
                before.map { .text("\($0)") } ?? .null, .optional(error),
            ]
        }
        fileprivate static let condition = """
            ($1::text IS NULL OR c.ident = $1::text OR starts_with(c.ident, $1::text || '/')) AND ($2::bigint[] IS NULL OR p.id = ANY ($2::bigint[]))
                AND ($3::text IS NULL OR p.parked < $3::text::timestamptz) AND ($4::text IS NULL OR position($4::text IN p.error) > 0)
            """
    }

    private static let iso = "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'"

    /// - Parameters:
    ///   - place: only what follows this row of an earlier list.
    ///   - limit: rows at most.
    package func list(
        _ choice: Choice, after place: (consumer: String, id: EventID)? = nil, limit: Int, withData: Bool = false,
        on connection: Connection
    ) async throws(PostgresError) -> [Row] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT c.ident, p.id, p.type, to_char(p.ts, \(ParkedEvents.iso)),
                    to_char(p.parked AT TIME ZONE 'UTC', \(ParkedEvents.iso)), p.attempts, p.error, p.retry IS NOT NULL,
                    CASE WHEN p.generation <> s.generation THEN p.generation::text END, \(withData ? "p.data, p.meta" : "NULL, NULL"), p.key
                FROM \(parked) p JOIN \(consumers) c ON c.id = p.consumer CROSS JOIN \(info.tables.state.sql) s
                WHERE \(Choice.condition) AND ($5::text IS NULL OR (c.ident, p.id) > ($5::text, $6::bigint))
                ORDER BY c.ident, p.id LIMIT $7::bigint
                """),
            choice.parameters + [
                .optional(place?.consumer), place.map { .int8($0.id.rawValue) } ?? .null, .int8(Int64(limit)),
            ])
        return (0..<rows.count).map { row in
            Row(
                consumer: rows.string(row, 0) ?? "", id: EventID(rows.int(row, 1) ?? 0), type: rows.string(row, 2) ?? "",
                recorded: rows.string(row, 3) ?? "", parked: rows.string(row, 4) ?? "", attempts: Int(rows.int(row, 5) ?? 0),
                error: rows.string(row, 6) ?? "", isRetried: rows.bool(row, 7) == true, generation: rows.string(row, 8),
                key: rows.string(row, 11), data: rows.string(row, 9), meta: rows.string(row, 10))
        }
    }

    /// Says that events are to be delivered again, and with each the others of its key: the pusher that serves the consumer does so.
    ///
    /// - Returns: how many these are.
    /// - Throws: ``StoreError`` if the receiver of the consumer takes no parked events.
    package func retry(_ choice: Choice, on connection: Connection) async throws -> Int {
        let takes = try await connection.query(
            Statement(
                "SELECT ident FROM \(consumers) WHERE ($1::text IS NULL OR ident = $1::text OR starts_with(ident, $1::text || '/')) AND NOT takes_parked"
            ),
            [.optional(choice.consumer)])
        if let consumer = choice.consumer, takes.count > 0 {
            throw StoreError(
                """
                the receiver of \(consumer) took no parked events in its last session: start a receiver with partial processing, such as ReliableReceiver \
                in Swift; or process the events by hand (evt parked show) and drop them (evt parked drop)
                """)
        }
        return try await connection.query(
            Statement(
                """
                WITH chosen AS (
                    SELECT p.consumer, p.id, p.generation, p.key FROM \(parked) p JOIN \(consumers) c ON c.id = p.consumer
                    WHERE c.takes_parked AND \(Choice.condition))
                UPDATE \(parked) p SET retry = COALESCE(p.retry, clock_timestamp())
                WHERE (p.consumer, p.id, p.generation) IN (SELECT consumer, id, generation FROM chosen)
                    OR (p.consumer, p.key) IN (SELECT consumer, key FROM chosen)
                """), choice.parameters
        ).affected
    }

    /// Removes parked events: they are not delivered any more.
    ///
    /// Where these have keys the consumer's session begins anew: it reads then which keys still wait.
    ///
    /// - Returns: how many these were.
    package func drop(_ choice: Choice, on connection: Connection) async throws -> Int {
        try await connection.transaction {
            // The rows of the consumers first, as whoever parks does.
            try await connection.query(
                Statement(
                    """
                    UPDATE \(consumers) SET session_owner = NULL, session_epoch = session_epoch + 1
                    WHERE id IN (SELECT p.consumer FROM \(parked) p JOIN \(consumers) c ON c.id = p.consumer
                        WHERE p.key IS NOT NULL AND \(Choice.condition))
                    """), choice.parameters)
            return try await connection.query(
                Statement("DELETE FROM \(parked) p USING \(consumers) c WHERE c.id = p.consumer AND \(Choice.condition)"),
                choice.parameters
            ).affected
        }
    }
}
