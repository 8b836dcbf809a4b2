/// A table's name, possibly with a schema; and the names of what belongs to it.
public struct TableName: Hashable, Sendable, CustomStringConvertible {
    public let schema: String?
    public let name: String

    /// Reads `table` or `schema.table`. Each part is at most 40 bytes, so that derived names fit PostgreSQL's 63, and without
    /// `$$`, which ends the body of a function.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard (1...2).contains(parts.count),
            parts.allSatisfy({ (1...40).contains($0.utf8.count) && !$0.utf8.contains(0) && !$0.contains("$$") })
        else { return nil }
        schema = parts.count == 2 ? parts[0] : nil
        name = parts[parts.count - 1]
    }

    public init(schema: String?, name: String) {
        self.schema = schema
        self.name = name
    }

    /// The table in this schema, unless it names one itself.
    package func qualified(in schema: String) -> TableName { TableName(schema: self.schema ?? schema, name: name) }

    /// A name derived from the table's, in the same schema.
    package func with(suffix: String) -> TableName { TableName(schema: schema, name: name + suffix) }

    /// The name for use in SQL, quoted.
    package var sql: String {
        [schema, name].compactMap { $0 }.map(quoted).joined(separator: ".")
    }

    public var description: String { [schema, name].compactMap { $0 }.joined(separator: ".") }
}

/// The tables of one stream in its active database.
public struct StreamTables: Hashable, Sendable {
    public let events: TableName
    public let consumers: TableName

    public init(events: TableName, consumers: TableName) {
        self.events = events
        self.consumers = consumers
    }

    public static let standard = StreamTables(
        events: TableName(schema: nil, name: "evt_queue"), consumers: TableName(schema: nil, name: "evt_consumers"))

    /// One row: how far the stream is settled and discarded.
    package var state: TableName { events.with(suffix: "_state") }
    /// The pushers at work, with their heartbeats.
    package var pushers: TableName { events.with(suffix: "_pushers") }
    /// The tokens that archivers have given their positions in warehouses.
    package var archives: TableName { events.with(suffix: "_archives") }
    /// When the stream was settled up to which id: from this follows since when events wait.
    package var marks: TableName { events.with(suffix: "_marks") }
    /// Events whose data was erased on purpose.
    package var erasures: TableName { events.with(suffix: "_erasures") }
    /// Events that consumers could not process: `evt_parked` for the standard table, `<table>_parked` for any other.
    package var parked: TableName {
        events.name == "evt_queue" ? TableName(schema: events.schema, name: "evt_parked") : events.with(suffix: "_parked")
    }
    package var migrations: TableName { events.with(suffix: "_migrations") }
    package var sequence: TableName { events.with(suffix: "_id_seq") }
    /// A sequence that nothing is drawn from: up to its value events have been delivered.
    package var mark: TableName { events.with(suffix: "_settled") }
    /// The function applications call: `evt_add` for the standard table, `<table>_add` for any other. Data is json, jsonb or text.
    package var add: TableName {
        events.name == "evt_queue" ? TableName(schema: events.schema, name: "evt_add") : events.with(suffix: "_add")
    }
    /// The two tables of idempotency keys, and when each of them was emptied.
    package var keys: (a: TableName, b: TableName) { (events.with(suffix: "_keys_a"), events.with(suffix: "_keys_b")) }
    package var rotation: TableName { events.with(suffix: "_rotation") }
    /// The function that empties them in turn.
    package var rotate: TableName { events.with(suffix: "_rotate") }
    /// The function that records the generator's events, some of them with idempotency keys.
    package var addAll: TableName { events.with(suffix: "_add_all") }

    /// The types of the parameters of ``add``, for each type of data.
    package static let addArguments = ["json", "jsonb", "text"].map { "text, \($0), text, json, text" }

    /// What an event has.
    package static let eventColumns = ["id", "type", "data", "ts", "bytes", "key", "meta"]

    /// How many leaves the ring of segments has, and how many ids a segment holds.
    package static let segmentCount = 8
    package static let segmentBits = 17
    package func segment(_ index: Int) -> TableName { events.with(suffix: "_\(index)") }
    /// The leaf an id lives in.
    package static func segmentIndex(of id: EventID) -> Int { Int(id.rawValue >> Int64(segmentBits)) & (segmentCount - 1) }
}

/// By scalars, as the server reads: a quote with a combining mark behind it is one `Character`, and still a quote.
private func quoted(_ name: String) -> String {
    let doubled = name.unicodeScalars.flatMap { $0 == "\"" ? [$0, $0] : [$0] }
    return "\"" + String(String.UnicodeScalarView(doubled)) + "\""
}
