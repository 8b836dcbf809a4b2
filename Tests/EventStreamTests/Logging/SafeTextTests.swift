import EventStream
import Foundation
import Logging
import Testing

@testable import CommandLineSupport

@Suite("What strangers write, in the log and on a terminal")
struct SafeTextTests {
    /// What a terminal, a log or a reader's eye obeys.
    private static let dangers = [
        "\u{1B}[2J", "\u{0}", "\u{7F}", "\u{9B}31m", "\n", "\r\n", "\t", "\u{2028}", "\u{2029}", "\u{202E}", "\u{2066}",
        "\u{200B}",
        "\u{FEFF}", "\u{E0041}", "\u{85}", "\u{D}",
    ]

    private func isSafe(_ text: String) -> Bool { !text.unicodeScalars.contains { SafeText.isUnsafe($0) } }

    @Test("nothing that is obeyed is left, wherever it stands", arguments: dangers)
    func dangerous(_ danger: String) throws {
        let text = "before\(danger)after"
        for result in [SafeText.line(text), SafeText.message(text), SafeText.value(text), SafeText.quoted(text)] {
            #expect(isSafe(result) && result.contains("before") && result.contains("after"))
        }
        // Nothing is lost either.
        let value = try JSONDecoder().decode(String.self, from: Data(SafeText.value(text).utf8))
        #expect(value == text)
        let json = SafeText.json(Array("{\"a\":\(String(decoding: try JSONEncoder().encode(text), as: UTF8.self))}".utf8))
        #expect(isSafe(String(decoding: json, as: UTF8.self)))
        #expect(try JSONDecoder().decode([String: String].self, from: Data(json)) == ["a": text])
        let line = LogLine(level: .error, label: "evt", message: text, values: [("error", text), (text, "x")])
        for isJSON in [false, true] {
            let bytes = line.bytes(json: isJSON)
            #expect(bytes.last == UInt8(ascii: "\n"))
            #expect(isSafe(String(decoding: bytes.dropLast(), as: UTF8.self)))
        }
    }

    @Test("a value cannot be taken for two")
    func values() {
        for plain in ["local:APP", "tcp://127.0.0.1:5571,ipc:///run/evt", "1.5", "Grüße", "{a}"] {
            #expect(SafeText.value(plain) == plain)
        }
        #expect(SafeText.value("") == "\"\"")
        #expect(SafeText.value("a b") == "\"a b\"")
        #expect(SafeText.value("x\" consumer=local:OTHER") == #""x\" consumer=local:OTHER""#)
        #expect(SafeText.value("user=root") == "\"user=root\"")
        #expect(SafeText.value(#"a\nb"#) == #""a\\nb""#)
        #expect(SafeText.value("a\nb") == #""a\nb""#)
        #expect(SafeText.value("a\u{A0}b") == "\"a\u{A0}b\"")
    }

    @Test("a message is on one line, and what looks like an escape is one")
    func messages() {
        #expect(SafeText.message("a\nb") == #"a\nb"#)
        #expect(SafeText.message(#"a\nb"#) == #"a\\nb"#)
        #expect(SafeText.lines("refused\nERROR: all is lost") == "refused\n  ERROR: all is lost")
        #expect(SafeText.line("\u{E0041}") == #"\udb40\udc41"#)
    }

    @Test("what is endless is cut, and both formats stay readable")
    func long() throws {
        let line = LogLine(
            level: .info, label: "evt", message: "m", values: [("error", String(repeating: "\u{1B}", count: 100_000))])
        #expect(line.bytes(json: false).count < 60_000)
        let object = try JSONDecoder().decode([String: String].self, from: Data(line.bytes(json: true)))
        #expect(object["error"]?.hasSuffix("… 91808 more bytes") == true)
    }
}
