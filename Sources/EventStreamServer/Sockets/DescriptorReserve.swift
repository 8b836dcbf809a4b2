import Glibc
import LibZMQ
package import Logging

/// Keeps the last few descriptors of the process for the databases: a peer whose connection takes one of them is cut off.
///
/// A crowd of peers would otherwise leave none to connect to a database with, and libzmq, which cannot accept the next one,
/// tries it again without a pause. The system gives out the lowest number that is free, so a number tells how many are taken.
package struct DescriptorReserve {
    private static let size: Int32 = 24
    private let logger: Logger
    private let limit: Int32
    /// Nothing is known of those peers but that there are too many: one line says that.
    private var peerLog = PeerLog(each: .init(burst: 1, interval: .seconds(10)))

    package init(logger: Logger) {
        self.logger = logger
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        self.limit = Int32(clamping: limit.rlim_cur)
    }

    package mutating func protect(from connection: Int32) {
        guard connection >= limit - DescriptorReserve.size else { return }
        PeerConnection(connection).cut()
        guard let line = peerLog.line("turned away", of: .unknown) else { return }
        logger.warning(
            "peers are turned away: there are too many connections; let the process open more files (ulimit -n, LimitNOFILE=)",
            metadata: line.metadata([.limit: "\(limit)"]))
    }
}
