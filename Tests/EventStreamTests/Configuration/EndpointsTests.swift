import Testing

@testable import EventStreamServices

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
}
