/// JSON text that has been checked and is otherwise left alone: every digit, escape and space as it was written.
public struct RawJSON: Hashable, Sendable, CustomStringConvertible {
    public let bytes: [UInt8]

    /// Checks that the bytes are one JSON value (RFC 8259), in UTF-8.
    public init(validating bytes: some Sequence<UInt8>) throws(EventStreamError) {
        self.bytes = Array(bytes)
        do {
            try self.bytes.withUnsafeBufferPointer { bytes throws(JSONScanner.Failure) in
                var scanner = JSONScanner(bytes)
                _ = try scanner.value()
                try scanner.end()
            }
        } catch {
            throw .invalidRequest("not valid JSON: \(error.reason) at byte \(error.offset)")
        }
    }

    public init(_ text: String) throws(EventStreamError) { try self.init(validating: text.utf8) }

    /// For text that is known to be JSON: it was scanned before, or PostgreSQL's `json` type holds it.
    package init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    public static let null = RawJSON(unchecked: Array("null".utf8))
    package static let `true` = RawJSON(unchecked: Array("true".utf8))

    /// - Parameter text: needs no escapes.
    package static func string(_ text: String) -> RawJSON { RawJSON(unchecked: Array("\"\(text)\"".utf8)) }
    package static func object(_ key: String, _ value: RawJSON) -> RawJSON {
        RawJSON(unchecked: Array("{\"\(key)\":".utf8) + value.bytes + [UInt8(ascii: "}")])
    }

    /// A member that is a string; nil where this is no object with such a member.
    package func text(of member: String) -> String? {
        guard let members = bytes.withUnsafeBufferPointer({ try? objectMembers($0) }),
            let range = members.first(where: { $0.key == member })?.value, bytes[range.lowerBound] == UInt8(ascii: "\"")
        else { return nil }
        return JSONText.unescape(bytes[range].dropFirst().dropLast())
    }

    public var description: String { String(decoding: bytes, as: UTF8.self) }
}

enum JSONText {
    /// Appends a quoted string, escaping what RFC 8259 requires.
    static func append(_ string: String, to output: inout [UInt8]) { append(utf8: string.utf8, to: &output) }

    static func append(utf8 bytes: some Sequence<UInt8>, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\""): output += [UInt8(ascii: "\\"), UInt8(ascii: "\"")]
            case UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), UInt8(ascii: "\\")]
            case 0x0A: output += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                output += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }

    /// The string a scanned string's contents stand for. A lone surrogate becomes U+FFFD.
    static func unescape(_ contents: some Collection<UInt8>) -> String {
        guard contents.contains(UInt8(ascii: "\\")) else { return String(decoding: contents, as: UTF8.self) }
        return String(decoding: units(contents), as: UTF16.self)
    }

    /// The same; nil if there is a lone surrogate, which has no UTF-8.
    static func text(_ contents: some Collection<UInt8>) -> String? {
        guard contents.contains(UInt8(ascii: "\\")) else { return String(decoding: contents, as: UTF8.self) }
        return String(validating: units(contents), as: UTF16.self)
    }

    private static func units(_ contents: some Collection<UInt8>) -> [UInt16] {
        var output: [UInt16] = []
        var plain: [UInt8] = []
        func flushPlain() {
            output += Array(String(decoding: plain, as: UTF8.self).utf16)
            plain.removeAll()
        }
        var rest = contents.makeIterator()
        while let byte = rest.next() {
            guard byte == UInt8(ascii: "\\") else {
                plain.append(byte)
                continue
            }
            switch rest.next() {
            case UInt8(ascii: "u"):
                flushPlain()
                var unit: UInt32 = 0
                for _ in 0..<4 { unit = unit << 4 | (rest.next().flatMap(hexValue) ?? 0) }
                output.append(UInt16(truncatingIfNeeded: unit))
            case UInt8(ascii: "b"): plain.append(0x08)
            case UInt8(ascii: "f"): plain.append(0x0C)
            case UInt8(ascii: "n"): plain.append(0x0A)
            case UInt8(ascii: "r"): plain.append(0x0D)
            case UInt8(ascii: "t"): plain.append(0x09)
            case let other?: plain.append(other)
            case nil: break
            }
        }
        flushPlain()
        return output
    }
}

extension RawJSON {
    /// A JSON string with this content.
    public init(string: String) {
        var output: [UInt8] = []
        JSONText.append(string, to: &output)
        self.init(unchecked: output)
    }
}
