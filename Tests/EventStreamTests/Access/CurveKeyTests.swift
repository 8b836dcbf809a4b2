import EventStream
import EventStreamServer
import TestSupport
import Testing

@Suite struct CurveKeyTests {
    /// From ZeroMQ RFC 32, with its binary frame.
    @Test func theReferenceKeyIsReadAndWritten() {
        let bytes: [UInt8] = [
            0x8E, 0x0B, 0xDD, 0x69, 0x76, 0x28, 0xB9, 0x1D, 0x8F, 0x24, 0x55, 0x87, 0xEE, 0x95, 0xC5, 0xB0,
            0x4D, 0x48, 0x96, 0x3F, 0x79, 0x25, 0x98, 0x77, 0xB4, 0x9C, 0xD9, 0x06, 0x3A, 0xEA, 0xD3, 0xB7,
        ]
        let text = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
        #expect(CurveKey(bytes: bytes)?.z85 == text)
        #expect(CurveKey(text)?.bytes == bytes)
    }

    @Test func everyKeyComesBack() {
        var random = SplitMix(seed: SplitMix.seedOfRun())
        for _ in 0..<10_000 {
            let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
            let key = CurveKey(bytes: bytes)!
            #expect(key.z85.utf8.count == 40 && CurveKey(key.z85) == key)
        }
    }

    @Test(arguments: [
        "", "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh", "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh66",
        // Not of the alphabet; five digits that are more than 32 bits.
        "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh,", "#####B%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
        "\u{e9}TKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh",
    ])
    func whatIsNoKeyIsNone(_ text: String) { #expect(CurveKey(text) == nil) }

    @Test func certificatesAreReadAsOthersWriteThem() throws {
        let text = """
            #   ****  Generated on 2015-08-12 12:27:02.173000 by pyzmq  ****
            #   ZeroMQ CURVE **Secret** Certificate
            #   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.

            metadata
                name = "a = b"
            curve
                public-key = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
                secret-key = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
            """
        for ending in ["\n", "\r\n"] {
            let certificate = try CurveCertificate(
                decoding: Array(text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: ending).utf8))
            #expect(certificate.publicKey.z85 == "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6")
            #expect(certificate.secretKey?.z85 == "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs")
            for words in ["\(certificate)", String(reflecting: certificate), "\(Optional(certificate) as Any)"] {
                #expect(!words.contains("D:)Q"), "a secret in \(words)")
            }
            var dumped = ""
            dump(certificate, to: &dumped)
            #expect(!dumped.contains("D:)Q") && !dumped.contains("secret"))
        }
    }

    @Test func certificatesComeBack() throws {
        let certificate = CurveCertificate(
            publicKey: CurveKey(bytes: [UInt8](repeating: 7, count: 32))!, secretKey: CurveKey(bytes: [UInt8](0..<32))!)
        let secret = certificate.encoded(withSecret: true, comment: "of a test")
        #expect(try CurveCertificate(decoding: Array(secret.utf8)) == certificate)
        let open = certificate.encoded(withSecret: false, comment: "of a test")
        #expect(try CurveCertificate(decoding: Array(open.utf8)) == CurveCertificate(publicKey: certificate.publicKey))
        #expect(!open.contains(certificate.secretKey!.z85))
    }

    @Test(arguments: [
        ("", "it has no public-key"), ("curve\n  secret-key = \"x\"", "line 2: the secret-key is not 40 characters of Z85"),
        (
            "public-key = \"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
            "line 1: the quotation mark before the public-key has no second one"
        ),
        (
            "public-key = JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6\npublic-key = JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
            "line 2: a second public-key"
        ),
    ])
    func whatIsNoCertificateIsSaidSo(_ text: String, _ message: String) {
        #expect(throws: AccessFileError(message)) { try CurveCertificate(decoding: Array(text.utf8)) }
    }

    @Test func aFileThatIsTooLargeIsRefused() {
        #expect(throws: AccessFileError.self) { try CurveCertificate(decoding: [UInt8](repeating: 32, count: 65_537)) }
        #expect(throws: AccessFileError.self) { try AuthorizedKeys(decoding: [UInt8](repeating: 32, count: 4 << 20 + 1)) }
    }
}
