/// The answer to an archiver that has introduced its warehouse: `{"discarded": "17"}`, or null where nothing is discarded.
package struct ArchiveAdmission: Hashable, Sendable {
    /// Events up to here are in the active database no more, by a look during the call.
    package let discarded: EventID

    package init(discarded: EventID) { self.discarded = discarded }

    package var json: RawJSON {
        .object("discarded", RawJSON(unchecked: Array((discarded == .none ? "null" : "\"\(discarded)\"").utf8)))
    }

    /// Nil for anything else.
    package init?(_ json: RawJSON) {
        guard let members = json.bytes.withUnsafeBufferPointer({ try? objectMembers($0) }),
            let range = members.first(where: { $0.key == "discarded" })?.value
        else { return nil }
        let value = json.bytes[range]
        if value.elementsEqual("null".utf8) {
            discarded = .none
        } else if let id = EventID(wire: value.dropFirst().dropLast()) {
            discarded = id
        } else {
            return nil
        }
    }
}
