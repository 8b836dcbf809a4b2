import EventStream
import LibPQ

/// An advisory lock that belongs to a table, with a number of its own. SQL has the number as `{{lock NAME}}`.
///
/// The upper half of the key is the number ("EVT" and a letter, in ASCII), the lower half the object id of the table: the table of
/// events unless the lock says otherwise. Programs of different versions work side by side, so a number never changes.
///
/// Other advisory locks have keys without a number: a pusher holds its own id for as long as its connection lives, and ``LockName``
/// tells those that are hashes of names.
package enum AdvisoryLock: String, Hashable, CaseIterable, Sendable {
    /// Writers share it (a trigger takes it), and the sleeping reader has it for itself.
    case latch
    /// Of the one pusher that wakes the others.
    case waker
    /// Registering shares it (a trigger takes it), and discarding has it for itself: what a new consumer can expect to get is not
    /// discarded behind its back.
    case discard
    /// Of the one discarder at work.
    case discarder
    /// Of whoever makes a small table anew; in a warehouse, of the table of positions.
    case rewriting
    /// Of whoever moves the sequence of ids.
    case sequence
    /// Of whoever makes partitions of the history; of the table of the history.
    case partitions

    package var number: Int64 {
        switch self {
        case .discard: 0x4556_5444
        case .discarder: 0x4556_5445
        case .rewriting: 0x4556_5452
        case .latch: 0x4556_5453
        case .sequence: 0x4556_5454
        case .partitions: 0x4556_5456
        case .waker: 0x4556_5457
        }
    }

    /// - Parameter table: the object id of the table the lock belongs to.
    package func key(of table: UInt32) -> Int64 { number << 32 | Int64(table) }
}

extension StreamInfo {
    package func key(of lock: AdvisoryLock) -> Int64 { lock.key(of: tableOID) }
}

/// Names whose hashes are keys of advisory locks.
enum LockName {
    /// Of whoever migrates the tables whose steps are recorded there.
    static func migrating(_ record: TableName) -> String { "evt migrate \(record)" }
    /// Of whoever makes an inbox.
    static let makingInbox = "evt inbox"
    /// Of whoever gives the group roles their rights on a stream or an archive.
    static func granting(_ table: TableName) -> String { "evt migrate --roles \(table)" }

    /// Takes the lock of a name, until the transaction ends.
    static func take(_ name: String, on connection: Connection) async throws(PostgresError) {
        try await connection.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [.text(name)])
    }

    /// SQL for the key of the archiver at work on a position; `$1` is the archiver.
    static func archiving(_ tables: ArchiveTables) -> String {
        "hashtextextended('evt archiver ' || $1::text, \(quotedLiteral(tables.positions.sql))::regclass::oid::bigint)"
    }
}
