import Glibc

/// The service manager that has started the process and wants to hear of it (sd_notify(3)).
struct ServiceManager {
    private let path: String
    /// How often it wants a sign of life, halved (sd_watchdog_enabled(3)); else how often it is told how things stand.
    let interval: Duration

    /// Nil where nobody listens.
    init?() {
        guard let path = getenv("NOTIFY_SOCKET").map({ String(cString: $0) }), path.hasPrefix("/") || path.hasPrefix("@"),
            path.utf8.count < MemoryLayout.size(ofValue: sockaddr_un().sun_path)
        else { return nil }
        self.path = path
        let limit = getenv("WATCHDOG_USEC").flatMap { Int64(String(cString: $0)) }
        let isOurs = getenv("WATCHDOG_PID").map { Int32(String(cString: $0)) == getpid() } ?? true
        interval = isOurs ? limit.map { .microseconds(max(1000, $0 / 2)) } ?? .seconds(10) : .seconds(10)
    }

    /// A manager that does not read holds up nothing: the message is tried again for a second, and no thread waits meanwhile.
    func notify(_ message: String) async {
        for _ in 0..<50 {
            guard !send(message) else { return }
            try? await Task.sleep(for: .milliseconds(20))
            guard !Task.isCancelled || message == "STOPPING=1" else { return }
        }
    }

    /// - Returns: false where there is no room for it now.
    private func send(_ message: String) -> Bool {
        let socket = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return true }
        defer { close(socket) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        // An abstract name begins with a zero byte.
        if path.hasPrefix("@") { address.sun_path.0 = 0 }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + path.utf8.count)
        let bytes = Array(message.utf8)
        let flags = Int32(truncatingIfNeeded: MSG_NOSIGNAL) | Int32(truncatingIfNeeded: MSG_DONTWAIT)
        let sent = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                sendto(socket, bytes, bytes.count, flags, address, length)
            }
        }
        // Anything else does not change by trying again.
        return sent >= 0 || errno != EAGAIN && errno != EINTR
    }
}
