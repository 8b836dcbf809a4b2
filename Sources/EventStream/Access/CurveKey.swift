/// A CURVE key of 32 bytes, written in Z85 (ZeroMQ RFC 32) with 40 characters.
public struct CurveKey: Hashable, Sendable {
    public let bytes: [UInt8]

    /// - Parameter bytes: exactly 32.
    public init?(bytes: [UInt8]) {
        guard bytes.count == CurveKey.size else { return nil }
        self.bytes = bytes
    }

    /// Reads 40 characters of Z85; nil for anything else.
    public init?(z85 text: some Collection<UInt8>) {
        guard text.count == CurveKey.textSize else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(CurveKey.size)
        var (value, count) = (UInt64(0), 0)
        for character in text {
            let digit = CurveKey.digits[Int(character)]
            guard digit < 85 else { return nil }
            value = value * 85 + UInt64(digit)
            count += 1
            guard count % 5 == 0 else { continue }
            // Five digits can say more than four bytes hold.
            guard value <= UInt64(UInt32.max) else { return nil }
            for shift in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift))) }
            value = 0
        }
        self.bytes = bytes
    }

    public init?(_ text: String) { self.init(z85: Array(text.utf8)) }

    /// The 40 characters. Of a secret key they are the secret.
    public var z85: String {
        var text: [UInt8] = []
        for index in stride(from: 0, to: CurveKey.size, by: 4) {
            var value = bytes[index..<index + 4].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            var group: [UInt8] = []
            for _ in 0..<5 {
                group.append(CurveKey.alphabet[Int(value % 85)])
                value /= 85
            }
            text += group.reversed()
        }
        return String(decoding: text, as: UTF8.self)
    }

    public static let size = 32
    public static let textSize = 40

    private static let alphabet = Array(
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#".utf8)

    /// What each character stands for; 255 for those that stand for nothing.
    private static let digits: [UInt8] = {
        var digits = [UInt8](repeating: 255, count: 256)
        for (digit, character) in alphabet.enumerated() { digits[Int(character)] = UInt8(digit) }
        return digits
    }()
}

/// Who a process is towards its peers: a public key and, as a rule, the secret one.
///
/// Never shows the secret: what logs and errors print is the public key.
public struct CurveCertificate: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public let publicKey: CurveKey
    public let secretKey: CurveKey?

    public init(publicKey: CurveKey, secretKey: CurveKey? = nil) {
        self.publicKey = publicKey
        self.secretKey = secretKey
    }

    public var description: String { publicKey.z85 }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: ["publicKey": publicKey.z85]) }

    /// Bytes a certificate's file may have.
    public static let sizeLimit = 65_536

    /// Reads a certificate as czmq and pyzmq write it: ZPL (ZeroMQ RFC 4) with `public-key` and `secret-key` under `curve`.
    ///
    /// - Throws: ``AccessFileError`` with the line at fault; it never quotes the file.
    public init(decoding bytes: [UInt8]) throws(AccessFileError) {
        guard bytes.count <= CurveCertificate.sizeLimit else { throw AccessFileError("it is larger than 64 KiB") }
        var keys: [String: CurveKey] = [:]
        for (number, line) in lines(of: bytes) {
            guard let equals = line.firstIndex(of: UInt8(ascii: "=")), line.first != UInt8(ascii: "#") else { continue }
            let word = trimmed(line[..<equals])
            guard let name = ["public-key", "secret-key"].first(where: { word.elementsEqual($0.utf8) }) else { continue }
            var text = trimmed(line[line.index(after: equals)...])
            if let quote = text.first, quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") {
                guard text.count >= 2, text.last == quote else {
                    throw AccessFileError("line \(number): the quotation mark before the \(name) has no second one")
                }
                text = text.dropFirst().dropLast()
            }
            guard let key = CurveKey(z85: text) else {
                throw AccessFileError("line \(number): the \(name) is not 40 characters of Z85")
            }
            guard keys.updateValue(key, forKey: name) == nil else {
                throw AccessFileError("line \(number): a second \(name)")
            }
        }
        guard let publicKey = keys["public-key"] else { throw AccessFileError("it has no public-key") }
        self.init(publicKey: publicKey, secretKey: keys["secret-key"])
    }

    /// The file's text: with the secret key, or of the public one alone.
    ///
    /// - Parameter comment: one line.
    public func encoded(withSecret: Bool, comment: String) -> String {
        let secret = withSecret ? secretKey : nil
        let kind =
            secret == nil
            ? "#   ZeroMQ CURVE Public Certificate\n#   Give it to those who connect, or list its key among the authorized ones."
            : "#   ZeroMQ CURVE **Secret** Certificate\n#   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions."
        var text = "#   \(comment)\n\(kind)\n\nmetadata\ncurve\n    public-key = \"\(publicKey.z85)\"\n"
        if let secret { text += "    secret-key = \"\(secret.z85)\"\n" }
        return text
    }
}

/// What is wrong with a certificate or with the authorized keys.
public struct AccessFileError: Error, Hashable, Sendable, CustomStringConvertible {
    public let message: String
    public init(_ message: String) { self.message = message }
    public var description: String { message }
}

/// The lines that are not blank, trimmed, with their numbers from 1 on.
package func lines(of bytes: [UInt8]) -> some Sequence<(number: Int, text: ArraySlice<UInt8>)> {
    bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated().lazy
        .map { (number: $0.offset + 1, text: trimmed($0.element)) }
        .filter { !$0.text.isEmpty }
}

func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var text = text
    while let byte = text.first, isBlank(byte) { text = text.dropFirst() }
    while let byte = text.last, isBlank(byte) { text = text.dropLast() }
    return text
}

package func isBlank(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
}
