public import EventStream
public import Postgres

/// Reads the event table in pages, into their wire form.
public struct QueueReader: Sendable {
    /// How much one page may hold. A page has at least one event, however large.
    public struct Limits: Hashable, Sendable {
        public var rows: Int
        public var bytes: Int
        public init(rows: Int = 1000, bytes: Int = 4 << 20) {
            self.rows = rows
            self.bytes = bytes
        }
    }

    private let all: Statement
    private let filtered: Statement

    /// Plans for these statements must merge the segments' indexes, whatever the statistics say.
    public static let settings = [
        "plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off",
    ]

    public init(_ tables: StreamTables) {
        // The window sum bounds the page by bytes on the server, without unpacking what will not be sent.
        func sql(_ condition: String) -> String {
            """
            SELECT id, type, data, ts, bytes FROM (
                SELECT id, type, data, ts, bytes, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - bytes AS before
                FROM \(tables.events.sql) WHERE id > $1::bigint AND id <= $2::bigint\(condition) ORDER BY id LIMIT $3::bigint
            ) page WHERE before < $4::bigint ORDER BY id
            """
        }
        all = Statement(sql(""), name: "evt_page", binaryResults: true)
        filtered = Statement(sql(" AND type = ANY ($5::text[])"), name: "evt_page_of_types", binaryResults: true)
    }

    /// Reads what comes after `after`, in id order, up to and including `through`.
    ///
    /// The page's `through` says how far it is complete: up to the bound, unless a limit cut it short.
    public func page(
        on connection: Connection, after: EventID, through: EventID, want: EventFilter = .all, limits: Limits,
        completion: @escaping (Result<EventPage, PostgresError>) -> Void
    ) {
        rows(on: connection, after: after, through: through, want: want, limits: limits) { result in
            completion(
                result.map { rows in
                    let page = QueueReader.encode(rows, count: rows.count, after: after)
                    return page.build(
                        through: QueueReader.isCut(rows, limits) ? page.lastID ?? after : through)
                })
        }
    }

    /// The rows themselves; see ``encode(_:count:after:)``.
    public func rows(
        on connection: Connection, after: EventID, through: EventID = EventID(.max), want: EventFilter = .all,
        limits: Limits, completion: @escaping (Result<Rows, PostgresError>) -> Void
    ) {
        var parameters: [Parameter] = [
            .int8(after.rawValue), .int8(through.rawValue), .int8(Int64(limits.rows)), .int8(Int64(limits.bytes)),
        ]
        if let types = want.types { parameters.append(.textArray(types.map(\.utf8))) }
        connection.submit(want.types == nil ? all : filtered, parameters, completion: completion)
    }

    /// Whether a limit ended the page, so that there may be more.
    public static func isCut(_ rows: Rows, _ limits: Limits) -> Bool {
        guard rows.count < limits.rows else { return true }
        var bytes = 0
        for row in 0..<rows.count {
            bytes += Int(Int32(bigEndian: rows.bytes(row, 4).loadUnaligned(as: Int32.self)))
        }
        return bytes >= limits.bytes
    }

    public static func id(_ rows: Rows, _ row: Int) -> EventID { EventID(rows.binaryInt8(row, 0)) }

    /// Encodes the first `count` rows.
    public static func encode(_ rows: Rows, count: Int, after: EventID) -> EventPageBuilder {
        var page = EventPageBuilder(after: after, capacity: count)
        for row in 0..<count {
            page.append(
                id: id(rows, row), type: rows.bytes(row, 1), data: rows.bytes(row, 2),
                timestamp: EventTimestamp(postgres: rows.binaryInt8(row, 3)))
        }
        return page
    }
}
