import EventStore
import EventStream
import Foundation
import TestSupport
import Testing

@testable import EventStreamServices

@Suite struct SettingsTests {
    private static let urls = ["EVT_DATABASE_URL": "postgresql:///app", "EVT_ARCHIVE_URL": "postgresql:///warehouse"]

    private func reader(_ flags: [String: String] = [:], environment: [String: String] = urls) async throws -> SettingsReader {
        try await SettingsReader(flags: flags, environment: environment)
    }

    /// Reads the configurations of all roles, and so every setting.
    private func readAll(_ reader: SettingsReader) throws {
        _ = (try reader.generator(), try reader.pusher(), try reader.archiver(), try reader.discarder())
        _ = (try reader.generatorConnect(), try reader.pusherConnect(), try reader.liveConnect())
        _ = (try reader.logLevel(), try reader.logsJSON())
        for role in Role.allCases { _ = try reader.metricsBind(role) }
        _ = try reader.metricsConnect()
    }

    @Test func everyDefaultIsWithinItsRange() async throws {
        try readAll(try await reader())
    }

    @Test func theDefaultsAreTheProtocols() async throws {
        let pusher = try await reader().pusher()
        #expect(pusher.bind.list == ["tcp://127.0.0.1:5571"])
        #expect(pusher.liveBind.list == ["tcp://127.0.0.1:5572"])
        #expect((pusher.allowReliable, pusher.allowPolling, pusher.insecure) == (true, true, false))
        #expect((pusher.maxChunkEvents, pusher.queueMax, pusher.maxRequestBytes) == (100, 10_000, 65_536))
        #expect((pusher.delivery.requestMax, pusher.delivery.ackTimeout) == (4, .seconds(30)))
        #expect((pusher.delivery.errorPause, pusher.delivery.longestErrorPause) == (.milliseconds(100), .seconds(5)))
        #expect(pusher.sessionTimeout == .seconds(15))
        #expect(pusher.head.latch.step == nil)
        let generator = try await reader().generator()
        #expect(generator.bind.list == ["tcp://127.0.0.1:5570"])
        #expect(generator.database.tables == .standard)
        let archiver = try await reader().archiver()
        #expect((archiver.consumer.component, archiver.want, archiver.tables) == (.archiver, .all, .standard))
        #expect(try await reader().discarder().pollPeriod == .seconds(600))
    }

    @Test func settingsHaveNamesOfTheirOwnAndSayWhatTheyMean() {
        #expect(Set(Settings.all.map(\.name)).count == Settings.all.count)
        for setting in Settings.all {
            #expect(setting.name.hasPrefix("EVT_"))
            #expect(setting.name.allSatisfy { $0.isASCII && ($0.isUppercase || $0 == "_") })
            #expect(!setting.meaning.isEmpty)
        }
        #expect(Settings.ackTimeout.flag == "ack-timeout")
        #expect(Settings.databaseURL.flag == "database-url")
    }

    struct Bound: Sendable, CustomTestStringConvertible {
        let setting: Setting
        let taken: [String]
        let refused: [String]
        var testDescription: String { setting.name }
    }

    private static let bounds: [Bound] = [
        Bound(setting: Settings.maxChunkEvents, taken: ["1", "1000"], refused: ["0", "1001", "", "x", "1.5", "-1"]),
        Bound(setting: Settings.requestMax, taken: ["1", "1000"], refused: ["0", "1001"]),
        Bound(setting: Settings.queueMax, taken: ["1", "1000000"], refused: ["0", "1000001"]),
        Bound(setting: Settings.maxRequestBytes, taken: ["1024", "67108864"], refused: ["1023", "67108865"]),
        Bound(setting: Settings.groupBytes, taken: ["1024", "8380416"], refused: ["1023", "8380417"]),
        Bound(setting: Settings.windowBytes, taken: ["1048576", "17179869184"], refused: ["1048575", "17179869185"]),
        Bound(setting: Settings.sendBytes, taken: ["1048576", "17179869184"], refused: ["1048575", "17179869185"]),
        Bound(setting: Settings.discardLimit, taken: ["1", "1000000"], refused: ["0", "1000001"]),
        Bound(setting: Settings.discardWarnEvents, taken: ["1", "1000000000000"], refused: ["0", "1000000000001"]),
        Bound(setting: Settings.archiverBatch, taken: ["1", "1000000"], refused: ["0", "1000001"]),
        Bound(setting: Settings.sleepMin, taken: ["50us", "1m"], refused: ["49us", "61s", "", "fast"]),
        Bound(setting: Settings.sleepMax, taken: ["1ms", "10m"], refused: ["0", "601s"]),
        Bound(setting: Settings.sleepStep, taken: ["", "0", "10m"], refused: ["-1", "11m"]),
        Bound(setting: Settings.ackTimeout, taken: ["100ms", "1h"], refused: ["99ms", "3601s"]),
        Bound(setting: Settings.sessionTimeout, taken: ["500ms", "1h"], refused: ["499ms", "3601s"]),
        Bound(setting: Settings.failOver, taken: ["automatic", "manual"], refused: ["", "never", "Manual"]),
        Bound(setting: Settings.discardPollPeriod, taken: ["100ms", "7d"], refused: ["99ms", "8d"]),
        Bound(setting: Settings.allowReliable, taken: ["true", "NO", "1", "off", ""], refused: ["maybe", "2"]),
        Bound(setting: Settings.allowPolling, taken: ["yes", "0"], refused: ["-"]),
        Bound(setting: Settings.ipcMode, taken: ["0", "600", "0660", "777"], refused: ["", "1000", "8", "-1", "rw"]),
        Bound(setting: Settings.maxConnections, taken: ["1", "1000000"], refused: ["0", "1000001"]),
        Bound(setting: Settings.userConnections, taken: ["1", "1000000"], refused: ["0", "1000001"]),
        Bound(setting: Settings.userSessions, taken: ["1", "1000000"], refused: ["0", "1000001"]),
        Bound(setting: Settings.userConsumers, taken: ["1", "1000000"], refused: ["0", "1000001"]),
        Bound(setting: Settings.userRequests, taken: ["1", "100000000"], refused: ["0", "100000001"]),
        Bound(setting: Settings.userBytes, taken: ["65536", "17179869184"], refused: ["65535", "17179869185"]),
        // Alone none of them will do; more in KeySettingsTests.
        Bound(setting: Settings.curveKey, taken: [""], refused: ["/nowhere"]),
        Bound(setting: Settings.authorizedKeys, taken: [""], refused: ["/nowhere"]),
        Bound(setting: Settings.serverKey, taken: [""], refused: ["JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"]),
        Bound(setting: Settings.insecure, taken: ["on", "false"], refused: ["insecure"]),
        Bound(setting: Settings.eventTable, taken: ["a.b", "Events"], refused: ["", "a.b.c", "a."]),
        Bound(setting: Settings.consumerTable, taken: ["c"], refused: ["."]),
        Bound(setting: Settings.historyTable, taken: ["h.h"], refused: ["", String(repeating: "x", count: 41)]),
        Bound(setting: Settings.archiverComponent, taken: ["A_1", "archive:A_1"], refused: ["", "LIVE", "A-B", "u:LIVE", ":A"]),
        Bound(setting: Settings.archiverWant, taken: ["", "A", "A, B_"], refused: ["a", "A,,b", "A B"]),
        Bound(
            setting: Settings.discardRequire, taken: ["", "ARCHIVER", "A, B=other.history@warehouse, user:C"],
            refused: ["LIVE", "A B", "A=", "A=x.y.z", "@service", "A@", "A@x y", "A@x'y"]),
        Bound(setting: Settings.databaseURL, taken: ["host=db dbname=app"], refused: [""]),
        Bound(setting: Settings.databaseURLFile, taken: [""], refused: ["/dev/null"]),
        Bound(setting: Settings.archiveURLFile, taken: [""], refused: ["/dev/null"]),
        Bound(setting: Settings.archiveURL, taken: ["host=db"], refused: [""]),
        Bound(setting: Settings.generatorBind, taken: ["", "ipc:///tmp/a,tcp://127.0.0.1:1"], refused: ["tcp://localhost:1"]),
        Bound(setting: Settings.pusherBind, taken: [""], refused: []),
        Bound(setting: Settings.liveBind, taken: [""], refused: []),
        Bound(setting: Settings.generatorConnect, taken: ["tcp://host:1"], refused: [""]),
        Bound(setting: Settings.pusherConnect, taken: ["tcp://a:1,tcp://b:1"], refused: [""]),
        Bound(setting: Settings.liveConnect, taken: ["tcp://host:1"], refused: [""]),
        Bound(
            setting: Settings.metricsBind, taken: ["", "127.0.0.1:0", "localhost:65535", "[::1]:9570", "127.8.8.8:1"],
            refused: [
                "9570", ":9570", "127.0.0.1", "127.0.0.1:65536", "::1:9570", "0.0.0.0:9570", "[::]:9570", "db:9570", "a b:1",
            ]),
        Bound(setting: Settings.metricsConnect, taken: ["", "db:9570, [::1]:9571"], refused: ["db", "db:x", "http://db:9570"]),
        Bound(setting: Settings.logLevel, taken: ["trace", "ERROR"], refused: ["", "loud"]),
        Bound(setting: Settings.logFormat, taken: ["json", "text"], refused: ["", "xml"]),
    ]

    @Test(arguments: bounds)
    func valuesAreTakenWithinTheRangeAndRefusedByNameOutsideIt(_ bound: Bound) async throws {
        for value in bound.taken { try readAll(try await reader([bound.setting.name: value])) }
        for value in bound.refused {
            let reader = try await reader([bound.setting.name: value])
            do {
                try readAll(reader)
                Issue.record("\(bound.setting.name) took \"\(value)\"")
            } catch let error as ConfigurationError {
                #expect(error.message.contains(bound.setting.name))
            }
        }
    }

    @Test func everySettingHasItsBoundsTested() {
        #expect(Set(Self.bounds.map(\.setting)) == Set(Settings.all))
    }

    @Test func namesThatAreNoSettingsAreNoticed() async throws {
        try await ScratchDirectory.with { directory in
            let file = "\(directory)/evt.env"
            try Data("# EVT_COMMENT=1\nEVT_QUEUE_MAX=1\n EVT_QEUE_MAX=2\nOTHER=3\n".utf8).write(to: URL(filePath: file))
            let reader = try await SettingsReader(
                flags: [:], environment: ["EVT_DISCARD_REQUIRED": "x", "EVT_ENV_FILE": file, "PATH": ""], file: file)
            #expect(reader.unknown == ["EVT_DISCARD_REQUIRED", "EVT_QEUE_MAX"])
        }
    }

    @Test func flagsComeBeforeTheEnvironment() async throws {
        let environment = Self.urls.merging(["EVT_REQUEST_MAX": "7", "EVT_QUEUE_MAX": "8"]) { $1 }
        let pusher = try await reader(["EVT_REQUEST_MAX": "9"], environment: environment).pusher()
        #expect((pusher.delivery.requestMax, pusher.queueMax) == (9, 8))
    }

    @Test func pausesNeverOutgrowTheSafetyPollNorShrinkBelowTheFirst() async throws {
        let short = try await reader(["EVT_SLEEP_MAX": "5ms"]).pusher().head.latch
        #expect(short.longestPause == .milliseconds(5))
        let long = try await reader(["EVT_SLEEP_MIN": "1s"]).pusher().head.latch
        #expect(long.longestPause >= long.shortestPause)
    }

    @Test func requiredArchivesHaveTablesAndWarehousesOfTheirOwn() async throws {
        let settings = [
            "EVT_ARCHIVE_URL": "host=db", "EVT_HISTORY_TABLE": "h.all", "EVT_DISCARD_REQUIRE": "A, B=x.y, C@far, D=z@far",
        ]
        let required = try await reader(settings).discarder().required
        #expect(required.map(\.consumer.description) == ["local:A", "local:B", "local:C", "local:D"])
        #expect(required.map(\.tables.history.description) == ["h.all", "x.y", "h.all", "z"])
        #expect(required.map(\.url) == ["host=db", "host=db", "service=far", "service=far"])
    }
}
