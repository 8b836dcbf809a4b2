import EventStream
import EventStreamClient
import Foundation
import TestSupport
import Testing

@testable import EventStreamArchiver
@testable import EventStreamGenerator
@testable import EventStreamPusher
@testable import EventStreamServer

@Suite struct KeySettingsTests {
    private static let certificate = CurveCertificate(
        publicKey: CurveKey(bytes: [UInt8](repeating: 1, count: 32))!,
        secretKey: CurveKey(bytes: [UInt8](repeating: 2, count: 32))!)
    private static let serverKey = CurveKey(bytes: [UInt8](repeating: 3, count: 32))!

    private struct Files {
        let directory: String
        var secret: String { "\(directory)/own.key_secret" }
        var authorized: String { "\(directory)/authorized_keys" }

        func write(_ text: String, _ path: String, mode: Int = 0o600) throws {
            try Data(text.utf8).write(to: URL(filePath: path))
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }
    }

    private static func with(_ body: (Files) async throws -> Void) async throws {
        try await ScratchDirectory.with { directory in
            let files = Files(directory: directory)
            try files.write(certificate.encoded(withSecret: true, comment: "own"), files.secret)
            try files.write("user \(serverKey.z85) gen\n", files.authorized)
            try await body(files)
        }
    }

    private static func reader(_ settings: [String: String]) async throws -> SettingsReader {
        try await SettingsReader(flags: settings, environment: ["EVT_DATABASE_URL": "host=db", "EVT_ARCHIVE_URL": "host=dwh"])
    }

    /// What is wrong with settings, as a person is told.
    private static func complaint(_ settings: [String: String], of role: (SettingsReader) throws -> Void) async throws -> String {
        do {
            try role(try await reader(settings))
            return "nothing"
        } catch let error as ConfigurationError {
            #expect(!error.message.contains(certificate.secretKey!.z85), "a secret in \(error)")
            return error.message
        }
    }

    @Test func serversAndClientsGetTheirKeys() async throws {
        try await Self.with { files in
            let server = try await Self.reader(["EVT_CURVE_KEY": files.secret, "EVT_AUTHORIZED_KEYS": files.authorized])
            for keys in [try server.generator().keys, try server.pusher().keys] {
                #expect(keys?.certificate == Self.certificate)
                #expect(keys?.authorized.keys[Self.serverKey]?.name == "user")
            }
            try files.write(
                CurveCertificate(publicKey: Self.serverKey).encoded(withSecret: false, comment: "server"),
                "\(files.directory)/server.key")
            for key in [Self.serverKey.z85, "\(files.directory)/server.key"] {
                let client = try await Self.reader(["EVT_CURVE_KEY": files.secret, "EVT_SERVER_KEY": key])
                #expect(try client.clientKeys()?.serverKey == Self.serverKey)
                #expect(try client.archiver().keys?.certificate == Self.certificate)
            }
            let neither = try await Self.reader([:])
            #expect(try neither.pusher().keys == nil && neither.archiver().keys == nil)
        }
    }

    @Test func halfOfItIsAnErrorThatSaysWhatIsMissing() async throws {
        try await Self.with { files in
            let cases: [([String: String], (SettingsReader) throws -> Void, String)] = [
                (["EVT_CURVE_KEY": files.secret], { _ = try $0.pusher() }, "EVT_AUTHORIZED_KEYS is not"),
                (["EVT_AUTHORIZED_KEYS": files.authorized], { _ = try $0.generator() }, "EVT_CURVE_KEY is not"),
                (["EVT_CURVE_KEY": files.secret], { _ = try $0.archiver() }, "EVT_SERVER_KEY is not"),
                (["EVT_SERVER_KEY": Self.serverKey.z85], { _ = try $0.clientKeys() }, "EVT_CURVE_KEY is not"),
            ]
            for (settings, role, words) in cases {
                let complaint = try await Self.complaint(settings, of: role)
                #expect(complaint.contains(words), "\(complaint)")
            }
        }
    }

    @Test func filesThatWillNotDoAreNamed() async throws {
        try await Self.with { files in
            let both = ["EVT_CURVE_KEY": files.secret, "EVT_AUTHORIZED_KEYS": files.authorized]
            func complaint() async throws -> String { try await Self.complaint(both) { _ = try $0.pusher() } }
            try files.write(Self.certificate.encoded(withSecret: true, comment: "own"), files.secret, mode: 0o644)
            #expect(try await complaint().contains("open to everyone: chmod 600"))
            try files.write(Self.certificate.encoded(withSecret: false, comment: "own"), files.secret)
            #expect(try await complaint().contains("\(files.secret) has no secret-key"))
            try files.write("secret-key = \"\(Self.certificate.secretKey!.z85)\"", files.secret)
            #expect(try await complaint().contains("\(files.secret) is no certificate: it has no public-key"))
            try files.write(Self.certificate.encoded(withSecret: true, comment: "own"), files.secret)
            try files.write("user \(Self.serverKey.z85) gen\nuser gen\n", files.authorized)
            let lines = try await complaint()
            #expect(lines.contains(files.authorized) && lines.contains("line 2"))
            try FileManager.default.removeItem(atPath: files.authorized)
            #expect(try await complaint().contains(files.authorized))
        }
    }

    @Test func withKeysAnyAddressWillDo() async throws {
        try await Self.with { files in
            var settings = ["EVT_PUSHER_BIND": "tcp://0.0.0.0:1", "EVT_LIVE_BIND": ""]
            let open = try await Self.reader(settings).pusher()
            #expect(throws: ConfigurationError.self) {
                try open.bind.requireLocal(setting: "EVT_PUSHER_BIND", allowed: open.insecure || open.keys != nil)
            }
            settings.merge(["EVT_CURVE_KEY": files.secret, "EVT_AUTHORIZED_KEYS": files.authorized]) { $1 }
            let keyed = try await Self.reader(settings).pusher()
            #expect(keyed.keys != nil && !keyed.insecure)
        }
    }
}
