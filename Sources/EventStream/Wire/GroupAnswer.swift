/// A receiver's answer to a group of events (protocol, section 8.2).
package enum GroupAnswer: Hashable, Sendable {
    case processed
    /// Only in sessions with partial processing.
    ///
    /// - Parameters:
    ///   - through: the last event that was processed; nil if none was.
    ///   - failed: the event after that, which could not be processed.
    case partly(through: EventID?, failed: EventID, error: String)
    /// Nothing of the group counts as processed.
    case failed(String)

    package static let textLimit = 1000

    package init(_ outcome: Result<RawJSON, EventStreamError>) {
        switch outcome {
        case .failure(let error): self = .failed(error.description)
        case .success(.true): self = .processed
        case .success(let result): self = GroupAnswer(partly: result) ?? .failed("answered \(result), not true")
        }
    }

    /// Nil for anything but exactly the object of the protocol.
    private init?(partly json: RawJSON) {
        guard json.bytes.first == UInt8(ascii: "{"),
            let members = json.bytes.withUnsafeBufferPointer({ try? objectMembers($0) }), members.count == 3
        else { return nil }
        func text(_ name: String) -> String? {
            guard let range = members.first(where: { $0.key == name })?.value, json.bytes[range.lowerBound] == UInt8(ascii: "\"")
            else { return nil }
            return JSONText.unescape(json.bytes[range].dropFirst().dropLast())
        }
        guard let failed = text("failed").flatMap({ EventID($0) }), let error = text("error"),
            let through = members.first(where: { $0.key == "through" })?.value
        else { return nil }
        guard !json.bytes[through].elementsEqual("null".utf8) else {
            self = .partly(through: nil, failed: failed, error: error)
            return
        }
        guard let last = text("through").flatMap({ EventID($0) }) else { return nil }
        self = .partly(through: last, failed: failed, error: error)
    }

    /// Why not all of the group was processed; nil if it was.
    package var error: String? {
        switch self {
        case .processed: nil
        case .partly(_, _, let error): error
        case .failed(let text): text
        }
    }

    /// What a receiver answers.
    package var outcome: Result<RawJSON, EventStreamError> {
        switch self {
        case .processed: return .success(.true)
        case .failed(let text): return .failure(.internalError(text))
        case .partly(let through, let failed, let error):
            var output = Array("{\"through\":\(through.map { "\"\($0)\"" } ?? "null"),\"failed\":\"\(failed)\",\"error\":".utf8)
            JSONText.append(String(decoding: error.utf8.prefix(GroupAnswer.textLimit), as: UTF8.self), to: &output)
            return .success(RawJSON(unchecked: output + [UInt8(ascii: "}")]))
        }
    }
}
