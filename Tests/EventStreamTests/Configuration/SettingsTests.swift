import EventStream
import EventStreamDatabase
import Foundation
import TestSupport
import Testing

@testable import EventStreamArchiver
@testable import EventStreamDiscarder
@testable import EventStreamGenerator
@testable import EventStreamPusher
@testable import EventStreamRelay
@testable import EventStreamServer

@Suite struct SettingsTests {
    private static let urls = [
        "EVT_DATABASE_URL": "postgresql:///app", "EVT_ARCHIVE_URL": "postgresql:///warehouse",
        "EVT_INBOX_URL": "postgresql:///billing", "EVT_RELAY_TO": "https://example.com/",
    ]

    private func reader(_ flags: [String: String] = [:], environment: [String: String] = urls) async throws -> SettingsReader {
        try await SettingsReader(flags: flags, environment: environment)
    }

    /// Reads all that a program reads of its settings.
    private func readAll(of program: Program, _ reader: SettingsReader) throws {
        switch program {
        case .generator: _ = (try reader.generator(), try reader.metricsBind(.generator))
        case .pusher: _ = (try reader.pusher(), try reader.metricsBind(.pusher))
        case .archiver: _ = (try reader.archiver(), try reader.metricsBind(.archiver))
        case .discarder: _ = (try reader.discarder(), try reader.metricsBind(.discarder))
        case .relay: _ = (try reader.relay(), try reader.metricsBind(.relay))
        case .evt:
            _ = (try reader.discarder(), try reader.archive(), try reader.archiverComponent, try reader.clientKeys())
            _ = (try reader.generatorConnect, try reader.pusherConnect, try reader.liveConnect)
            _ = (try reader.metricsConnect, try reader.sessionTimeout, try reader.inboxURL())
        }
        _ = (try reader.logLevel, try reader.logFormat)
    }

    @Test(arguments: Program.allCases) func everyDefaultFits(_ program: Program) async throws {
        try readAll(of: program, try await reader())
    }

    /// The reference says who reads a setting: nobody else is stopped by a value that does not fit.
    @Test(arguments: Settings.facts.filter { $0.name != "EVT_ENV_FILE" })
    func aValueThatDoesNotFitStopsThoseWhoReadItAndIsNamed(_ setting: SettingFacts) async throws {
        for program in Program.allCases {
            // The discarder looks for a warehouse only where an archive is required.
            let reader = try await reader(
                [setting.name: ".,"], environment: Self.urls.merging(["EVT_DISCARD_REQUIRE": "ARCHIVER"]) { $1 })
            do {
                try readAll(of: program, reader)
                #expect(!setting.readers.contains(program), "\(program)")
            } catch let error as ConfigurationError {
                #expect(setting.readers.contains(program), "\(program): \(error)")
                #expect(error.message.contains(setting.name))
            }
        }
    }

    @Test func everyDefaultIsWrittenAsItIsRead() async throws {
        let defaults = Settings.facts.compactMap { setting in setting.standard.map { (setting.name, $0) } }
        let reader = try await reader(Dictionary(uniqueKeysWithValues: defaults))
        for program in Program.allCases { try readAll(of: program, reader) }
        #expect(try reader.pusher().sessionTimeout == .seconds(15))
        #expect(try reader.pusher().head.latch.shortestPause == .microseconds(250))
        #expect(try reader.discarder().pollPeriod == .seconds(600))
        #expect(try reader.archiver().consumer.description == "local:ARCHIVER")
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
        #expect((pusher.head.latch.step, pusher.head.pace.share) == (nil, 20))
        let generator = try await reader().generator()
        #expect(generator.bind.list == ["tcp://127.0.0.1:5570"])
        #expect(generator.database.tables == .standard)
        let archiver = try await reader().archiver()
        #expect((archiver.consumer.component, archiver.want, archiver.tables) == (.archiver, .all, .standard))
        #expect(try await reader().discarder().pollPeriod == .seconds(600))
    }

    @Test func `the secret of a relay is given once, and a file with it is read again`() async throws {
        let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
        #expect(try await reader().relay().secrets().isEmpty)
        #expect(try await reader(["EVT_RELAY_SECRET": "\(new),\(old)"]).relay().secrets().count == 2)
        try await ScratchDirectory.with { directory in
            let file = "\(directory)/secret"
            try Data("\(old)\n".utf8).write(to: URL(filePath: file))
            let relay = try await reader(["EVT_RELAY_SECRET_FILE": file]).relay()
            #expect(try relay.secrets() == WebhookSecret.list(old, of: "X"))
            try Data("\(new)\n".utf8).write(to: URL(filePath: file))
            #expect(try relay.secrets() == WebhookSecret.list(new, of: "X"))
            await #expect(throws: ConfigurationError.self) {
                _ = try await self.reader(["EVT_RELAY_SECRET_FILE": file, "EVT_RELAY_SECRET": old]).relay()
            }
        }
    }

    @Test func settingsHaveNamesOfTheirOwn() {
        #expect(Set(Settings.facts.map(\.name)).count == Settings.facts.count)
        for setting in Settings.facts { #expect(setting.name.wholeMatch(of: /EVT(_[A-Z]+)+/) != nil) }
        #expect(Settings.all.ackTimeout.facts.flag == "ack-timeout")
        #expect(Settings.all.databaseURL.facts.flag == "database-url")
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

    @Test func aMaximumLagNeedsAnArchive() async throws {
        let lag = ["EVT_DISCARD_MAX_LAG": "2h"]
        let error = await #expect(throws: ConfigurationError.self) { _ = try await self.reader(lag).discarder() }
        #expect(error?.message.contains("EVT_DISCARD_MAX_LAG needs EVT_DISCARD_REQUIRE: events that a consumer has not") == true)
        let both = lag.merging(["EVT_DISCARD_REQUIRE": "ARCHIVER"]) { $1 }
        #expect(try await reader(both).discarder().maxLag == .time(.seconds(7200)))
        #expect(try await reader(both.merging(["EVT_DISCARD_MAX_LAG": "500"]) { $1 }).discarder().maxLag == .events(500))
        #expect(try await reader(["EVT_DISCARD_MAX_LAG": ""]).discarder().maxLag == nil)
    }
}
