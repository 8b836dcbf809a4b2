/// Walks over JSON text (RFC 8259) without building anything.
///
/// Total: any bytes give a value's extent or an error. Time is linear in the input and depth costs a bit, not a stack
/// frame, so hostile nesting is as harmless as any other input. Strings are checked for valid UTF-8 and well-formed
/// escapes; what they mean (lone surrogates, `\u0000`) is not judged: the text passes through.
struct JSONScanner {
    struct Failure: Error, Hashable {
        let offset: Int
        let reason: String
    }

    let bytes: UnsafeBufferPointer<UInt8>
    private(set) var position: Int

    init(_ bytes: UnsafeBufferPointer<UInt8>, at position: Int = 0) {
        self.bytes = bytes
        self.position = position
    }

    @inline(__always)
    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func failure(_ reason: String) -> Failure { Failure(offset: position, reason: reason) }

    mutating func skipWhitespace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    /// Fails unless only white space is left.
    mutating func end() throws(Failure) {
        skipWhitespace()
        guard position == bytes.count else { throw failure("unexpected text after the value") }
    }

    /// Takes the byte if it comes next, after white space.
    mutating func take(_ byte: UInt8) -> Bool {
        skipWhitespace()
        guard current == byte else { return false }
        position += 1
        return true
    }

    mutating func expect(_ byte: UInt8) throws(Failure) {
        guard take(byte) else { throw failure("expected '\(Character(Unicode.Scalar(byte)))'") }
    }

    /// Walks over one value of any kind and returns where it stands.
    mutating func value() throws(Failure) -> Range<Int> {
        skipWhitespace()
        let start = position
        var open = BitStack()  // true: object, false: array
        repeat {
            // Here a value is due.
            skipWhitespace()
            switch current {
            case UInt8(ascii: "{"):
                position += 1
                if !take(UInt8(ascii: "}")) {
                    open.push(true)
                    try key()
                    continue
                }
            case UInt8(ascii: "["):
                position += 1
                if !take(UInt8(ascii: "]")) {
                    open.push(false)
                    continue
                }
            default: _ = try scalar()
            }
            // Here a value has ended: close what it completes, or step to the next one.
            closing: while let isObject = open.top {
                if take(UInt8(ascii: ",")) {
                    if isObject { try key() }
                    break closing
                }
                try expect(isObject ? UInt8(ascii: "}") : UInt8(ascii: "]"))
                open.pop()
            }
        } while !open.isEmpty
        return start..<position
    }

    private mutating func key() throws(Failure) {
        skipWhitespace()
        _ = try string()
        try expect(UInt8(ascii: ":"))
    }

    private mutating func scalar() throws(Failure) -> Range<Int> {
        switch current {
        case UInt8(ascii: "\""): return try string()
        case UInt8(ascii: "t"): return try literal("true")
        case UInt8(ascii: "f"): return try literal("false")
        case UInt8(ascii: "n"): return try literal("null")
        case nil: throw failure("the text ends where a value is expected")
        default: return try number()
        }
    }

    private mutating func literal(_ word: StaticString) throws(Failure) -> Range<Int> {
        let start = position
        for index in 0..<word.utf8CodeUnitCount {
            guard current == word.utf8Start[index] else { throw failure("unknown literal") }
            position += 1
        }
        return start..<position
    }

    private mutating func number() throws(Failure) -> Range<Int> {
        let start = position
        if current == UInt8(ascii: "-") { position += 1 }
        if current == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if current == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        return start..<position
    }

    private mutating func digits() throws(Failure) {
        guard let first = current, first.isASCIIDigit else { throw failure("expected a value") }
        while let byte = current, byte.isASCIIDigit { position += 1 }
    }

    /// Walks over a string and returns where its contents stand, without the quotes.
    mutating func string() throws(Failure) -> Range<Int> {
        guard current == UInt8(ascii: "\"") else { throw failure("expected a string") }
        position += 1
        let start = position
        while true {
            skipPlain()
            guard let byte = current else { break }
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return start..<(position - 1)
            case UInt8(ascii: "\\"): try escape()
            case 0..<0x20: throw failure("control character in a string")
            case 0x20..<0x80: position += 1
            default: try multibyte(byte)
            }
        }
        throw failure("the text ends within a string")
    }

    /// Steps over the plain part of a string, eight bytes at a time: printable ASCII but for `"` and `\`.
    @inline(__always)
    private mutating func skipPlain() {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs = ones &* 0x80
        while position + 8 <= bytes.count {
            let word = UInt64(
                littleEndian: UnsafeRawPointer(bytes.baseAddress! + position).loadUnaligned(as: UInt64.self))
            let quotes = word ^ (ones &* UInt64(UInt8(ascii: "\"")))
            let slashes = word ^ (ones &* UInt64(UInt8(ascii: "\\")))
            // The high bit of a byte that is a quote, a backslash, below 0x20 or above 0x7F; exact for the first of them.
            let special = ((quotes &- ones) | (slashes &- ones) | (word &- ones &* 0x20) | word) & highs
            guard special == 0 else {
                position += special.trailingZeroBitCount >> 3
                return
            }
            position += 8
        }
    }

    private mutating func escape() throws(Failure) {
        position += 1
        switch current {
        case UInt8(ascii: "u"):
            position += 1
            for _ in 0..<4 {
                guard let digit = current, hexValue(digit) != nil else { throw failure("bad \\u escape") }
                position += 1
            }
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            position += 1
        default: throw failure("bad escape")
        }
    }

    /// One UTF-8 sequence of two to four bytes (Unicode standard, table 3-7).
    private mutating func multibyte(_ lead: UInt8) throws(Failure) {
        let count: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch lead {
        case 0xC2...0xDF: count = 2
        case 0xE0: (count, second) = (3, 0xA0...0xBF)
        case 0xED: (count, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: count = 3
        case 0xF0: (count, second) = (4, 0x90...0xBF)
        case 0xF4: (count, second) = (4, 0x80...0x8F)
        case 0xF1...0xF3: count = 4
        default: throw failure("invalid UTF-8")
        }
        guard position + count <= bytes.count, second.contains(bytes[position + 1]) else {
            throw failure("invalid UTF-8")
        }
        for index in 2..<max(count, 2) {
            guard (0x80...0xBF).contains(bytes[position + index]) else { throw failure("invalid UTF-8") }
        }
        position += count
    }
}

func hexValue(_ digit: UInt8) -> UInt32? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(digit - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(digit - UInt8(ascii: "A") + 10)
    default: nil
    }
}

/// One bit a level: 64 000 levels of nesting cost 8 kB.
private struct BitStack {
    private var words: [UInt64] = []
    private var count = 0

    var isEmpty: Bool { count == 0 }
    var top: Bool? { count == 0 ? nil : words[(count - 1) >> 6] >> UInt64((count - 1) & 63) & 1 == 1 }

    mutating func push(_ bit: Bool) {
        if count & 63 == 0 { words.append(0) }
        let mask: UInt64 = 1 << UInt64(count & 63)
        if bit { words[count >> 6] |= mask } else { words[count >> 6] &= ~mask }
        count += 1
    }

    mutating func pop() {
        count -= 1
        if count & 63 == 0 { words.removeLast() }
    }
}
