import Glibc
import LibZMQ
import PosixLoop
import TestSupport
import Testing

struct MonitorTests {
    @Test(arguments: ["tcp://127.0.0.1:*", "ipc"])
    func `connections are reported under the descriptor their messages carry`(transport: String) async throws {
        try await onLoop { loop in
            let context = Context()
            let router = try Socket(.router, in: context)
            let events = Log<Monitor.Event>()
            let monitor = try Monitor(router, name: "router") { if $0 != .ready { events.add($0) } }
            loop.add(monitor)
            let endpoint = try router.bind(transport == "ipc" ? freshEndpoint() : transport)
            var dealers: [Socket] = []
            var connections: [Int32] = []
            for number in 0..<10 {
                let dealer = try Socket(.dealer, in: context)
                try dealer.connect(endpoint)
                try await dealer.deliver([bytes("\(number)")])
                let message = try await router.next()
                #expect(message.connection >= 0)
                dealers.append(dealer)
                connections.append(message.connection)
            }
            try await eventually("all connections are reported") { events.count == 10 }
            #expect(Set(connections).count == 10)
            #expect(events.entries == connections.map { .connected($0) })
            while let dealer = dealers.popLast(), let connection = connections.popLast() {
                // Still the same connection, message after message.
                try await dealer.deliver([bytes("again")])
                let again = try await router.next()
                #expect(again.connection == connection)
                _ = consume dealer
                try await eventually("the end of the connection is reported") {
                    events.entries.last == .disconnected(connection)
                }
            }
            #expect(events.count == 20)
            loop.remove(monitor)
        }
    }

    /// With one I/O thread, who looks at the monitor first knows the connection of every message.
    @Test func aConnectionIsReportedBeforeItsFirstMessage() async throws {
        try await onLoop { _ in
            let context = Context()
            let router = try Socket(.router, in: context)
            let events = Log<Monitor.Event>()
            let monitor = try Monitor(router, name: "router") { if $0 != .ready { events.add($0) } }
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            for round in 0..<50 {
                let dealer = try Socket(.dealer, in: context)
                try dealer.connect(endpoint)
                try await dealer.deliver([bytes("\(round)")])
                let message = try await router.next()
                monitor.dispatch()
                let known = events.entries.last { event in
                    event == .connected(message.connection) || event == .disconnected(message.connection)
                }
                #expect(known == .connected(message.connection))
            }
        }
    }

    @Test func theConnectingSideIsToldToo() async throws {
        try await onLoop { loop in
            let context = Context()
            let endpoint = freshEndpoint()
            let dealer = try Socket(
                .dealer, in: context, options: [.reconnect(first: .milliseconds(1), longest: .milliseconds(10))])
            let events = Log<Monitor.Event>()
            let monitor = try Monitor(dealer, name: "dealer") { if $0 != .ready { events.add($0) } }
            loop.add(monitor)
            try dealer.connect(endpoint)
            do {
                let router = try Socket(.router, in: context)
                try router.bind(endpoint)
                try await eventually("the connection is reported") { events.count == 1 }
            }
            try await eventually("its end is reported") { events.count == 2 }
            guard case .connected(let descriptor) = events.entries[0] else {
                Issue.record("first of all: \(events.entries)")
                return
            }
            #expect(events.entries[1] == .disconnected(descriptor))
            loop.remove(monitor)
        }
    }

    @Test func aPeerWithAnotherMechanismFailsItsHandshake() async throws {
        try await onLoop { loop in
            let context = Context()
            let router = try Socket(.router, in: context)
            let events = Log<Monitor.Event>()
            let monitor = try Monitor(router, name: "router") { events.add($0) }
            loop.add(monitor)
            let endpoint = try router.bind("tcp://127.0.0.1:*")
            let port = try #require(endpoint.split(separator: ":").last.flatMap { UInt16($0) })
            // A ZMTP 3.0 greeting (RFC 23) that asks for PLAIN, where NULL is expected.
            let mechanism = bytes("PLAIN") + [UInt8](repeating: 0, count: 15)
            let greeting =
                [0xFF] + [UInt8](repeating: 0, count: 8) + [0x7F, 3, 0] + mechanism + [UInt8](repeating: 0, count: 32)
            let peer = try #require(RawPeer(port: port))
            peer.send(greeting)
            try await eventually("the failure is reported") {
                events.entries.contains { if case .handshakeFailed = $0 { true } else { false } }
            }
            loop.remove(monitor)
        }
    }

    @Test func messagesWithinTheProcessHaveNoConnection() async throws {
        try await onLoop { _ in
            let context = Context()
            let (first, second) = (try Socket(.pair, in: context), try Socket(.pair, in: context))
            try first.bind("inproc://pair")
            try second.connect("inproc://pair")
            try await second.deliver([bytes("x")])
            let message = try await first.next()
            #expect(message.connection == -1)
        }
    }

    @Test func `a monitor that is let go leaves the socket working and its name free`() async throws {
        try await onLoop { _ in
            let couple = try await Couple()
            for _ in 0..<5 {
                // ZeroMQ frees the name in the background.
                let monitor = try await eventually("the name is free") {
                    try? Monitor(couple.router, name: "again") { _ in }
                }
                monitor.dispatch()
            }
            try await couple.dealer.deliver([bytes("still here")])
            let message = try await couple.router.next()
            #expect(message.frames.last.map(text) == "still here")
        }
    }
}

/// A plain TCP connection.
private final class RawPeer {
    private let descriptor: Int32

    init?(port: UInt16) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        address.sin_port = port.bigEndian
        let descriptor = descriptor
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard connected else { return nil }
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
}
