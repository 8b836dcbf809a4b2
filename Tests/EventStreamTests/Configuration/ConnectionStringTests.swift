import FoundationEssentials
import Testing

@testable import EventStreamArchiver
@testable import EventStreamDiscarder
@testable import EventStreamGenerator
@testable import EventStreamPusher
@testable import EventStreamServer

/// Connection strings in files of their own.
@Suite struct ConnectionStringTests {
    private static let pairs = [
        (Settings.all.databaseURL.facts, Settings.all.databaseURLFile.facts),
        (Settings.all.archiveURL.facts, Settings.all.archiveURLFile.facts),
    ]

    private func read(_ setting: SettingFacts, _ environment: [String: String]) async throws -> String? {
        let reader = try await SettingsReader(flags: [:], environment: environment)
        return try setting == Settings.all.databaseURL.facts ? reader.databaseURL() : reader.archiveURL()
    }

    private func withFile(_ bytes: [UInt8], _ body: (String) async throws -> Void) async throws {
        let path = "/tmp/evt-url-\(UInt64.random(in: 0...UInt64.max))"
        try Data(bytes).write(to: URL(filePath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    @Test(arguments: [
        "postgresql://u:p%20w@h/d", "  host=h password='a b'\n", "\r\n\t host=h\r\n", "host=h password=ä€😀",
        "host=" + String(repeating: "h", count: (64 << 10) - 6) + "\n",
    ]) func aFileHoldsOne(_ text: String) async throws {
        try await withFile(Array(text.utf8)) { path in
            for (setting, file) in Self.pairs {
                let url = try await read(setting, [file.name: path])
                #expect(url == text[...].trimmed)
                #expect(try await read(setting, [file.name: path, setting.name: ""]) == url)
            }
        }
    }

    @Test func aConnectionStringNeedsNoFile() async throws {
        for (setting, file) in Self.pairs {
            #expect(try await read(setting, [setting.name: "host=h", file.name: ""]) == "host=h")
            #expect(try await read(setting, [:]) == nil)
        }
    }

    struct Unfit: Sendable, CustomTestStringConvertible {
        let what: String
        let bytes: [UInt8]
        var testDescription: String { what }
    }

    @Test(arguments: [
        Unfit(what: "is empty", bytes: []), Unfit(what: "is empty", bytes: Array(" \n\t\r\n".utf8)),
        Unfit(what: "has several lines", bytes: Array("host=s3cret\npassword=s3cret\n".utf8)),
        Unfit(what: "has several lines", bytes: Array("host=s3cret\rpassword=s3cret".utf8)),
        Unfit(what: "has more than 64 KiB", bytes: Array(String(repeating: "s3cret", count: 11_000).utf8)),
        Unfit(what: "is not UTF-8 text", bytes: Array("s3cret".utf8) + [0xFF]),
        Unfit(what: "is not UTF-8 text", bytes: Array("s3cret\0s3cret".utf8)),
    ]) func whatDoesNotFitIsNamedAndNotShown(_ unfit: Unfit) async throws {
        try await withFile(unfit.bytes) { path in
            for (setting, file) in Self.pairs { try await expect(unfit.what, at: path, setting, file) }
        }
    }

    @Test func whatCannotBeReadIsNamed() async throws {
        for (setting, file) in Self.pairs {
            try await expect("cannot be read: No such file", at: "/nonexistent/url", setting, file)
            try await expect("cannot be read: Is a directory", at: "/tmp", setting, file)
        }
    }

    private func expect(_ what: String, at path: String, _ setting: SettingFacts, _ file: SettingFacts) async throws {
        do {
            _ = try await read(setting, [file.name: path])
            Issue.record("\(path) was taken")
        } catch let error as ConfigurationError {
            for part in [file.name, path, what] { #expect(error.message.contains(part), "\(error)") }
            #expect(!error.message.contains("s3cret"))
        }
    }

    @Test func onlyOneOfTheTwoCanBeSet() async throws {
        try await withFile(Array("host=s3cret".utf8)) { path in
            for (setting, file) in Self.pairs {
                do {
                    _ = try await read(setting, [setting.name: "host=s3cret", file.name: path])
                    Issue.record("both were taken")
                } catch let error as ConfigurationError {
                    #expect(error.message.contains("\(setting.name) and \(file.name) are both set"))
                    #expect(!error.message.contains("s3cret"))
                }
            }
        }
    }

    @Test func theRolesReadTheirFiles() async throws {
        try await withFile(Array("host=db1\n".utf8)) { active in
            try await withFile(Array("host=db2\n".utf8)) { warehouse in
                let settings = [
                    "EVT_DATABASE_URL_FILE": active, "EVT_ARCHIVE_URL_FILE": warehouse, "EVT_DISCARD_REQUIRE": "ARCHIVER",
                ]
                let reader = try await SettingsReader(flags: settings, environment: [:])
                #expect(try reader.pusher().database.url == "host=db1")
                #expect(try reader.generator().database.url == "host=db1")
                #expect(try reader.archiver().url == "host=db2")
                let discarder = try reader.discarder()
                #expect((discarder.database.url, discarder.required.map(\.url)) == ("host=db1", ["host=db2"]))
            }
        }
    }

    @Test func aFileIsReadAgainForEveryConnection() async throws {
        try await withFile(Array("host=db1 password=old\n".utf8)) { path in
            let settings = ["EVT_DATABASE_URL_FILE": path, "EVT_ARCHIVE_URL_FILE": path, "EVT_DISCARD_REQUIRE": "ARCHIVER"]
            let reader = try await SettingsReader(flags: settings, environment: [:])
            let files = [
                try reader.pusher().database.file, try reader.generator().database.file, try reader.archiver().file,
                try reader.discarder().database.file, try reader.discarder().required[0].file,
            ]
            #expect(files.allSatisfy { $0 != nil })
            try Data("host=db2 password=new\n".utf8).write(to: URL(filePath: path))
            for file in files.compactMap(\.self) { #expect(try file.read() == "host=db2 password=new") }
            // For a moment there is nothing in it, or there is none.
            try Data().write(to: URL(filePath: path))
            for file in files.compactMap(\.self) {
                let error = #expect(throws: ConfigurationError.self) { try file.read() }
                #expect(error?.message.contains("is empty") == true)
            }
        }
    }
}
