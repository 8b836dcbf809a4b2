package import EventStream
package import LibPQ

/// Who archives under a name: a session lock in the warehouse, which ends with the connection at the latest.
///
/// The pusher's session tells archivers of one active database apart. Those of a copy have sessions of their own, and are kept
/// away by this lock from a position at which somebody is at work.
extension HistoryStore {
    /// Somebody who has the lock, or the position's row in a transaction.
    package struct Holder: Hashable, Sendable, CustomStringConvertible {
        /// Of its backend.
        package let processID: Int
        package let application: String
        /// Where it connects from; empty for a socket of that machine, or where the role may not see it.
        package let address: String
        /// When it connected; UTC, as an ISO 8601 text; empty where the role may not see it.
        package let since: String
        /// For how long the server has waited for a word of it; nil if the server does not wait for it, or the role may not see it.
        package let silence: Duration?
        /// How often it gives a sign of life while it is at work.
        package let keepAlive: Duration
        /// Whether it is in the midst of a statement: its data may come slowly.
        package let isSending: Bool
        /// Bytes of that which have come; nil where the server does not count them.
        package var received: Int?

        package init(
            processID: Int, application: String, address: String, since: String, silence: Duration?, keepAlive: Duration,
            isSending: Bool, received: Int?
        ) {
            (self.processID, self.application, self.address, self.since) = (processID, application, address, since)
            (self.silence, self.keepAlive, self.isSending, self.received) = (silence, keepAlive, isSending, received)
        }

        package var description: String {
            "pid \(processID), application \(application.isEmpty ? "without a name" : application)"
                + (address.isEmpty ? "" : ", from \(address)") + (since.isEmpty ? "" : ", connected since \(since)")
        }
    }

    /// The key of the lock; `$1` is the archiver.
    private var key: String { LockName.archiving(tables) }

    /// Takes the lock for as long as the connection lives, or until it is given up; false while another has it.
    ///
    /// - Parameter keepAlive: how often this archiver gives a sign of life.
    package func takeLock(keepAlive: Duration, on connection: Connection) async throws(PostgresError) -> Bool {
        let ident = Parameter.text(archiver.description)
        let taken = try await connection.query(Statement("SELECT pg_try_advisory_lock(\(key))"), [ident])
        guard taken.bool(0, 0) == true else { return false }
        do {
            try await connection.query(
                Statement(
                    """
                    UPDATE \(tables.positions.sql) SET keep_alive = $2::bigint / 1000.0
                    WHERE ident = $1 AND keep_alive <> $2::bigint / 1000.0
                    """), [ident, .int8(Int64(keepAlive / .milliseconds(1)))])
        } catch {
            // Whoever does not know that it has the lock would keep it from all others.
            if connection.isOpen { try await giveUpLock(on: connection) }
            throw error
        }
        return true
    }

    package func giveUpLock(on connection: Connection) async throws(PostgresError) {
        try await connection.query(Statement("SELECT pg_advisory_unlock(\(key))"), [.text(archiver.description)])
    }

    /// The same until the transaction ends.
    func lockOfTransaction(on connection: Connection) async throws(PostgresError) -> Bool {
        try await connection.query(
            Statement("SELECT pg_try_advisory_xact_lock(\(key))"), [.text(archiver.description)]
        ).bool(0, 0) ?? false
    }

    /// Conditions under which a backend keeps others from the position.
    private var isHolder: String {
        """
        a.pid <> pg_backend_pid() AND (EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND \(isAdvisoryLock("l", of: key)))
            OR EXISTS (SELECT FROM pg_locks l JOIN \(tables.positions.sql) p ON l.transactionid = p.xmax
                WHERE l.pid = a.pid AND l.locktype = 'transactionid' AND l.granted AND p.ident = $1))
        """
    }

    /// Who keeps this archiver from its position; nil if nobody does.
    package func holder(on connection: Connection) async throws(PostgresError) -> Holder? {
        // Of PostgreSQL 14 and later.
        let counts = (connection.parameterStatus("server_version").flatMap { Int($0.prefix { $0.isNumber }) } ?? 0) >= 14
        let received = counts ? "(SELECT c.bytes_processed FROM pg_stat_progress_copy c WHERE c.pid = a.pid)" : "NULL::bigint"
        let rows = try await connection.query(
            Statement(
                """
                SELECT a.pid, a.application_name, host(a.client_addr),
                    to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                    CASE WHEN a.wait_event = 'ClientRead'
                        THEN (EXTRACT(EPOCH FROM clock_timestamp() - a.state_change) * 1000)::bigint END,
                    a.state = 'active', \(received),
                    (SELECT (keep_alive * 1000)::bigint FROM \(tables.positions.sql) WHERE ident = $1)
                FROM pg_stat_activity a WHERE \(isHolder) LIMIT 1
                """), [.text(archiver.description)])
        guard let pid = rows.int(0, 0) else { return nil }
        return Holder(
            processID: Int(pid), application: rows.string(0, 1) ?? "", address: rows.string(0, 2) ?? "",
            since: rows.string(0, 3) ?? "", silence: rows.int(0, 4).map { .milliseconds($0) },
            keepAlive: .milliseconds(rows.int(0, 7) ?? 5000), isSending: rows.bool(0, 5) ?? false,
            received: rows.int(0, 6).map { Int($0) })
    }

    /// Ends the connection of a holder that is frozen or gone; not if it has said something since it was looked at.
    package func end(_ holder: Holder, on connection: Connection) async throws(PostgresError) {
        guard let silence = holder.silence else { return }
        try await connection.query(
            Statement(
                """
                SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
                WHERE a.pid = $2::bigint AND a.wait_event = 'ClientRead' AND \(isHolder)
                    AND a.state_change <= clock_timestamp() - $3::bigint * interval '1 millisecond'
                """),
            [
                .text(archiver.description), .int8(Int64(holder.processID)), .int8(Int64(silence / .milliseconds(1))),
            ])
    }

    /// A sign of life.
    package func ping(on connection: Connection) async throws(PostgresError) {
        try await connection.query(Statement("SELECT 1"))
    }

    /// Writes this archiver's token beside its position.
    ///
    /// - Parameter known: the one that is there.
    /// - Throws: ``StoreError`` if another is there by now.
    package func sign(_ token: String, insteadOf known: String?, on connection: Connection) async throws {
        let signed = try await connection.query(
            Statement(
                """
                UPDATE \(tables.positions.sql) SET token = $2::text::uuid
                WHERE ident = $1 AND token IS NOT DISTINCT FROM $3::text::uuid
                """), [.text(archiver.description), .text(token), .optional(known)])
        guard signed.affected == 1 else {
            throw StoreError("the position of \(archiver) has been taken over by another archiver")
        }
    }
}

/// Tells a holder of the lock that is frozen or gone from one that is slow.
package struct SilenceWatch: Sendable {
    private var seen: (processID: Int, received: Int?, at: MonotonicTime)?

    package init() {}

    /// Whether the holder may be ended: nothing has come from it for three times as long as it should at most.
    ///
    /// In the midst of a statement no time shows that anything came. So it must have been looked at, too, for so long.
    package mutating func isGone(_ holder: HistoryStore.Holder, at now: MonotonicTime = .now) -> Bool {
        let timeout = holder.keepAlive * 3
        guard let silence = holder.silence, silence > timeout else {
            seen = nil
            return false
        }
        guard holder.isSending else { return true }
        guard let seen, seen.processID == holder.processID, seen.received == holder.received else {
            seen = (holder.processID, holder.received, now)
            return false
        }
        return now - seen.at > timeout
    }
}
