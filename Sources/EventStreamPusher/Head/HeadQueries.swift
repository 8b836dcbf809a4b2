import EventStream
package import EventStreamDatabase
package import LibPQ

/// What the reader at the stream's head asks besides rows and writers: the latch, the waking role, notifications.
package struct HeadQueries: Sendable {
    private let info: StreamInfo
    private let takeLatch: Statement
    private let releaseLatch: Statement
    private let takeWaker: Statement

    package init(_ info: StreamInfo) {
        self.info = info
        takeLatch = Statement("SELECT pg_try_advisory_lock(\(info.key(of: .latch)))", name: "evt_take_latch")
        releaseLatch = Statement("SELECT pg_advisory_unlock(\(info.key(of: .latch)))", name: "evt_release_latch")
        takeWaker = Statement("SELECT pg_try_advisory_lock(\(info.key(of: .waker)))", name: "evt_take_waker")
    }

    package func takeLatch(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(takeLatch) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    package func releaseLatch(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(releaseLatch) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    package func takeWakerRole(on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void) {
        connection.submit(takeWaker) { completion($0.map { $0.bool(0, 0) ?? false }) }
    }

    package func listen(on connection: Connection) async throws(PostgresError) {
        try await connection.query(Statement("LISTEN \(quotedIdentifier(info.channel))"))
    }

    /// Passes a wake-up on to the other pushers.
    package func notify(on connection: Connection) {
        connection.submit(Statement("NOTIFY \(quotedIdentifier(info.channel))", name: "evt_notify")) { _ in }
    }
}
