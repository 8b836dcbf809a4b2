import Testing

@testable import EventStreamArchiver
@testable import EventStreamGenerator
@testable import EventStreamPusher
@testable import EventStreamServer

@Suite struct EndpointsTests {
    @Test func endpointsAreSeparatedByCommas() {
        #expect(Endpoints("tcp://a:1, ipc:///tmp/b ,,").list == ["tcp://a:1", "ipc:///tmp/b"])
        #expect(Endpoints("").isEmpty)
        #expect(Endpoints(" , ").isEmpty)
    }

    @Test(arguments: [
        "tcp://127.0.0.1:5570", "tcp://127.0.0.1:*", "tcp://127.8.9.1:1", "tcp://localhost:5570", "tcp://[::1]:5570",
        "tcp://lo:1",
        "ipc:///tmp/socket", "ipc://@abstract", "inproc://x",
    ])
    func loopbackAndIPCAreLocal(_ endpoint: String) {
        #expect(Endpoints.isLocal(endpoint))
    }

    @Test(arguments: [
        "tcp://0.0.0.0:5570", "tcp://*:5570", "tcp://10.0.0.1:5570", "tcp://[::]:5570", "tcp://eth0:5570", "tcp://example.org:1",
        "tcp://127.0.0.1.example.org:1", "tcp://127.0.0:1", "tcp://127.0.0.256:1", "tcp://128.0.0.1:1",
        "tcp://localhost.example:1",
        "udp://127.0.0.1:1", "ws://127.0.0.1:1", "tcp://:1", "", "x", "tcp:", "127.0.0.1:5570", "TCP://127.0.0.1:1",
    ])
    func everythingElseIsNotLocal(_ endpoint: String) {
        #expect(!Endpoints.isLocal(endpoint))
    }

    @Test(arguments: ["tcp://", "tcp://localhost", "tcp://127.0.0.1", "tcp://*"])
    func anEndpointWithoutAPortIsRefusedAndNothingElse(_ endpoint: String) async {
        await #expect(processExitsWith: .success) { [endpoint] in _ = Endpoints.isLocal(endpoint) }
    }

    @Test func whatOthersCouldReachIsRefusedUnlessToldOtherwise() {
        let endpoints = Endpoints("tcp://127.0.0.1:1,tcp://0.0.0.0:2")
        #expect(throws: Never.self) { try endpoints.requireLocal(setting: "EVT_X", allowed: true) }
        #expect(throws: Never.self) { try Endpoints("").requireLocal(setting: "EVT_X", allowed: false) }
        do {
            try endpoints.requireLocal(setting: "EVT_X", allowed: false)
            Issue.record("0.0.0.0 was taken")
        } catch {
            #expect(error.message.contains("EVT_X"))
            #expect(error.message.contains("tcp://0.0.0.0:2"))
        }
    }

    @Test(arguments: [
        "tcp://127.0.0.1:5570", "tcp://[::1]:1", "tcp://localhost:65535", "tcp://db-1.example.org:5571",
        "tcp://[fe80::1%eth0]:5571",
        "ipc:///run/evt", "ipc://@abstract", "inproc://x",
    ])
    func whatCanBeBoundAndConnectedToIsTaken(_ endpoint: String) {
        #expect(Endpoints.complaint(about: endpoint, binding: true) == nil)
        #expect(Endpoints.complaint(about: endpoint, binding: false) == nil)
    }

    @Test func somePlacesAreOnlyForOneOfTheTwo() {
        for endpoint in ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://*:5570", "tcp://[*]:1"] {
            #expect(Endpoints.complaint(about: endpoint, binding: true) == nil)
            #expect(Endpoints.complaint(about: endpoint, binding: false) != nil)
        }
        #expect(Endpoints.complaint(about: "tcp://10.0.0.1:0;10.0.0.2:5571", binding: false) == nil)
        #expect(Endpoints.complaint(about: "tcp://10.0.0.1:0;10.0.0.2:5571", binding: true) != nil)
    }

    @Test(arguments: [
        "", "x", "127.0.0.1:5570", "tcp:127.0.0.1:1", "TCP://127.0.0.1:1", "udp://127.0.0.1:1", "tcp://", "tcp://127.0.0.1",
        "tcp://127.0.0.1:", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:+1",
        "tcp://127.0.0.1:x", "tcp://127.0.0.1:5570x", "tcp://:5570", "tcp://127.0.0.256:1", "tcp://127.0.0:1", "tcp://[::1:1",
        "tcp://[::zz]:1", "tcp://a/b:1", "tcp://a b:1", "tcp://127.0.0.1:5570/x", "ipc://", "inproc://",
        "ipc:///\(String(repeating: "x", count: 107))", "tcp://127.0.0.1:99999999999999999999",
    ])
    func whatCannotBeMeantIsRefusedWithAnExample(_ endpoint: String) {
        for binding in [false, true] {
            #expect(Endpoints.complaint(about: endpoint, binding: binding)?.hasPrefix("is no endpoint") == true)
        }
    }

    @Test func settingsNameTheEndpointThatCannotBeMeant() async throws {
        let wrong = [
            ("EVT_PUSHER_BIND", "tcp://127.0.0.1:5571,tcp://127.0.0.1:99999"), ("EVT_LIVE_BIND", "tcp://127.0.0.1:5571,tcp://x"),
            ("EVT_GENERATOR_BIND", "ipc:///a,ipc:///a"), ("EVT_PUSHER_CONNECT", "tcp://127.0.0.1:0"),
            ("EVT_METRICS_CONNECT", "127.0.0.1:9570,127.0.0.1:9570"), ("EVT_METRICS_BIND", "127.0.0.1:99999"),
        ]
        for (name, value) in wrong {
            var settings = ["EVT_DATABASE_URL": "dbname=x", "EVT_ARCHIVE_URL": "dbname=x"]
            settings[name] = value
            let reader = try await SettingsReader(flags: settings, environment: [:])
            let error = try #require(
                throws: ConfigurationError.self, "\(name)=\(value)",
                performing: {
                    _ = try (reader.generator(), reader.pusher(), reader.archiver(), reader.metricsConnect)
                    _ = try reader.metricsBind(.pusher)
                })
            #expect(error.message.hasPrefix(name), "\(error.message)")
        }
    }

    @Test func aConnectionStringThatLibpqCannotParseIsRefusedAndNotShown() async throws {
        for name in ["EVT_DATABASE_URL", "EVT_ARCHIVE_URL"] {
            var settings = ["EVT_DATABASE_URL": "dbname=x", "EVT_ARCHIVE_URL": "dbname=x"]
            settings[name] = "host=localhost no_such_keyword=s3cret"
            let reader = try await SettingsReader(flags: settings, environment: [:])
            let error = try #require(
                throws: ConfigurationError.self, performing: { _ = try (reader.database(), reader.archive()) })
            #expect(error.message.hasPrefix("\(name): the connection string cannot be read") && !error.message.contains("s3cret"))
        }
    }
}
