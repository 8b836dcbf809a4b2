package import EventStream
package import EventStreamDatabase
package import LibPQ

/// Reads events in pages, into their wire form: of the event table, or of an archive. The pages of both are the same bytes.
///
/// TRUNCATE is not MVCC: a statement may see none of the rows that were discarded while it began. Whoever reads pages of the event
/// table reads afterwards, with a snapshot of its own, what is discarded (``discarded(on:completion:)``). Pages are never read by
/// EXECUTE, in a function, by a cursor or in a transaction that keeps its snapshot.
package struct QueueReader: Sendable {
    /// How much one page may hold, in its wire form. A page has at least one event, and ends with the one that reaches the
    /// limit, however large.
    package struct Limits: Hashable, Sendable {
        package var rows: Int
        package var bytes: Int
        package init(rows: Int = 1000, bytes: Int = 4 << 20) {
            self.rows = rows
            self.bytes = bytes
        }
    }

    /// How much of the stream a read with a filter looks at.
    package enum Stretch: Hashable, Sendable {
        /// So many ids from the first row there is; the read says how far it came.
        case limited
        /// All that was asked for: what was sent before must come again, whole.
        case whole

        fileprivate var ids: Int64 { self == .limited ? 200_000 : 999_999_999_999_999_999 }
    }

    private let all: Statement
    private let filtered: Statement
    private let filteredByPrefix: Statement

    /// Of the event table.
    package init(_ tables: StreamTables) { self.init(tables.events.sql, bytes: "bytes") }

    /// Of an archive, which has no column for the size.
    package init(_ tables: ArchiveTables) { self.init(tables.history.sql, bytes: "octet_length(data::text)") }

    private init(_ events: String, bytes: String) {
        let size = "\(bytes) + COALESCE(octet_length(key), 0) + COALESCE(octet_length(meta::text), 0)"
        // As text: a stream may be widened, and what is prepared must have the same columns afterwards.
        // The window sum bounds the page by bytes on the server, without unpacking what will not be sent.
        let weight = "\(size) + \(EventPage.overhead)"
        func page(through bound: String, _ condition: String = "") -> String {
            """
            SELECT id, type, data, ts, bytes, key, meta FROM (
                SELECT id, type::text AS type, data, ts, key, meta, \(size) AS bytes,
                    sum(\(weight)) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - (\(weight)) AS before
                FROM \(events) WHERE id > $1::bigint AND id <= \(bound)\(condition) ORDER BY id LIMIT $3::bigint
            ) page WHERE before < $4::bigint
            """
        }
        all = Statement("\(page(through: "$2::bigint")) ORDER BY id", name: "evt_page", binaryResults: true)
        // A type that is rare must not make one statement look at the whole backlog. The stretch begins at the first row
        // there is, so that a jump of the sequence is one step; where it ends is told with the rows, or alone.
        func pageOf(_ condition: String, name: String) -> Statement {
            Statement(
                """
                SELECT id, type, data, ts, bytes, key, meta, bound FROM (
                    SELECT LEAST($2::bigint, (SELECT id FROM \(events) WHERE id > $1::bigint ORDER BY id LIMIT 1) + $6::bigint) AS bound
                ) stretch LEFT JOIN LATERAL (\(page(through: "bound", " AND \(condition)"))) wanted ON true ORDER BY id
                """, name: name, binaryResults: true)
        }
        filtered = pageOf("type = ANY ($5::text[])", name: "evt_page_of_types")
        filteredByPrefix = pageOf(
            "(type = ANY ($5::text[]) OR type ^@ ANY ($7::text[]))", name: "evt_page_of_prefixes")
    }

    /// Reads what comes after `after`, in id order, up to and including `through`, or as far as limits and stretch allow.
    package func read(
        on connection: Connection, after: EventID, through: EventID = EventID(.max), want: EventFilter = .all,
        stretch: Stretch = .limited, limits: Limits, completion: @escaping (Result<QueueRows, PostgresError>) -> Void
    ) {
        var parameters: [Parameter] = [
            .int8(after.rawValue), .int8(through.rawValue), .int8(Int64(limits.rows)), .int8(Int64(limits.bytes)),
        ]
        if let types = want.types { parameters += [.textArray(types.map(\.utf8)), .int8(stretch.ids)] }
        if !want.prefixes.isEmpty { parameters.append(.textArray(want.prefixes.map(\.utf8))) }
        let statement = want.types == nil ? all : want.prefixes.isEmpty ? filtered : filteredByPrefix
        connection.submit(statement, parameters) { result in
            completion(result.map { QueueRows($0, after: after, bound: through, limits: limits) })
        }
    }
}

extension QueueReader {
    /// The same for code that reads from top to bottom.
    package func page(
        after: EventID, through: EventID, want: EventFilter, limits: Limits, on connection: Connection
    ) async throws(PostgresError) -> QueueRows {
        let result = await withCheckedContinuation { waiter in
            read(on: connection, after: after, through: through, want: want, limits: limits) { waiter.resume(returning: $0) }
        }
        return try result.get()
    }
}

/// Rows of the event table as they were read, not yet in their wire form.
package struct QueueRows {
    private let rows: Rows
    private let after: EventID
    package let count: Int
    /// Whether a limit ended the page, so that there may be more.
    package let isCut: Bool
    /// How far the rows are complete: up to the bound that was asked for, or that a filter came to, unless a limit cut them
    /// short.
    package let through: EventID

    init(_ rows: Rows, after: EventID, bound: EventID, limits: QueueReader.Limits) {
        self.rows = rows
        self.after = after
        // A filter that found nothing tells only how far it looked.
        count = rows.count > 0 && rows.isNull(0, 0) ? 0 : rows.count
        isCut = QueueRows.isCut(rows, count, limits)
        let last = count > 0 ? EventID(rows.binaryInt8(count - 1, 0)) : after
        let reached = rows.columnCount > 7 && rows.count > 0 ? EventID(rows.binaryInt8(0, 7)) : bound
        through = isCut ? last : reached
    }

    private static func isCut(_ rows: Rows, _ count: Int, _ limits: QueueReader.Limits) -> Bool {
        guard count < limits.rows else { return true }
        var bytes = 0
        for row in 0..<count {
            bytes += EventPage.overhead + Int(Int32(bigEndian: rows.bytes(row, 4).loadUnaligned(as: Int32.self)))
        }
        return bytes >= limits.bytes
    }

    /// The rows as they are remembered.
    package func traces(first count: Int) -> [StreamMemory.Trace] {
        (0..<count).map { .init(id: EventID(rows.binaryInt8($0, 0)), time: rows.binaryInt8($0, 3)) }
    }

    package var ids: [EventID] { (0..<count).map { EventID(rows.binaryInt8($0, 0)) } }

    /// All of them as a page.
    package func page() -> EventPage { encode(count).build(through: through) }

    /// The first `count` of them as a page that ends there; at least one.
    package func page(first count: Int) -> EventPage { encode(count).build(through: EventID(rows.binaryInt8(count - 1, 0))) }

    /// All of them, one by one.
    package func events() throws(StoreError) -> [Event] {
        var events: [Event] = []
        for row in 0..<count {
            guard let type = EventType(wire: rows.bytes(row, 1)) else {
                throw StoreError("event \(rows.binaryInt8(row, 0)) has a type that is none")
            }
            events.append(
                Event(
                    id: EventID(rows.binaryInt8(row, 0)), type: type, data: RawJSON(unchecked: Array(rows.bytes(row, 2))),
                    timestamp: EventTimestamp(postgres: rows.binaryInt8(row, 3)),
                    key: rows.bytesUnlessNull(row, 5).map { String(decoding: $0, as: UTF8.self) },
                    meta: rows.bytesUnlessNull(row, 6).map { RawJSON(unchecked: Array($0)) }))
        }
        return events
    }

    private func encode(_ count: Int) -> EventPageBuilder {
        var page = EventPageBuilder(after: after, capacity: count)
        for row in 0..<count {
            page.append(
                id: EventID(rows.binaryInt8(row, 0)), type: rows.bytes(row, 1), data: rows.bytes(row, 2),
                timestamp: EventTimestamp(postgres: rows.binaryInt8(row, 3)), key: rows.bytesUnlessNull(row, 5),
                meta: rows.bytesUnlessNull(row, 6))
        }
        return page
    }
}
