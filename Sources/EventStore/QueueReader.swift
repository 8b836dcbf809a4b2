public import EventStream
public import Postgres

/// Reads the event table in pages, into their wire form.
public struct QueueReader: Sendable {
    /// How much one page may hold, in its wire form. A page has at least one event, and ends with the one that reaches the
    /// limit, however large.
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
        let weight = "bytes + \(EventPage.overhead)"
        func sql(_ condition: String) -> String {
            """
            SELECT id, type, data, ts, bytes FROM (
                SELECT id, type, data, ts, bytes, sum(\(weight)) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - (\(weight)) AS before
                FROM \(tables.events.sql) WHERE id > $1::bigint AND id <= $2::bigint\(condition) ORDER BY id LIMIT $3::bigint
            ) page WHERE before < $4::bigint ORDER BY id
            """
        }
        all = Statement(sql(""), name: "evt_page", binaryResults: true)
        filtered = Statement(sql(" AND type = ANY ($5::text[])"), name: "evt_page_of_types", binaryResults: true)
    }

    /// Reads what comes after `after`, in id order, up to and including `through`.
    public func read(
        on connection: Connection, after: EventID, through: EventID = EventID(.max), want: EventFilter = .all,
        limits: Limits, completion: @escaping (Result<QueueRows, PostgresError>) -> Void
    ) {
        var parameters: [Parameter] = [
            .int8(after.rawValue), .int8(through.rawValue), .int8(Int64(limits.rows)), .int8(Int64(limits.bytes)),
        ]
        if let types = want.types { parameters.append(.textArray(types.map(\.utf8))) }
        connection.submit(want.types == nil ? all : filtered, parameters) { result in
            completion(result.map { QueueRows($0, after: after, bound: through, limits: limits) })
        }
    }
}

/// Rows of the event table as they were read, not yet in their wire form.
public struct QueueRows {
    private let rows: Rows
    private let after: EventID
    /// Whether a limit ended the page, so that there may be more.
    public let isCut: Bool
    /// How far the rows are complete: up to the bound that was asked for, unless a limit cut them short.
    public let through: EventID

    init(_ rows: Rows, after: EventID, bound: EventID, limits: QueueReader.Limits) {
        self.rows = rows
        self.after = after
        isCut = QueueRows.isCut(rows, limits)
        let last = rows.count > 0 ? EventID(rows.binaryInt8(rows.count - 1, 0)) : after
        through = isCut ? last : bound
    }

    private static func isCut(_ rows: Rows, _ limits: QueueReader.Limits) -> Bool {
        guard rows.count < limits.rows else { return true }
        var bytes = 0
        for row in 0..<rows.count {
            bytes += EventPage.overhead + Int(Int32(bigEndian: rows.bytes(row, 4).loadUnaligned(as: Int32.self)))
        }
        return bytes >= limits.bytes
    }

    public var count: Int { rows.count }
    public var ids: [EventID] { (0..<rows.count).map { EventID(rows.binaryInt8($0, 0)) } }

    /// All of them as a page.
    public func page() -> EventPage { encode(count).build(through: through) }

    /// The first `count` of them as a page that ends there; at least one.
    public func page(first count: Int) -> EventPage { encode(count).build(through: EventID(rows.binaryInt8(count - 1, 0))) }

    private func encode(_ count: Int) -> EventPageBuilder {
        var page = EventPageBuilder(after: after, capacity: count)
        for row in 0..<count {
            page.append(
                id: EventID(rows.binaryInt8(row, 0)), type: rows.bytes(row, 1), data: rows.bytes(row, 2),
                timestamp: EventTimestamp(postgres: rows.binaryInt8(row, 3)))
        }
        return page
    }
}
