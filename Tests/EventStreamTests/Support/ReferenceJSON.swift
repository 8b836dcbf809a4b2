/// RFC 8259 once more, written straight from its grammar: slow and recursive, to compare the scanner with.
struct ReferenceJSON {
    private var rest: Substring.UnicodeScalarView

    static func accepts(_ text: String) -> Bool {
        var grammar = ReferenceJSON(rest: Substring(text).unicodeScalars)
        return grammar.element() && grammar.rest.isEmpty
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard rest.first == scalar else { return false }
        rest.removeFirst()
        return true
    }

    private mutating func space() { while let next = rest.first, " \n\r\t".unicodeScalars.contains(next) { rest.removeFirst() } }

    private mutating func element() -> Bool {
        space()
        defer { space() }
        if take("{") {
            space()
            if take("}") { return true }
            repeat {
                space()
                guard string() else { return false }
                space()
                guard take(":"), element() else { return false }
            } while take(",")
            return take("}")
        }
        if take("[") {
            space()
            if take("]") { return true }
            repeat { guard element() else { return false } } while take(",")
            return take("]")
        }
        if rest.first == "\"" { return string() }
        for word in ["true", "false", "null"] where rest.starts(with: word.unicodeScalars) {
            rest.removeFirst(word.unicodeScalars.count)
            return true
        }
        return number()
    }

    private mutating func string() -> Bool {
        guard take("\"") else { return false }
        while let next = rest.popFirst() {
            if next == "\"" { return true }
            if next.value < 0x20 { return false }
            guard next == "\\" else { continue }
            guard let escape = rest.popFirst() else { return false }
            if escape == "u" {
                for _ in 0..<4 { guard let digit = rest.popFirst(), digit.properties.isASCIIHexDigit else { return false } }
            } else if !"\"\\/bfnrt".unicodeScalars.contains(escape) {
                return false
            }
        }
        return false
    }

    private mutating func digits() -> Bool {
        let before = rest.count
        while let next = rest.first, ("0"..."9").contains(next) { rest.removeFirst() }
        return rest.count < before
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
