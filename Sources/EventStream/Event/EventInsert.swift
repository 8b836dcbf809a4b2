/// The statement and binds that add an event to a transaction of the application's own PostgreSQL client: the
/// `addXferEvent` of FTN18 3.2.1.
///
///     let insert = try EventInsert(type: "ORDER_PAID", data: #"{"order": 17}"#)
///     try await client.query(insert.sql, insert.binds)
public struct EventInsert: Hashable, Sendable {
    /// Takes two binds, `$1` and `$2`, both text; returns the new event's id as a `bigint`.
    public let sql: String
    /// The event type and its data as JSON text.
    public let binds: [String]

    /// - Parameters:
    ///   - type: 1 to 16 of `A`-`Z` and `_`.
    ///   - data: one JSON value.
    ///   - tables: the stream's tables, if they are not the standard ones.
    /// - Throws: `InvalidRequest` if the type or the data is not valid, or the data too large; nothing has touched the transaction then.
    public init(type: String, data: String, tables: StreamTables = .standard) throws(EventStreamError) {
        guard let eventType = EventType(type) else {
            throw .invalidRequest("invalid event type: \(type.prefix(40)); it must be 1 to 16 of A-Z and _")
        }
        let json = try RawJSON(data)
        guard json.bytes.count <= Event.largestData else { throw .tooLarge(json.bytes.count) }
        sql = "SELECT \(tables.add.sql)($1::text, $2::json)"
        binds = [eventType.description, json.description]
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
