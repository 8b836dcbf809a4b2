package import EventStream
package import LibPQ

/// One of the stream's advisory locks, and who has it. Whoever may connect to the database can take them: their numbers are known.
package struct RoleLock: Sendable, CustomStringConvertible {
    package let lock: AdvisoryLock
    package let isShared: Bool
    package let holder: LockHolder
    /// Whether its role may do what the lock is for.
    package let mayHaveIt: Bool

    package init(lock: AdvisoryLock, isShared: Bool, holder: LockHolder, mayHaveIt: Bool) {
        self.lock = lock
        self.isShared = isShared
        self.holder = holder
        self.mayHaveIt = mayHaveIt
    }

    /// Whether it is none of the stream's processes, as far as can be seen.
    package var isStrange: Bool { !mayHaveIt || !isShared && !holder.application.hasPrefix("evt") }
    /// Whether it keeps others waiting for longer than it should, whoever it is.
    package var isLate: Bool { lock == .discard && holder.age.map { $0 > 5 } ?? false }

    package var description: String {
        "\(holder) has the stream's advisory lock \"\(lock.rawValue)\"\(isShared ? " (shared)" : ""): \(lock.effect ?? "")"
    }

    package var advice: String {
        let keep =
            mayHaveIt
            ? "" : "; to keep such roles out, REVOKE CONNECT ON DATABASE … FROM PUBLIC and grant it to those who need it"
        return "\(holder.ending)\(keep)"
    }

    /// Everybody who has one.
    package static func load(_ tables: StreamTables, from connection: Connection) async throws -> [RoleLock] {
        let place = try await connection.query(
            "SELECT to_regclass($1)::oid::bigint", [.text(tables.events.sql)])
        guard let oid = place.int(0, 0) else { return [] }
        let info = StreamInfo(tables: tables, tableOID: UInt32(oid), tableOIDs: [UInt32(oid)], writersMayPrepare: false)
        let locks = AdvisoryLock.allCases.filter { $0.effect != nil }
        let rows = try await connection.query(
            Statement(
                """
                SELECT k.kind, l.mode = 'ShareLock',
                    COALESCE(CASE
                        WHEN k.kind = 'latch' AND l.mode = 'ShareLock' THEN \(writes("$3"))
                        WHEN k.kind = 'discard' AND l.mode = 'ShareLock' THEN \(writes("$4"))
                            OR has_any_column_privilege(a.usesysid, to_regclass($4)::oid, 'INSERT, UPDATE')
                        WHEN k.kind IN ('latch', 'waker') THEN has_table_privilege(a.usesysid, to_regclass($5)::oid, 'DELETE')
                        WHEN k.kind = 'sequence' THEN has_sequence_privilege(a.usesysid, to_regclass($6)::oid, 'UPDATE')
                        ELSE has_table_privilege(a.usesysid, to_regclass($7)::oid, 'DELETE')
                    END, false), \(LockHolder.columns)
                FROM pg_locks l JOIN unnest($1::text[], $2::bigint[]) k (kind, key)
                        ON l.classid::bigint << 32 | l.objid::bigint = k.key
                    \(LockHolder.joins)
                WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND \(LockHolder.isInThisDatabase)
                """),
            [
                .strings(locks.map(\.rawValue)), .int8Array(locks.map { info.key(of: $0) }), .text(tables.events.sql),
                .text(tables.consumers.sql), .text(tables.pushers.sql), .text(tables.sequence.sql),
                .text(tables.segment(0).sql),
            ])
        return (0..<rows.count).compactMap { row in
            AdvisoryLock(rawValue: rows.string(row, 0) ?? "").map {
                RoleLock(
                    lock: $0, isShared: rows.bool(row, 1) ?? false, holder: LockHolder(rows, row: row, from: 3),
                    mayHaveIt: rows.bool(row, 2) ?? false)
            }
        }
    }

    /// Who writes to the table in the same transaction: the trigger there took the lock.
    private static func writes(_ table: String) -> String {
        """
        EXISTS (SELECT FROM pg_locks w WHERE w.locktype = 'relation' AND w.relation = to_regclass(\(table))::oid
            AND w.mode = 'RowExclusiveLock' AND w.granted AND w.virtualtransaction = l.virtualtransaction)
        """
    }
}

extension AdvisoryLock {
    /// What suffers from a stranger that has it; nil for a lock that is not looked for.
    fileprivate var effect: String? {
        switch self {
        case .latch: "the pusher cannot sleep, and writers notify it more than they need to"
        case .waker: "no pusher is woken by writers: events wait for the safety poll, every few seconds"
        case .discard: "nobody can register, or nothing is discarded"
        case .discarder: "every discarder stands by: nothing is discarded"
        case .sequence: "a sequence that was set back cannot be set right"
        case .rewriting, .partitions: nil
        }
    }
}
