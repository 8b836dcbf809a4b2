import EventStream
import EventStreamDatabase
import Testing

@testable import EventStreamDiscarder
@testable import EventStreamGenerator
@testable import EventStreamServer

/// Which values fit, for each kind of setting.
@Suite struct SettingKindTests {
    private func check<Value>(
        _ kind: SettingKind<Value>, range: String? = nil, taken: [String], refused: [String],
        location: SourceLocation = #_sourceLocation
    ) {
        func fits(_ text: String) -> Bool { (try? kind.read(text, "EVT_X")).flatMap(\.self) != nil }
        #expect(taken.filter { !fits($0) } == [] && refused.filter(fits) == [], sourceLocation: location)
        if let range { #expect(kind.range == range, sourceLocation: location) }
    }

    @Test func numbersHaveARange() {
        check(
            .integer(1...1000, "events"), range: "1 to 1000 events", taken: ["1", "1000"],
            refused: ["0", "1001", "", "x", "1.5", "-1"])
        check(SettingKind.mode, taken: ["0", "600", "0660", "777"], refused: ["", "1000", "8", "-1", "rw"])
    }

    @Test func timesHaveARange() {
        let kind = SettingKind.duration(.microseconds(50) ... .seconds(60))
        check(kind, range: "50us to 1m", taken: ["50us", "1m"], refused: ["49us", "61s", "", "fast"])
        check(kind.orNone(), range: "50us to 1m", taken: ["", "50us"], refused: ["-1", "61s"])
    }

    @Test func aMaximumLagIsANumberOrATime() {
        let range = "1 to 1000000000000 events, or 1s to 3650d"
        check(
            SettingKind.maxLag, range: range, taken: ["1", "1000000", "1000000000000", "1s", "90m", "2h", "3650d"],
            refused: [
                "", "0", "-1", "+5", "1000000000001", "99999999999999999999", "0s", "999ms", "3651d", "2 h", "none", "1e6", "1.5",
            ])
        check(SettingKind.maxLag.orNone(), range: range, taken: ["", "2h"], refused: ["0"])
        for text in ["1", "1000000", "2h", "90m", "1s"] { #expect(MaxLag(text: text)?.text == text) }
        #expect(MaxLag.unlimited.text == "none")
    }

    @Test func wordsAreChosenFrom() {
        check(SettingKind.bool, taken: ["true", "NO", "1", "off", "", "yes", "0", "on"], refused: ["maybe", "2", "-"])
        check(
            SettingKind<FailOver>.choice, range: "automatic or manual", taken: ["automatic", "manual"],
            refused: ["", "never", "Manual"])
        check(SettingKind<LogFormat>.choice, taken: ["json", "text"], refused: ["", "xml"])
        check(SettingKind.logLevel, taken: ["trace", "ERROR"], refused: ["", "loud"])
    }

    @Test func namesAreWellFormed() {
        check(
            SettingKind.table, taken: ["a.b", "Events"], refused: ["", "a.b.c", "a.", ".", String(repeating: "x", count: 41)])
        check(SettingKind.consumer, taken: ["A_1", "archive:A_1"], refused: ["", "LIVE", "A-B", "u:LIVE", ":A"])
        check(SettingKind.eventTypes, taken: ["", "A", "A, B_", "a.b, A_*", "*"], refused: ["a!", "A,,b", "A B", "*A"])
    }

    @Test func placesAreWellFormed() {
        check(
            .endpoints(binding: true), taken: ["", "ipc:///tmp/a,tcp://127.0.0.1:1"], refused: [",", "tcp://127.0.0.1:x"])
        check(.endpoints(binding: false), taken: ["tcp://a:1,tcp://b:1"], refused: ["", "tcp://a:0"])
        check(SettingKind.metricsEndpoints, taken: ["", "db:9570, [::1]:9571"], refused: ["db", "db:x", "http://db:9570"])
    }

    @Test(arguments: ["", "ARCHIVER", "A, B=other.history@warehouse, user:C"])
    func requiredArchivesAreWellFormed(_ list: String) async throws {
        #expect(try await requiredArchives(list).count == list.split(separator: ",").count)
    }

    @Test(arguments: ["LIVE", "A B", "A=", "A=x.y.z", "@service", "A@", "A@x y", "A@x'y"])
    func whatIsNoRequiredArchiveIsRefused(_ list: String) async throws {
        let error = await #expect(throws: ConfigurationError.self) { try await requiredArchives(list) }
        #expect(error?.message.hasPrefix("EVT_DISCARD_REQUIRE") == true)
    }

    private func requiredArchives(_ list: String) async throws -> [RequiredArchive] {
        try await SettingsReader(
            flags: ["EVT_DISCARD_REQUIRE": list], environment: ["EVT_DATABASE_URL": "host=db", "EVT_ARCHIVE_URL": "host=dwh"]
        ).discarder().required
    }

    @Test(arguments: ["", "127.0.0.1:0", "localhost:65535", "[::1]:9570", "127.8.8.8:1"])
    func metricsAreServedToThisMachine(_ place: String) async throws {
        let reader = try await SettingsReader(flags: ["EVT_METRICS_BIND": place], environment: [:])
        #expect(try reader.metricsBind(.pusher)?.description ?? "" == place)
    }

    @Test(arguments: [
        "9570", ":9570", "127.0.0.1", "127.0.0.1:65536", "::1:9570", "0.0.0.0:9570", "[::]:9570", "db:9570", "a b:1",
    ])
    func metricsAreServedToNobodyElse(_ place: String) async throws {
        let reader = try await SettingsReader(flags: ["EVT_METRICS_BIND": place], environment: [:])
        #expect(throws: ConfigurationError.self) { try reader.metricsBind(.pusher) }
    }

    @Test func aServerDoesNotBindToAName() async throws {
        let reader = try await SettingsReader(
            flags: ["EVT_GENERATOR_BIND": "tcp://localhost:1"], environment: ["EVT_DATABASE_URL": "host=db"])
        #expect(throws: ConfigurationError.self) { try reader.generator() }
    }
}
