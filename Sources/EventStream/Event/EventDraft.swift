/// An event to be recorded: what `addEvent` takes (protocol, sections 4 and 8.4).
package struct EventDraft: Hashable, Sendable {
    package let type: EventType
    package let data: RawJSON
    /// What the event is about.
    package let key: String?
    /// A JSON object that tells how the event came about.
    package let meta: RawJSON?
    /// A second draft with the same one is not recorded again.
    package let idempotencyKey: String?

    package static let largestKey = 128
    package static let largestMeta = 4096
    package static let largestIdempotencyKey = 200

    package init(type: EventType, data: RawJSON, key: String? = nil, meta: RawJSON? = nil, idempotencyKey: String? = nil) {
        (self.type, self.data, self.key, self.meta, self.idempotencyKey) = (type, data, key, meta, idempotencyKey)
    }

    /// Whether there is nothing but type and data.
    package var isPlain: Bool { key == nil && meta == nil && idempotencyKey == nil }

    /// Bytes of all that is recorded, but the type.
    package var bytes: Int {
        data.bytes.count + (key?.utf8.count ?? 0) + (meta?.bytes.count ?? 0) + (idempotencyKey?.utf8.count ?? 0)
    }

    /// - Throws: `InvalidRequest` if it can never be recorded, in words that say what the limit is.
    package func check() throws(EventStreamError) {
        guard data.bytes.count <= Event.largestData else { throw .tooLarge(data.bytes.count) }
        try checkKeysAndMeta()
    }

    /// The same of all but the data.
    func checkKeysAndMeta() throws(EventStreamError) {
        try EventDraft.check(key, "key", EventDraft.largestKey)
        try EventDraft.check(idempotencyKey, "idempotency_key", EventDraft.largestIdempotencyKey)
        guard let meta else { return }
        guard meta.isObject else { throw .invalidRequest("meta must be a JSON object") }
        guard meta.bytes.count <= EventDraft.largestMeta else {
            throw .invalidRequest("meta has \(meta.bytes.count) bytes; at most \(EventDraft.largestMeta) can be recorded")
        }
    }

    private static func check(_ text: String?, _ name: String, _ limit: Int) throws(EventStreamError) {
        guard let text else { return }
        guard (1...limit).contains(text.utf8.count) else {
            throw .invalidRequest("\(name) has \(text.utf8.count) bytes; it must have 1 to \(limit)")
        }
        guard !text.utf8.contains(0) else { throw .invalidRequest("\(name) must not have the character U+0000") }
    }
}

extension RawJSON {
    /// Whether the value is an object; white space around it does not matter.
    var isObject: Bool { bytes.first { !" \t\n\r".utf8.contains($0) } == UInt8(ascii: "{") }
}
