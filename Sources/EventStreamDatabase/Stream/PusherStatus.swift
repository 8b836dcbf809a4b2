import EventStream
package import LibPQ

/// A pusher that has entered itself in the database and has not left.
package struct PusherStatus: Sendable {
    package let id: Int64
    /// Counts its signs of life.
    package let beat: Int64
    /// The backend of its connection; nil if there is none any more.
    package let backend: Int?
    /// Where it connects from; empty for a socket of this machine, or where the role may not see it.
    package let address: String
    /// How long its connection has said nothing; nil where the role may not see it.
    package let silence: Double?

    /// How often it gives a sign of life, in seconds.
    package let interval: Double
    /// Whether it has an archive to read discarded events from.
    package let readsArchive: Bool
    /// The newest pass of erasing after which it has read everything anew.
    package let erased: Int64

    package var isConnected: Bool { backend != nil }
    /// Whether a sign of life is overdue.
    package var hasMissedABeat: Bool { silence.map { $0 > interval + 1 } ?? true }
    /// Whether it is frozen, as far as one look can tell.
    package var isSilent: Bool { isConnected && silence.map { $0 > interval * 2 + 2 } ?? false }

    /// For people: what the servers know it by.
    package var name: String {
        "pusher\(address.isEmpty ? "" : " at \(address)")\(backend.map { " (its backend has pid \($0))" } ?? "")"
    }

    /// Those at work on a stream, the oldest first.
    package static func load(_ info: StreamInfo, from connection: Connection) async throws -> [PusherStatus] {
        // A pusher holds the advisory lock of its own id for as long as its connection lives.
        let rows = try await connection.query(
            Statement(
                """
                SELECT id, beat, l.pid, COALESCE(host(a.client_addr), ''),
                    EXTRACT(EPOCH FROM clock_timestamp() - a.state_change), beat_interval,
                    reads_archive, erased
                FROM \(info.tables.pushers.sql) p LEFT JOIN pg_locks l ON \(isAdvisoryLock("l", of: "p.id"))
                    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                ORDER BY started
                """))
        return (0..<rows.count).map { row in
            PusherStatus(
                id: rows.int(row, 0) ?? 0, beat: rows.int(row, 1) ?? 0, backend: rows.int(row, 2).map { Int($0) },
                address: rows.string(row, 3) ?? "", silence: rows.string(row, 4).flatMap { Double($0) },
                interval: rows.double(row, 5), readsArchive: rows.bool(row, 6) ?? false,
                erased: rows.int(row, 7) ?? 0)
        }
    }
}

/// A condition: this row of pg_locks is somebody's advisory lock of this number, in this database. Looked up, because taking it
/// would be in the way.
func isAdvisoryLock(_ lock: String, of number: String) -> String {
    """
    (\(lock).locktype = 'advisory' AND \(lock).granted AND \(lock).objsubid = 1
        AND \(lock).database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND \(lock).classid::bigint << 32 | \(lock).objid::bigint = \(number))
    """
}
