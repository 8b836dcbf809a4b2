extension Target {
    /// Inputs too large to be kept as files or made by libFuzzer. What takes the square of their length takes too long.
    var largeInputs: [(name: String, bytes: [UInt8])] {
        func inputs(_ places: [(String, String)], _ contents: [(name: String, bytes: [UInt8])]) -> [(String, [UInt8])] {
            places.flatMap { before, after in
                contents.map { ("\(before)…\(after) with \($0.name)", Array(before.utf8) + $0.bytes + Array(after.utf8)) }
            }
        }
        return switch self {
        case .wire, .events: inputs(placesOfValues, values) + inputs(placesOfText, texts)
        // No file is read that is larger.
        case .certificate: inputs(placesInCertificates, texts.map { ($0.name, Array($0.bytes.prefix(65_000))) })
        case .authorizedKeys: inputs(placesInAuthorizedKeys, texts)
        }
    }
}

private let placesOfValues = [
    ("", ""), ("{\"f\":", "}"), ("{\"f\":\"futoin.evt.gen:1.1:addEvent\",\"p\":{\"type\":\"A\",\"data\":", "}}"),
    ("{\"f\":\"futoin.evt.push:1.1:readyToReceive\",\"p\":{\"component\":\"A\",\"want\":", "}}"),
    ("{\"f\":\"futoin.ping:1.0:ping\",\"p\":{\"echo\":", "}}"), ("{\"r\":", ",\"rid\":\"C1\"}"),
    ("{\"f\":\"futoin.evt.receiver:1.1:onEvents\",\"p\":{\"seq\":", ",\"events\":[]}}"),
    (
        "{\"f\":\"futoin.evt.receiver:1.1:onEvents\",\"p\":{\"seq\":0,\"events\":[{\"id\":\"1\",\"type\":\"A\",\"data\":",
        ",\"ts\":\"2024-02-29T23:59:59Z\"}]}}"
    ),
]

private let placesOfText = [
    ("\"", "\""), ("{\"", "\":0}"), ("{\"f\":\"", "\"}"), ("{\"f\":\"", ":1.0:ping\"}"), ("{\"f\":\"futoin.ping:1.0:ping", "\"}"),
    ("{\"f\":\"x\",\"", "\":0}"), ("{\"f\":\"x\",\"rid\":\"", "\"}"), ("{\"f\":\"futoin.ping:1.0:ping\",\"p\":{\"", "\":0}}"),
    ("{\"f\":\"futoin.evt.push:1.1:pollEvents\",\"p\":{\"component\":\"A\",\"generation\":\"", "\"}}"),
    ("{\"f\":\"futoin.evt.push:1.1:pollEvents\",\"p\":{\"component\":\"A\",\"precise\":\"", "\"}}"),
    ("{\"f\":\"futoin.evt.push:1.1:pollEvents\",\"p\":{\"component\":\"A", "\"}}"), ("{\"e\":\"", "\",\"edesc\":\"\"}"),
    ("{\"e\":\"Error\",\"edesc\":\"", "\"}"), ("{\"r\":{\"stream\":\"\",\"", "\":\"\"}}"),
    ("{\"f\":\"futoin.evt.receiver:1.1:onEvents\",\"p\":{\"seq\":0,\"events\":[{\"id\":\"1\",\"", "\":\"A\"}]}}"),
]

private let placesInCertificates = [
    ("", "\n"), ("", " = \"\(aKey)\""), ("public-key", " = \"\(aKey)\""), ("public-key = \"", "\""),
    ("public-key = \"\(aKey)\"\n#", ""),
]

private let placesInAuthorizedKeys = [
    ("", ""), ("name", " \(aKey)"), ("name \(aKey) ", ""), ("name \(aKey) gen", ""), ("name \(aKey) components=", ""),
    ("name \(aKey) components", "=A"), ("name \(aKey) types=A,", ""), ("name \(aKey) gen # ", "\nother"),
]

/// Of ZeroMQ RFC 32.
private let aKey = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"

private func repeated(_ text: String, _ count: Int) -> [UInt8] { Array(String(repeating: text, count: count).utf8) }

private let size = 256 << 10

private let values: [(name: String, bytes: [UInt8])] =
    [("arrays", "[", "]"), ("objects", "{\"a\":", "}")].flatMap { name, open, close in
        let (opened, closed) = (repeated(open, 100_000), Array("0".utf8) + repeated(close, 100_000))
        return [
            ("\(name) that are not closed", opened), ("nested \(name)", opened + closed),
            ("\(name) closed once too often", opened + closed + Array(close.utf8)),
        ]
    } + [
        ("digits", repeated("1", size)), ("an exponent", Array("-1e".utf8) + repeated("9", size)),
        ("white space", repeated(" \n", size / 2) + Array("0".utf8)),
        ("a list", Array("[\"A\"".utf8) + repeated(",\"A\"", size / 4) + Array("]".utf8)),
        ("members", Array("{\"a\":0".utf8) + repeated(",\"a\":0", size / 6) + Array("}".utf8)),
    ]

private let texts: [(name: String, bytes: [UInt8])] = [
    ("words", repeated("a ", size / 2)), ("lines", repeated("a\n", size / 2)), ("commas", repeated("A,", size / 2)),
    ("letters", repeated("x", size)), ("colons", repeated(":", size)), ("characters of two bytes", repeated("é", size / 2)),
    ("escapes", repeated("\\n", size / 2)), ("lone surrogates", repeated("\\ud800", size / 6)),
    // To Swift one character, which it puts into Unicode's order before it compares it.
    ("combining marks", repeated("\u{301}\u{323}", size / 4)),
    ("combining marks in escapes", repeated("\\u0301\\u0323", size / 4)),
    ("joined people", repeated("👩\u{200D}", size / 7)), ("flags", repeated("🇩", size / 4)),
    ("a truncated escape", repeated("x", size) + Array("\\u12".utf8)),
    ("a byte that is no UTF-8", repeated("x", size) + [0xFF]),
]
