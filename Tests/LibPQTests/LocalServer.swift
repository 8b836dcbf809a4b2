import Glibc
import PosixLoop

/// A TCP port of this host whose server is no PostgreSQL.
final class LocalServer {
    enum Manner {
        /// Nobody listens: connecting is refused.
        case refusing
        /// Takes connections, and never says a word.
        case silent
        /// Closes every connection at once.
        case closing
        /// Answers in another protocol.
        case answering(String)
    }

    let port: UInt16
    private let descriptor: Int32
    private var watch: Watch?
    private var accepted: [Int32] = []

    init(_ manner: Manner, on loop: EventLoop) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        precondition(bound, "no local port to be had")
        port = UInt16(bigEndian: address.sin_port)
        if case .refusing = manner { return }
        listen(descriptor, 16)
        watch = loop.watch(descriptor, for: .readable) { [unowned self] _ in self.accept(manner) }
    }

    deinit {
        watch?.cancel()
        for descriptor in accepted + [descriptor] { close(descriptor) }
    }

    private func accept(_ manner: Manner) {
        let connection = Glibc.accept(descriptor, nil, nil)
        guard connection >= 0 else { return }
        if case .answering(let text) = manner { _ = send(connection, text, text.utf8.count, Int32(MSG_NOSIGNAL)) }
        if case .closing = manner { close(connection) } else { accepted.append(connection) }
    }
}
