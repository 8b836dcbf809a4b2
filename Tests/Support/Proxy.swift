import Foundation
import Glibc
import Synchronization

/// A TCP connection's way through a network that fails: passes bytes on to a port of this machine, until told otherwise.
package final class Proxy: Sendable {
    package enum Mode: Sendable, CaseIterable {
        case passing
        /// Packets vanish: nothing is received, acknowledged or refused, as when a cable is cut or a machine loses power.
        case silent
        /// Bytes are taken and acknowledged, and go no further, as when a machine between the two hangs.
        case stuck
    }

    package let port: UInt16
    private let target: UInt16

    private struct State {
        var mode = Mode.passing
        var listener: Int32 = -1
        var links: [Int: [Int32]] = [:]
        var count = 0
        /// What each client has sent, as far as it was to be recorded.
        var sent: [Int: [UInt8]] = [:]

        var sockets: [Int32] { links.values.flatMap { $0 } + (listener >= 0 ? [listener] : []) }
    }
    private let state = Mutex(State())
    private let records: Bool

    /// - Parameter records: whether ``sent`` is of interest.
    package init(to target: UInt16, records: Bool = false) throws {
        self.target = target
        self.records = records
        port = PrivateCluster.freePort()
        try listen()
    }

    deinit {
        let listener = state.withLock { $0.listener }
        if listener >= 0 { shutdown(listener, Int32(SHUT_RDWR)) }
        reset()
    }

    package var mode: Mode { state.withLock { $0.mode } }
    /// What the clients have sent, one connection each.
    package var sent: [[UInt8]] { state.withLock { Array($0.sent.values) } }

    package func set(_ mode: Mode) {
        state.withLock { state in
            state.mode = mode
            for socket in state.sockets { Proxy.drop(mode == .silent, at: socket) }
        }
    }

    /// Ends every connection with a reset.
    private func reset() {
        var nowhere = sockaddr(sa_family: sa_family_t(AF_UNSPEC), sa_data: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        state.withLock { state in
            for socket in state.links.values.joined() { connect(socket, &nowhere, socklen_t(MemoryLayout<sockaddr>.size)) }
        }
    }

    /// A filter that lets nothing in: the kernel drops packets before it has acknowledged them (socket(7), SO_ATTACH_FILTER).
    private static func drop(_ isOn: Bool, at socket: Int32) {
        /// `sock_fprog`: how many instructions, and where.
        struct Program {
            var count: UInt16
            var instructions: UnsafeMutablePointer<Instruction>
        }
        /// `sock_filter`; 6 is `BPF_RET`, with the number of bytes to keep.
        struct Instruction {
            var code: UInt16 = 6
            var jumps: (UInt8, UInt8) = (0, 0)
            var operand: UInt32 = 0
        }
        var keepNothing = Instruction()
        withUnsafeMutablePointer(to: &keepNothing) { pointer in
            var program = Program(count: 1, instructions: pointer)
            let option = isOn ? SO_ATTACH_FILTER : SO_DETACH_FILTER
            setsockopt(socket, SOL_SOCKET, option, &program, socklen_t(MemoryLayout<Program>.size))
        }
    }

    // MARK: Connections

    private func listen() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        let bound = Proxy.withAddress(of: port) { bind(listener, $0, $1) }
        guard bound == 0 && Glibc.listen(listener, 100) == 0 else {
            throw Failure("port \(port): \(String(cString: strerror(errno)))")
        }
        state.withLock { $0.listener = listener }
        Thread.detachNewThread { [weak self] in
            while case let socket = accept(listener, nil, nil), socket >= 0 { self?.link(socket) }
            close(listener)
        }
    }

    private func link(_ client: Int32) {
        guard let server = Proxy.connected(to: target) else {
            close(client)
            return
        }
        let number = state.withLock { state in
            state.count += 1
            state.links[state.count] = [client, server]
            if state.mode == .silent { for socket in [client, server] { Proxy.drop(true, at: socket) } }
            return state.count
        }
        let ends = Ends()
        for (from, to) in [(client, server), (server, client)] {
            Thread.detachNewThread { [weak self] in
                Proxy.pass(from: from, to: to) { bytes in
                    if self?.records == true, from == client { self?.state.withLock { $0.sent[number, default: []] += bytes } }
                    while self?.mode == .stuck { usleep(5000) }
                }
                guard ends.count.add(1, ordering: .relaxed).newValue == 2 else { return }
                self?.state.withLock { _ = $0.links.removeValue(forKey: number) }
                close(from)
                close(to)
            }
        }
    }

    /// How many directions of a connection have ended.
    private final class Ends: Sendable { let count = Atomic(0) }

    private static func pass(from: Int32, to: Int32, each: (ArraySlice<UInt8>) -> Void) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while case let count = recv(from, &buffer, buffer.count, 0), count > 0 {
            each(buffer[..<count])
            var sent = 0
            while sent < count {
                let written = buffer.withUnsafeBytes { send(to, $0.baseAddress! + sent, count - sent, Int32(MSG_NOSIGNAL)) }
                guard written > 0 else { return }
                sent += written
            }
        }
        each([])
        shutdown(to, Int32(SHUT_WR))
    }

    /// A new connection to a port of this machine.
    package static func connected(to port: UInt16) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if withAddress(of: port, { connect(descriptor, $0, $1) }) == 0 { return descriptor }
        close(descriptor)
        return nil
    }

    private static func withAddress(of port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }
}
