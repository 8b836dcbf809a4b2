import EventStream

extension RawJSON {
    static func string(_ text: String) -> RawJSON { RawJSON(unchecked: Array("\"\(text)\"".utf8)) }
    static let `true` = RawJSON(unchecked: Array("true".utf8))
    static func object(_ key: String, _ value: RawJSON) -> RawJSON {
        RawJSON(unchecked: Array("{\"\(key)\":".utf8) + value.bytes + [UInt8(ascii: "}")])
    }
}

/// The keys of log entries; metrics and documentation use the same words.
extension String {
    static let database: String = "database"
    static let error: String = "error"
    static let retryIn: String = "retry_in"
    static let endpoints: String = "endpoints"
    static let consumer: String = "consumer"
    static let position: String = "position"
    static let events: String = "events"
    static let reason: String = "reason"
    static let holders: String = "holders"
    static let seconds: String = "seconds"
    static let since: String = "since"
    static let first: String = "first_id"
    static let last: String = "last_id"
    static let attempts: String = "attempts"
    static let settled: String = "settled"
    static let generation: String = "generation"
    static let discarded: String = "discarded"
    static let suppressed: String = "suppressed"
}
