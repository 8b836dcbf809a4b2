/// The statement and binds that add an event to a transaction of the application's own PostgreSQL client: the
/// `addXferEvent` of FTN18 3.2.1.
///
///     let insert = try EventInsert(type: "ORDER_PAID", data: #"{"order": 17}"#, key: "order 17")
///     try await client.query(insert.sql, insert.binds)
public struct EventInsert: Hashable, Sendable {
    /// Takes ``binds`` as `$1`, `$2` and so on, all text; returns the event's id as a `bigint`.
    public let sql: String
    /// The event type, its data as JSON text, then what else was given.
    public let binds: [String]

    /// - Parameters:
    ///   - type: 1 to 16 of `A`-`Z` and `_`.
    ///   - data: one JSON value.
    ///   - key: what the event is about, 1 to 128 bytes.
    ///   - meta: a JSON object of at most 4096 bytes. Nil: that of the setting `eventstream.meta`, or none.
    ///   - idempotencyKey: 1 to 200 bytes; the same call again returns the first id and records nothing.
    ///   - tables: the stream's tables, if they are not the standard ones.
    /// - Throws: `InvalidRequest` if something is not valid or too large; nothing has touched the transaction then.
    public init(
        type: String, data: String, key: String? = nil, meta: String? = nil, idempotencyKey: String? = nil,
        tables: StreamTables = .standard
    ) throws(EventStreamError) {
        guard let eventType = EventType(type) else {
            throw .invalidRequest("invalid event type: \(type.prefix(40)); \(EventFilter.typeRule)")
        }
        let json = try RawJSON(data)
        var object: RawJSON?
        if let meta { object = try RawJSON(meta) }
        try EventDraft(type: eventType, data: json, key: key, meta: object, idempotencyKey: idempotencyKey).check()
        var (binds, arguments) = ([eventType.description, json.description], "$1::text, $2::json")
        func add(_ value: String?, as name: String, _ type: String) {
            guard let value else { return }
            binds.append(value)
            arguments += ", \(name) => $\(binds.count)::\(type)"
        }
        add(key, as: "key", "text")
        add(object?.description, as: "meta", "json")
        add(idempotencyKey, as: "idempotency_key", "text")
        sql = "SELECT \(tables.add.sql)(\(arguments))"
        self.binds = binds
    }
}

extension Event {
    /// Bytes of data an event may have at most: a message with this event alone is still one that travels.
    public static let largestData = MessageLimit.events
}

extension EventStreamError {
    package static func tooLarge(_ bytes: Int) -> EventStreamError {
        .invalidRequest("the event has \(bytes) bytes of data; at most \(Event.largestData) can be recorded")
    }
}
