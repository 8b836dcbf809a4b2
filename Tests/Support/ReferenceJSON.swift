/// RFC 8259 once more, written straight from its grammar, to compare the scanner with.
package struct ReferenceJSON {
    /// What may still come, the next of it last.
    private enum Due { case value, member, firstElement, moreElements, firstMember, moreMembers }

    private var bytes: [UInt8].Iterator
    private var decoder = UTF8()
    private var next: Unicode.Scalar?
    private var isUTF8 = true

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes.makeIterator()
        advance()
    }

    /// Whether `bytes` are one JSON text in UTF-8.
    package static func accepts(_ bytes: [UInt8]) -> Bool {
        var text = ReferenceJSON(bytes)
        return text.isValue()
    }

    private mutating func advance() {
        switch decoder.decode(&bytes) {
        case .scalarValue(let scalar): next = scalar
        case .emptyInput: next = nil
        case .error: (next, isUTF8) = (nil, false)
        }
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard next == scalar else { return false }
        advance()
        return true
    }

    private mutating func space() { while next == " " || next == "\n" || next == "\r" || next == "\t" { advance() } }

    private mutating func isValue() -> Bool {
        var due: [Due] = [.value]
        while let now = due.popLast() {
            space()
            switch now {
            case .value:
                if take("{") {
                    due.append(.firstMember)
                } else if take("[") {
                    due.append(.firstElement)
                } else if !scalar() {
                    return false
                }
            case .member:
                guard string() else { return false }
                space()
                guard take(":") else { return false }
                due.append(.value)
            case .firstElement: if !take("]") { due += [.moreElements, .value] }
            case .moreElements: if take(",") { due += [.moreElements, .value] } else if !take("]") { return false }
            case .firstMember: if !take("}") { due += [.moreMembers, .member] }
            case .moreMembers: if take(",") { due += [.moreMembers, .member] } else if !take("}") { return false }
            }
        }
        space()
        return next == nil && isUTF8
    }

    private mutating func scalar() -> Bool {
        switch next {
        case "\"": string()
        case "t": word("true")
        case "f": word("false")
        case "n": word("null")
        default: number()
        }
    }

    private mutating func word(_ word: StaticString) -> Bool {
        word.withUTF8Buffer { $0.allSatisfy { take(Unicode.Scalar($0)) } }
    }

    private mutating func string() -> Bool {
        guard take("\"") else { return false }
        while let scalar = next {
            advance()
            if scalar == "\"" { return true }
            if scalar.value < 0x20 { return false }
            if scalar == "\\", !escape() { return false }
        }
        return false
    }

    private mutating func escape() -> Bool {
        guard let scalar = next else { return false }
        advance()
        switch scalar {
        case "\"", "\\", "/", "b", "f", "n", "r", "t": return true
        case "u":
            for _ in 0..<4 {
                guard let digit = next, "0123456789abcdefABCDEF".unicodeScalars.contains(digit) else { return false }
                advance()
            }
            return true
        default: return false
        }
    }

    private mutating func digits() -> Bool {
        guard let first = next, ("0"..."9").contains(first) else { return false }
        while let digit = next, ("0"..."9").contains(digit) { advance() }
        return true
    }

    private mutating func number() -> Bool {
        _ = take("-")
        if !take("0") { guard digits() else { return false } }
        if take(".") { guard digits() else { return false } }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            guard digits() else { return false }
        }
        return true
    }
}
