import EventStream

/// Carries a value of the loop's thread through a `@Sendable` closure that runs on the same thread.
/// `@unchecked Sendable`: it is only ever opened on the loop it was made on.
struct Unchecked<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

extension RawJSON {
    static func string(_ text: String) -> RawJSON { RawJSON(unchecked: Array("\"\(text)\"".utf8)) }
    static let `true` = RawJSON(unchecked: Array("true".utf8))
    static func object(_ key: String, _ value: RawJSON) -> RawJSON {
        RawJSON(unchecked: Array("{\"\(key)\":".utf8) + value.bytes + [UInt8(ascii: "}")])
    }
}

/// The keys of log entries; metrics and documentation use the same words.
extension String {
    static let database = "database"
    static let error = "error"
    static let retryIn = "retry_in"
    static let endpoints = "endpoints"
    static let consumer = "consumer"
    static let position = "position"
    static let events = "events"
    static let reason = "reason"
    static let holders = "holders"
    static let seconds = "seconds"
    static let first = "first_id"
    static let last = "last_id"
    static let attempts = "attempts"
    static let settled = "settled"
    static let component = "component"
    static let discarded = "discarded"
}
