import Glibc
import LibZMQ
import TestSupport
import Testing

struct OptionTests {
    @Test func everyOptionIsTaken() async throws {
        try await onLoop { _ in
            let context = Context()
            _ = try Socket(
                .router, in: context,
                options: [
                    .sendHighWaterMark(0), .receiveHighWaterMark(10), .linger(.zero),
                    .linger(.milliseconds(1)), .maxMessageSize(-1), .maxMessageSize(1 << 40), .routingID(bytes("router")),
                    .routerMandatory(true), .routerMandatory(false), .routerHandover(true),
                    .heartbeat(interval: .seconds(2), timeout: .seconds(6)), .heartbeatTimeToLive(.seconds(6)),
                    .reconnect(first: .milliseconds(10), longest: .seconds(1)), .handshakeTimeout(.seconds(5)), .ipv6(true),
                    .ipv6(false), .immediate(true), .linger(.zero),
                ])
            _ = try Socket(.sub, in: context, options: [.subscribe([]), .subscribe(bytes("topic")), .unsubscribe([])])
        }
    }

    @Test(arguments: [
        (Socket.Kind.dealer, Socket.Option.routingID([])),
        (.dealer, .routingID([UInt8](repeating: 1, count: 256))),
        (.dealer, .subscribe([])), (.dealer, .routerMandatory(true)), (.pub, .unsubscribe([])),
        (.router, .sendHighWaterMark(-1)), (.router, .receiveHighWaterMark(-5)),
        (.router, .heartbeat(interval: .seconds(-1), timeout: .zero)),
    ])
    func anOptionThatDoesNotFitIsAnError(kind: Socket.Kind, option: Socket.Option) async throws {
        try await onLoop { _ in
            let context = Context()
            let error = #expect(throws: ZeroMQError.self) { try Socket(kind, in: context, options: [option]) }
            #expect(error?.number == EINVAL)
            #expect(error?.description.contains("socket option") == true)
            let socket = try Socket(kind, in: context)
            #expect(throws: ZeroMQError.self) { try socket.set(option) }
        }
    }

    @Test func moreSocketsThanTheContextAllowsAreAnError() async throws {
        try await onLoop { _ in
            let context = Context(maxSockets: 3)
            var sockets = try (0..<3).map { _ in try Socket(.dealer, in: context) }
            let error = #expect(throws: ZeroMQError.self) { try Socket(.dealer, in: context) }
            #expect(error?.number == EMFILE)
            sockets.removeAll()
            try await eventually("a closed socket makes room") { try? Socket(.dealer, in: context) }
        }
    }

    /// A socket whose options fail half-way must not stay behind: it would use up the context.
    @Test func aSocketThatCouldNotBeSetUpIsClosed() async throws {
        try await onLoop { _ in
            let context = Context(maxSockets: 3)
            for _ in 0..<20 {
                try await eventually("there is room for a socket") {
                    do {
                        _ = try Socket(.dealer, in: context, options: [.routingID([])])
                        return false
                    } catch { return (error as? ZeroMQError)?.number == EINVAL }
                }
            }
        }
    }

    @Test func theLibraryIsNewEnough() {
        let version = Context.libraryVersion
        #expect((version.major, version.minor) >= (4, 3))
    }

    @Test func errorsTellWhatWasDoneAndWhy() {
        let error = ZeroMQError(number: EINVAL, context: "binding nonsense")
        #expect(error.description == "binding nonsense: Invalid argument")
    }
}
