package import EventStream
package import LibPQ

/// Makes a small table anew, with the same rows.
///
/// Rows that are written again and again leave old versions behind. As long as any old snapshot may need these, VACUUM keeps
/// them, and whoever looks for a row walks through all of its versions. TRUNCATE gives the table new files, whatever
/// snapshots there are, and rows that come back by COPY with FREEZE are visible to all of them, older ones, too: nobody ever
/// sees an empty table. Readers and writers wait a moment. A process that dies on the way leaves everything as it was.
package struct TableRewriting: Sendable {
    package enum Outcome: Hashable, Sendable {
        /// So many bytes the table has now.
        case done(bytes: Int)
        /// Somebody uses the table, or makes it anew.
        case busy
        /// It must stay as it is: why.
        case impossible(String)
    }

    /// Settings of a connection for this: what it locks it must not hold for long, whatever happens to this process, and no
    /// policy may hide rows from it.
    package static let settings = [
        "lock_timeout": "1s", "statement_timeout": "15s", "idle_in_transaction_session_timeout": "2s",
        "synchronous_commit": "local", "row_security": "off",
    ]
    /// Bytes of rows that pass through memory at most.
    private static let limit = 16 << 20

    private let table: TableName
    private let key: Int64
    private let lockedBefore: Int64?
    private let triggers: [String]

    /// - Parameters:
    ///   - key: an advisory lock: one table is made anew at a time.
    ///   - lockedBefore: an advisory lock that a trigger on the table shares; taken after the table's it would make a deadlock
    ///     with whoever has that lock and needs the table.
    ///   - triggers: these may fire.
    package init(_ table: TableName, key: Int64, lockedBefore: Int64? = nil, triggers: [String] = []) {
        (self.table, self.key, self.lockedBefore, self.triggers) = (table, key, lockedBefore, triggers)
    }

    /// The small tables of a stream that are written all the time.
    package static func hotTables(of info: StreamInfo) -> [TableName] {
        [info.tables.consumers, info.tables.state, info.tables.pushers, info.tables.marks]
    }

    package init(_ table: TableName, of info: StreamInfo) {
        self.init(table, key: info.key(of: .rewriting), lockedBefore: info.key(of: .discard), triggers: ["registering"])
    }

    /// The positions of an archive.
    package static func positions(
        of tables: ArchiveTables, on connection: Connection
    ) async throws(PostgresError) -> TableRewriting {
        let oid = try await connection.query("SELECT to_regclass($1)::oid::bigint", [.text(tables.positions.sql)]).int(0, 0) ?? 0
        return TableRewriting(tables.positions, key: AdvisoryLock.rewriting.key(of: UInt32(oid)))
    }

    /// - Parameters:
    ///   - connection: with ``settings``, and not in a transaction.
    ///   - timeout: how long statements that use the table are waited for; others wait behind. Transactions that have used it
    ///     and are open for longer than a second are not waited for at all.
    package func carryOut(on connection: Connection, timeout: Duration = .milliseconds(400)) async throws -> Outcome {
        do {
            return try await attempt(timeout, on: connection)
        } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
            return .busy
        } catch let error as PostgresError where [.insufficientPrivilege, .featureNotSupported].contains(error.sqlState) {
            // No right to do it, rows hidden by a policy, a foreign key that refers to the table.
            return .impossible(error.message)
        } catch let error as TooLarge {
            return .impossible(error.description)
        }
    }

    private struct TooLarge: Error, CustomStringConvertible {
        let description = "its rows take more than \(TableRewriting.limit >> 20) MiB"
    }

    private func attempt(_ timeout: Duration, on connection: Connection) async throws -> Outcome {
        try await connection.query("BEGIN")
        do {
            let outcome = try await copy(timeout, on: connection)
            if outcome != nil { try await connection.query("ROLLBACK") }
            return if let outcome { outcome } else { .done(bytes: try await size(on: connection)) }
        } catch {
            if connection.isOpen { _ = try? await connection.query("ROLLBACK") }
            throw error
        }
    }

    /// - Returns: why not; nil if it was done and committed.
    private func copy(_ timeout: Duration, on connection: Connection) async throws -> Outcome? {
        guard try await connection.query("SELECT pg_try_advisory_xact_lock($1::bigint)", [.int8(key)]).bool(0, 0) == true,
            try await !isHeldForLong(on: connection)
        else { return .busy }
        if let reason = try await obstacle(on: connection) { return .impossible(reason) }
        if let lockedBefore {
            try await connection.query("SELECT pg_advisory_xact_lock_shared($1::bigint)", [.int8(lockedBefore)])
        }
        try await connection.query(Statement("SET LOCAL lock_timeout = '\(Int64(timeout / .milliseconds(1)))ms'"))
        var bytes: [UInt8] = []
        let count = try await connection.copyOut(
            "LOCK TABLE \(table.sql) IN ACCESS EXCLUSIVE MODE; COPY \(table.sql) TO STDOUT (FORMAT binary)"
        ) { row in
            guard bytes.count + row.count <= TableRewriting.limit else { throw TooLarge() }
            bytes += row
        }
        // All at once: between its answers the server must not depend on this process.
        try await connection.copyIn(
            """
            TRUNCATE \(table.sql);
            SET LOCAL eventstream.position = 'given';
            COPY \(table.sql) FROM STDIN (FORMAT binary, FREEZE);
            DO $$
            BEGIN
                IF (SELECT count(*) FROM \(table.sql)) <> \(count) THEN
                    RAISE EXCEPTION 'rows were changed on their way back' USING ERRCODE = 'feature_not_supported';
                END IF;
            END $$;
            COMMIT
            """, from: CopySource(bytes))
        return nil
    }

    /// Whether a transaction that does not end soon has used the table: whoever waited for it would keep all others waiting.
    private func isHeldForLong(on connection: Connection) async throws(PostgresError) -> Bool {
        try await connection.query(
            """
            SELECT FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'relation' AND l.relation = to_regclass($1) AND l.granted
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND l.pid IS DISTINCT FROM pg_backend_pid()
                AND (a.xact_start < clock_timestamp() - interval '1 second') IS NOT FALSE
            """, [.text(table.sql)]
        ).count > 0
    }

    /// What somebody has added to the table, and what would not come through this as it was.
    private func obstacle(on connection: Connection) async throws -> String? {
        let rows = try await connection.query(
            """
            SELECT CASE
                WHEN c.relkind <> 'r' OR c.relhassubclass THEN 'it has partitions, or tables that inherit from it'
                WHEN EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal AND tgname <> ALL ($2::text[]))
                THEN 'it has a trigger of somebody else''s'
                WHEN EXISTS (SELECT FROM pg_publication p JOIN pg_publication_tables t USING (pubname)
                    WHERE t.schemaname = n.nspname AND t.tablename = c.relname AND NOT (p.pubtruncate AND p.pubinsert))
                THEN 'it is in a publication without truncate or insert' END
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)
            """, [.text(table.sql), .strings(triggers)])
        return rows.string(0, 0)
    }

    // MARK: Sizes

    private func size(on connection: Connection) async throws -> Int {
        Int(try await TableRewriting.sizes(of: [table], on: connection).first ?? 0)
    }

    /// Bytes of tables, without their indexes, in the same order.
    package static func sizes(of tables: [TableName], on connection: Connection) async throws(PostgresError) -> [Int] {
        try await connection.query(sizes, [.strings(tables.map(\.sql))]).sizes
    }

    package static func sizes(
        of tables: [TableName], on connection: Connection, completion: @escaping (Result<[Int], PostgresError>) -> Void
    ) {
        connection.submit(sizes, [.strings(tables.map(\.sql))]) { completion($0.map(\.sizes)) }
    }

    private static let size = """
        COALESCE(pg_relation_size(c.oid), 0) + COALESCE(pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0)
        """
    private static let sizes = Statement(
        """
        SELECT \(size) FROM unnest($1::text[]) WITH ORDINALITY t (name, n) LEFT JOIN pg_class c ON c.oid = to_regclass(name)
        ORDER BY n
        """, name: "evt_sizes")

    /// The same as rows of the beat: number from 1, bytes, and a fifth column of -1.
    package static func sizeRows(_ tables: [TableName]) -> String {
        """
        SELECT n, \(size), NULL, NULL, -1, NULL, NULL FROM unnest(ARRAY[\(tables.map { quotedLiteral($0.sql) }.joined(separator: ", "))])
            WITH ORDINALITY t (name, n) LEFT JOIN pg_class c ON c.oid = to_regclass(name)
        """
    }

    /// Ends whoever has a table locked for this and has stopped in the midst: a process that is frozen.
    package static func endFrozen(_ key: Int64, on connection: Connection, completion: @escaping (Int) -> Void) {
        connection.submit(ending, [.int8(key)]) { completion((try? $0.get())?.count ?? 0) }
    }

    /// The same of the one that makes this table anew.
    package func endFrozen(on connection: Connection) async throws(PostgresError) -> Int {
        try await connection.query(TableRewriting.ending, [.int8(key)]).count
    }

    private static let ending = Statement(
        """
        SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE \(isAdvisoryLock("l", of: "$1::bigint")) AND a.usename = current_user
            AND a.wait_event IN ('ClientRead', 'ClientWrite')
            AND a.query_start < clock_timestamp() - interval '3 seconds'
        """)
}

extension Rows {
    fileprivate var sizes: [Int] { (0..<count).map { Int(int($0, 0) ?? 0) } }
}
