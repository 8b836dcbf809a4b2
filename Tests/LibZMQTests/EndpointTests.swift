import Glibc
import LibZMQ
import TestSupport
import Testing

struct EndpointTests {
    @Test(arguments: ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://*:*"])
    func aWildcardPortIsReturnedAsTheRealOne(wildcard: String) async throws {
        try await onLoop { _ in
            let context = Context()
            let (first, second) = (try Socket(.router, in: context), try Socket(.router, in: context))
            let endpoints = [try first.bind(wildcard), try second.bind(wildcard)]
            #expect(Set(endpoints).count == 2)
            for (router, endpoint) in zip([first, second], endpoints) {
                let port = try #require(endpoint.split(separator: ":").last.flatMap { UInt16($0) })
                #expect(port > 0)
                let dealer = try Socket(.dealer, in: context)
                try dealer.connect("tcp://127.0.0.1:\(port)")
                try await dealer.deliver([bytes("hello")])
                let message = try await router.next()
                #expect(message.frames.last.map(text) == "hello")
            }
        }
    }

    @Test func aNamedEndpointIsReturnedAsItIs() async throws {
        try await onLoop { _ in
            // ZeroMQ leaves the file of a bound path behind.
            let path = "/tmp/zmq-test-\(UInt64.random(in: 0...UInt64.max))"
            defer { unlink(path) }
            for endpoint in ["ipc://\(path)", freshEndpoint()] {
                let context = Context()
                let router = try Socket(.router, in: context)
                let bound = try router.bind(endpoint)
                #expect(bound == endpoint)
                let dealer = try Socket(.dealer, in: context)
                try dealer.connect(endpoint)
                try await dealer.deliver([bytes("hello")])
                let message = try await router.next()
                #expect(message.frames.last.map(text) == "hello")
            }
        }
    }

    @Test func oneSocketMayHaveSeveralEndpoints() async throws {
        try await onLoop { _ in
            let context = Context()
            let router = try Socket(.router, in: context)
            for endpoint in [try router.bind("tcp://127.0.0.1:*"), try router.bind(freshEndpoint())] {
                let dealer = try Socket(.dealer, in: context)
                try dealer.connect(endpoint)
                try await dealer.deliver([bytes(endpoint)])
                let message = try await router.next()
                #expect(message.frames.last.map(text) == endpoint)
            }
        }
    }

    @Test func anEndpointInUseIsAnErrorThatNamesIt() async throws {
        try await onLoop { _ in
            let context = Context()
            let router = try Socket(.router, in: context)
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            let second = try Socket(.router, in: context)
            let error = #expect(throws: ZeroMQError.self) { try second.bind(endpoint) }
            #expect(error?.number == EADDRINUSE)
            #expect(error?.description.contains(endpoint) == true)
        }
    }

    @Test func anUnboundEndpointIsFreeAgain() async throws {
        try await onLoop { _ in
            let context = Context()
            let router = try Socket(.router, in: context)
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            try router.unbind(endpoint)
            let second = try Socket(.router, in: context)
            try await eventually("the endpoint is free") { (try? second.bind(endpoint)) != nil }
            let error = #expect(throws: ZeroMQError.self) { try router.unbind(endpoint) }
            #expect(error?.number == ENOENT)
        }
    }

    @Test(arguments: ["nonsense", "tcp://127.0.0.1", "tcp://127.0.0.1:notaport", "carrier-pigeon://here", ""])
    func anUnreadableEndpointIsAnError(endpoint: String) async throws {
        try await onLoop { _ in
            let socket = try Socket(.dealer, in: Context())
            let connecting = #expect(throws: ZeroMQError.self) { try socket.connect(endpoint) }
            #expect(connecting?.context.contains(endpoint.isEmpty ? "connecting" : endpoint) == true)
            #expect(throws: ZeroMQError.self) { try socket.bind(endpoint) }
        }
    }
}
