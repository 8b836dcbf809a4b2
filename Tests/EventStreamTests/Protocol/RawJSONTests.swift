import EventStream
import TestSupport
import Testing

@Suite struct RawJSONTests {
    @Test(arguments: [
        "null", "true", "false", "0", "-0", "-1", "10", "1.5", "1e5", "1E+5", "1e-05", "0.0", "-0.1e+0", "\"\"", "\"a\"",
        "[]", "{}", "[ ]", "{ }", " [1 , 2]\n", "\t{\"a\" : [ {} , null ] }\r", "{\"a\":1,\"a\":2}", "{\"\":0}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\uD83D\\uDE00\"",
        "\"é ü 漢 😀 \u{7F} \u{10FFFF} \u{FFFE}\"", "123456789012345678901234567890.123456789012345678901234567890e-1234567890",
    ])
    func valuesOfRFC8259AreTakenAndKeptByteForByte(_ text: String) throws {
        let value = try RawJSON(text)
        #expect(value.bytes == Array(text.utf8))
        #expect(ReferenceJSON.accepts(Array(text.utf8)))
    }

    @Test(arguments: [
        "", " ", "nul", "nulll", "True", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1", "1 2",
        "\"", "\"a", "'a'", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\U1234\"", "\"a\nb\"", "\"\u{1F}\"",
        "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]]", "{", "}", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}",
        "{,}", "{a:1}", "{1:1}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "[}", "{]", "[{]}", "\u{FEFF}1", "1\u{0}", "\u{A0}1",
        "// 1", "/**/1", "[1]x", "{\"a\":}", "[:]", "\"\\ud83\"",
    ])
    func anythingElseIsRefused(_ text: String) {
        #expect(errorName { _ = try RawJSON(text) } == "InvalidRequest")
        #expect(!ReferenceJSON.accepts(Array(text.utf8)))
    }

    @Test(
        arguments: [
            [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x28], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xE2, 0x82], [0xE2, 0x28, 0xA1], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80],
            [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x9F, 0x98], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFE], [0xFF],
        ] as [[UInt8]])
    func stringsThatAreNotUTF8AreRefused(_ bytes: [UInt8]) {
        let quoted = Array("\"".utf8) + bytes + Array("\"".utf8)
        #expect(errorName { _ = try RawJSON(validating: quoted) } == "InvalidRequest")
        // The sequence may also be cut off by the end of the text.
        #expect(errorName { _ = try RawJSON(validating: Array("\"".utf8) + bytes) } == "InvalidRequest")
    }

    @Test func everyUnicodeScalarMayStandInAString() throws {
        for scalar in stride(from: UInt32(0x20), through: 0x10FFFF, by: 97).compactMap(Unicode.Scalar.init) {
            let text = "\"x\(scalar == "\"" || scalar == "\\" ? "y" : Character(scalar))\""
            #expect(try RawJSON(text).description == text)
        }
    }

    @Test func allShortTextsAreJudgedAsTheGrammarJudgesThem() {
        let tokens = ["[", "]", "{", "}", ",", ":", "\"a\"", "1", "-"]
        var texts = [""]
        for _ in 0..<5 {
            texts = texts.flatMap { text in tokens.map { text + $0 } }
            // Longer texts only grow out of a sample, to stay within a second.
            if texts.count > 10_000 {
                texts = texts.enumerated().filter { $0.offset % 7 != 3 }.map(\.element).shuffledPrefix(6000)
            }
            for text in texts {
                let accepted = (try? RawJSON(text)) != nil
                if accepted != ReferenceJSON.accepts(Array(text.utf8)) { Issue.record("\(text) is judged wrongly: \(accepted)") }
            }
        }
    }

    @Test func nestingCostsNoStack() throws {
        let depth = 100_000
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":[", "]}]")] {
            let text = String(repeating: open, count: depth) + "0" + String(repeating: close, count: depth)
            #expect(try RawJSON(text).bytes.count == text.utf8.count)
            #expect(errorName { _ = try RawJSON(String(text.dropLast())) } == "InvalidRequest")
            #expect(errorName { _ = try RawJSON(text + close) } == "InvalidRequest")
            #expect(errorName { _ = try RawJSON(String(repeating: open, count: depth)) } == "InvalidRequest")
        }
    }

    @Test func mismatchedBracketsAreFoundAtAnyDepth() {
        // The stack of brackets is kept in words of 64 bits: its edges matter.
        for depth in [1, 63, 64, 65, 127, 128, 129, 1000] {
            let open = String(repeating: "[", count: depth)
            let close = String(repeating: "]", count: depth)
            #expect(errorName { _ = try RawJSON(open + close) } == nil)
            #expect(errorName { _ = try RawJSON(open + "{}" + close) } == nil)
            #expect(errorName { _ = try RawJSON(open + "{" + close + "}") } == "InvalidRequest")
            #expect(errorName { _ = try RawJSON(open + close.dropLast() + "}") } == "InvalidRequest")
        }
    }

    @Test(arguments: ["", "plain", "q\"uote", "back\\slash", "line\nfeed", "\u{0}\u{1F}\u{7F}", "é漢😀", "/"])
    func aStringIsQuotedSoThatItReadsBack(_ text: String) throws {
        let quoted = RawJSON(string: text)
        #expect(try RawJSON(validating: quoted.bytes) == quoted)
        let request = try WireMessage(decoding: Array("{\"f\":\(quoted)}".utf8))
        #expect(request == .request(.init(function: text)))
    }
}

extension Array {
    /// A sample that is the same in every run.
    fileprivate func shuffledPrefix(_ count: Int) -> [Element] {
        var random = SplitMix(seed: UInt64(self.count))
        return Array(shuffled(using: &random).prefix(count))
    }
}
