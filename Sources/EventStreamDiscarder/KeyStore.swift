import EventStream
import EventStreamDatabase
import LibPQ

/// The idempotency keys of a stream, as the discarder sees them.
struct KeyStore {
    private let statement: Statement
    private let window: Parameter

    init(_ tables: StreamTables, keeping window: Duration) {
        statement = Statement("SELECT \(tables.rotate.sql)($1::interval)", name: "evt_rotate")
        self.window = .text("\(Int64(window / .microseconds(1))) microseconds")
    }

    /// Empties the table of keys whose turn it is, if it is time.
    func rotate(on connection: Connection) async throws(PostgresError) -> KeyRotation.Outcome {
        do {
            return try await connection.query(statement, [window]).bool(0, 0) == true ? .emptied : .notYet
        } catch {
            switch error.sqlState {
            case .lockNotAvailable: return .busy
            case .insufficientPrivilege: return .refused
            default: throw error
            }
        }
    }
}
