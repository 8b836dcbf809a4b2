/// Text that a stranger may have written, made fit for a log or a terminal: nothing in it is obeyed, starts a line, or is invisible.
///
/// Control characters (C0, DEL, C1), line and paragraph separators, and format characters, such as those that turn the direction of
/// writing, are escaped as in JSON: `\n`, `\u001b`.
package enum SafeText {
    /// Whether a terminal, a log or a reader could be deceived by a character.
    package static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7F }
        return switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: true
        default: false
        }
    }

    /// On one line; a backslash stays as it is. For what people read.
    package static func line(_ text: String) -> String { escaped(text, keeping: { _ in false }) }

    /// On the lines it has, those after the first indented: none can be taken for one of ours.
    package static func lines(_ text: String) -> String {
        escaped(text, keeping: { $0 == "\n" }).split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n  ")
    }

    /// The message of a log line: on one line, a backslash doubled, so that nothing reads like an escape that is none.
    package static func message(_ text: String) -> String {
        escaped(text.replacing("\\", with: "\\\\"), keeping: { _ in false })
    }

    /// The value of `key=value` in a log line: as it is where it cannot be misread, else a JSON string.
    package static func value(_ text: String) -> String {
        let isPlain =
            !text.isEmpty
            && !text.unicodeScalars.contains {
                $0 == " " || $0 == "\"" || $0 == "\\" || $0 == "=" || isUnsafe($0) || $0.properties.isWhitespace
            }
        return isPlain ? text : quoted(text)
    }

    /// A JSON string.
    package static func quoted(_ text: String) -> String { escaped(RawJSON(string: text).description, keeping: { _ in false }) }

    /// JSON on one line, fit for a terminal: it means the same.
    package static func json(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.contains(where: { $0 < 0x20 || $0 >= 0x7F }) else { return bytes }
        // Between tokens it is white space; within a string there is none that is not escaped.
        let text = String(decoding: bytes.map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
        return Array(escaped(text, keeping: { _ in false }).utf8)
    }

    private static func escaped(_ text: String, keeping isKept: (Unicode.Scalar) -> Bool) -> String {
        guard text.unicodeScalars.contains(where: { isUnsafe($0) && !isKept($0) }) else { return text }
        var output = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            guard isUnsafe(scalar), !isKept(scalar) else {
                output.append(scalar)
                continue
            }
            switch scalar {
            case "\n": output += "\\n".unicodeScalars
            case "\r": output += "\\r".unicodeScalars
            case "\t": output += "\\t".unicodeScalars
            default:
                for unit in UTF16.encode(scalar)! {
                    let digits = String(unit, radix: 16)
                    output += ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).unicodeScalars
                }
            }
        }
        return String(output)
    }
}
