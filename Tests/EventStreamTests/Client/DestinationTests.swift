import EventStream
import Testing

@testable import EventStreamClient

/// Where a client connects: what the application says, then the environment, then the standard endpoint.
struct DestinationTests {
    private let environment = ["EVT_PUSHER_CONNECT": "tcp://a:1, ipc:///b", "EVT_GENERATOR_CONNECT": "tcp://g:2"]

    @Test func whatTheApplicationSaysGoesFirst() throws {
        #expect(try Destination(["tcp://x:1"], keys: nil, of: .pusher, environment: environment).endpoints == ["tcp://x:1"])
    }

    @Test func theEnvironmentIsTakenWhereTheApplicationSaysNothing() throws {
        #expect(try Destination([], keys: nil, of: .pusher, environment: environment).endpoints == ["tcp://a:1", "ipc:///b"])
        #expect(try Destination([], keys: nil, of: .generator, environment: environment).endpoints == ["tcp://g:2"])
    }

    @Test(arguments: [[:], ["EVT_PUSHER_CONNECT": ""], ["EVT_PUSHER_CONNECT": " , "]])
    func withoutEitherItIsTheStandardEndpoint(environment: [String: String]) throws {
        #expect(try Destination([], keys: nil, of: .pusher, environment: environment).endpoints == ["tcp://127.0.0.1:5571"])
        #expect(try Destination([], keys: nil, of: .generator, environment: environment).endpoints == ["tcp://127.0.0.1:5570"])
    }

    @Test(arguments: [
        "", "localhost:5571", "127.0.0.1:5571", "tcp://", "tcp://host", "tcp://:5571", "tcp://h:0", "tcp://h:99999", "tcp://h:x",
        "ipc://", "http://h:1",
    ])
    func whatIsNoEndpointIsRefusedByName(endpoint: String) throws {
        let error = #expect(throws: EventStreamError.self) {
            try Destination(["tcp://h:1", endpoint], keys: nil, of: .pusher, environment: [:])
        }
        #expect(error?.name == "InvalidRequest" && error?.text.contains("\"\(endpoint)\" is no endpoint") == true)
        guard !endpoint.isEmpty else { return }
        let inEnvironment = #expect(throws: EventStreamError.self) {
            try Destination([], keys: nil, of: .pusher, environment: ["EVT_PUSHER_CONNECT": endpoint])
        }
        #expect(inEnvironment?.text.hasPrefix("EVT_PUSHER_CONNECT: ") == true)
    }

    @Test(arguments: [
        "tcp://127.0.0.1:5571", "tcp://host:65535", "tcp://[::1]:5571", "ipc:///run/evt", "ipc://@abstract", "inproc://x",
    ])
    func endpointsAreTaken(endpoint: String) throws {
        #expect(try Destination([endpoint], keys: nil, of: .generator, environment: [:]).endpoints == [endpoint])
    }

    @Test(arguments: [
        (["EVT_CURVE_KEY": "/none"], "EVT_SERVER_KEY is not"), (["EVT_SERVER_KEY": "/none"], "EVT_CURVE_KEY is not"),
        (["EVT_CURVE_KEY": "/none", "EVT_SERVER_KEY": "/none"], "EVT_CURVE_KEY: the file /none cannot be read"),
    ])
    func keysOfTheEnvironmentThatCannotBeUsedAreNamed(environment: [String: String], text: String) throws {
        let error = #expect(throws: EventStreamError.self) {
            try Destination([], keys: nil, of: .pusher, environment: environment)
        }
        #expect(error?.text.contains(text) == true)
        // Where the application names the endpoint, its keys are what it gives, none included.
        #expect(try Destination(["tcp://h:1"], keys: nil, of: .pusher, environment: environment).keys == nil)
    }
}
