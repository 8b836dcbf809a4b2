/// One SQL statement with its parameters as `$1`, `$2`, …
package struct Statement: Sendable, Hashable {
    package let sql: String
    /// A name makes it prepared: parsed and planned once per connection. Two statements must not share a name.
    package let name: String?
    /// Whether values come back in PostgreSQL's binary format (network byte order) instead of text.
    package let binaryResults: Bool

    package init(_ sql: String, name: String? = nil, binaryResults: Bool = false) {
        self.sql = sql
        self.name = name
        self.binaryResults = binaryResults
    }
}

extension Statement: ExpressibleByStringLiteral {
    package init(stringLiteral sql: String) { self.init(sql) }
}

/// A value bound to a statement's parameter. The server derives the type from the statement.
package enum Parameter: Sendable, Hashable {
    case null
    case text(String)
    /// Text given as UTF-8 bytes, without a zero byte.
    case utf8([UInt8])
    /// A `bigint`, in binary.
    case int8(Int64)
    case bool(Bool)
    /// A `text[]`, in binary: no quoting, any content.
    case textArray([[UInt8]])
    /// A `bigint[]`, in binary.
    case int8Array([Int64])

    package static func strings(_ values: [String]) -> Parameter { .textArray(values.map { Array($0.utf8) }) }
    package static func optional(_ value: String?) -> Parameter { value.map { .text($0) } ?? .null }

    /// The bytes libpq is given, and whether they are in the binary format; nil for NULL.
    var encoded: (bytes: [UInt8], binary: Bool)? {
        switch self {
        case .null: return nil
        case .text(let value): return (Array(value.utf8) + [0], false)
        case .utf8(let bytes): return (bytes + [0], false)
        case .int8(let value): return (bigEndian(value), true)
        case .bool(let value): return ([value ? 1 : 0], true)
        case .textArray(let values): return (array(of: values, elementType: 25), true)
        case .int8Array(let values): return (array(of: values.map(bigEndian), elementType: 20), true)
        }
    }

    /// A one-dimensional array without NULLs, as `array_recv` reads it.
    private func array(of elements: [[UInt8]], elementType: Int32) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(20 + elements.reduce(0) { $0 + $1.count + 4 })
        bytes += bigEndian(Int32(elements.isEmpty ? 0 : 1)) + bigEndian(Int32(0)) + bigEndian(elementType)
        guard !elements.isEmpty else { return bytes }
        bytes += bigEndian(Int32(elements.count)) + bigEndian(Int32(1))
        for element in elements {
            bytes += bigEndian(Int32(element.count))
            bytes += element
        }
        return bytes
    }

    private func bigEndian<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
}

/// A name quoted for use in SQL (`PQescapeIdentifier`'s rule: double quotes are doubled).
package func quotedIdentifier(_ name: String) -> String { "\"" + doubling("\"", in: name) + "\"" }

/// A string literal for the few commands that take no parameters (LISTEN, SET, DDL).
package func quotedLiteral(_ value: String) -> String {
    let quoted = "'" + doubling("'", in: value) + "'"
    return value.unicodeScalars.contains("\\") ? " E" + doubling("\\", in: quoted) : quoted
}

/// By scalars, as the server reads: a quote with a combining mark behind it is one `Character`, and still a quote.
private func doubling(_ scalar: Unicode.Scalar, in text: String) -> String {
    var result = String.UnicodeScalarView()
    for each in text.unicodeScalars {
        if each == scalar { result.append(each) }
        result.append(each)
    }
    return String(result)
}
