package import EventStream
package import LibPQ

/// A lock on a table of the stream that keeps its processes, or writers, from their work; or one that waits, and keeps those behind
/// it in the queue waiting, too.
///
/// Found in pg_locks and other catalogs alone: whoever asks does not wait for the table.
package struct TableLock: Sendable, CustomStringConvertible {
    /// Names with their schema, the first one first.
    package let tables: [String]
    /// The strongest, as pg_locks has it: `AccessExclusiveLock`.
    package let mode: String
    package let isGranted: Bool
    package let holder: LockHolder
    /// Who keeps the holder itself waiting, and so on: the last one keeps all the others.
    package let blockers: [LockHolder]
    /// How many backends wait for it.
    package let waiting: Int

    package init(
        tables: [String], mode: String, isGranted: Bool, holder: LockHolder, blockers: [LockHolder] = [], waiting: Int = 0
    ) {
        self.tables = tables
        self.mode = mode
        self.isGranted = isGranted
        self.holder = holder
        self.blockers = blockers
        self.waiting = waiting
    }

    /// Whether only rows may be locked; the table as such is not.
    package var isOfRows: Bool { TableLock.rowModes.contains(mode) }

    /// In the words of LOCK TABLE.
    package var modeText: String {
        let words: [String: String] = [
            "AccessExclusiveLock": "ACCESS EXCLUSIVE", "ExclusiveLock": "EXCLUSIVE",
            "ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE",
            "ShareLock": "SHARE", "RowExclusiveLock": "ROW EXCLUSIVE", "RowShareLock": "ROW SHARE",
        ]
        return words[mode] ?? mode
    }

    private var tableText: String {
        (tables.first ?? "") + (tables.count > 1 ? " (and \(tables.count - 1) that belong to it)" : "")
    }

    private var effect: String {
        if isOfRows { return "it may keep rows of it locked" }
        let whom = mode == "AccessExclusiveLock" ? "whoever reads or writes it" : "whoever writes to it"
        return isGranted ? "\(whom) waits" : "\(whom) waits behind it"
    }

    package var description: String {
        let verb = isGranted ? "has" : "waits for"
        let chain = blockers.map { ", which waits for \($0)" }.joined()
        let behind = waiting > 0 ? "; \(waiting) \(waiting == 1 ? "backend waits" : "backends wait") for that now" : ""
        let article = ["A", "E"].contains(modeText.prefix(1)) ? "an" : "a"
        return "\(holder) \(verb) \(article) \(modeText) lock on \(tableText)\(chain): \(effect)\(behind)"
    }

    /// What lets the others go on.
    package var advice: String {
        guard let last = blockers.last else { return holder.ending }
        let cancel = holder.processID.map { "; or give up what waits for it: SELECT pg_cancel_backend(\($0))" } ?? ""
        return "\(last.name) keeps all of these waiting: \(last.ending)\(cancel)"
    }

    // MARK: Finding them

    /// These conflict with what recording an event, moving a position or archiving takes (ROW EXCLUSIVE); the strongest first, it
    /// conflicts with reading, too.
    private static let modes = ["AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock"]
    /// Who has these may have rows locked.
    private static let rowModes = ["RowExclusiveLock", "RowShareLock"]

    /// - Parameter seconds: only those whose transaction has lasted longer; emptying a segment takes such a lock for a moment.
    package static func load(
        _ scope: LockScope, from connection: Connection, olderThan seconds: Int = 1
    ) async throws -> [TableLock] {
        let strongest = modes + rowModes
        // Tables with their partitions and indexes: what is locked is often one of these.
        let rows = try await connection.query(
            Statement(
                """
                WITH RECURSIVE tables AS (
                    SELECT to_regclass(name)::oid AS oid, number, name = ANY ($2::text[]) AS rows
                    FROM unnest($1::text[]) WITH ORDINALITY n (name, number)
                    UNION SELECT inhrelid, number, rows FROM pg_inherits JOIN tables ON inhparent = tables.oid),
                relations AS (
                    SELECT * FROM tables UNION SELECT indexrelid, number, rows FROM pg_index JOIN tables ON indrelid = tables.oid)
                SELECT n.nspname || '.' || c.relname, l.mode, l.granted, \(LockHolder.columns)
                FROM pg_locks l JOIN relations r ON r.oid = l.relation JOIN pg_class c ON c.oid = r.oid
                    JOIN pg_namespace n ON n.oid = c.relnamespace
                    \(LockHolder.joins)
                WHERE l.locktype = 'relation' AND \(LockHolder.isInThisDatabase) AND l.pid IS DISTINCT FROM pg_backend_pid()
                    AND (l.mode = ANY ($3::text[])
                        AND (clock_timestamp() - \(LockHolder.begun) >= $5::bigint * interval '1 second') IS NOT FALSE
                        OR r.rows AND l.mode = ANY ($4::text[]) AND COALESCE(a.application_name, '') !~ '^evt-'
                        AND clock_timestamp() - \(LockHolder.begun) >= ($5::bigint + 4) * interval '1 second')
                ORDER BY \(LockHolder.begun), r.number, c.relkind = 'i', c.relname
                """),
            [
                .strings(scope.tables.map(\.sql)), .strings(scope.rows.map(\.sql)), .strings(modes), .strings(rowModes),
                .int8(Int64(seconds)),
            ])
        guard rows.count > 0 else { return [] }
        var found: [(key: [String], tables: [String], mode: String, isGranted: Bool, holder: LockHolder)] = []
        for row in 0..<rows.count {
            let (table, mode) = (rows.string(row, 0) ?? "", rows.string(row, 1) ?? "")
            let (isGranted, holder) = (rows.bool(row, 2) ?? true, LockHolder(rows, row: row, from: 3))
            // What keeps its own transaction short, where the role may not see how short.
            if holder.age == nil, holder.application.hasPrefix("evt-") { continue }
            let key = [holder.transaction, "\(isGranted)"]
            guard let index = found.firstIndex(where: { $0.key == key }) else {
                found.append((key, [table], mode, isGranted, holder))
                continue
            }
            if !found[index].tables.contains(table) { found[index].tables.append(table) }
            let rank = { strongest.firstIndex(of: $0) ?? strongest.count }
            if rank(mode) < rank(found[index].mode) { found[index].mode = mode }
        }
        let waits = try await LockQueue.load(from: connection)
        let chains = found.map { waits.chain(from: $0.holder.processID) }
        let known = try await LockHolder.load(Set(chains.joined()), from: connection)
        return zip(found, chains).map { lock, chain in
            TableLock(
                tables: lock.tables, mode: lock.mode, isGranted: lock.isGranted, holder: lock.holder,
                blockers: chain.map { known[$0] ?? LockQueue.unknown($0) },
                waiting: waits.count(behind: lock.holder.processID ?? 0))
        }
    }
}

/// Which backend waits for which others; a prepared transaction is 0.
struct LockQueue {
    let blockers: [Int: [Int]]

    static func load(from connection: Connection) async throws(PostgresError) -> LockQueue {
        // Bounded: each call of pg_blocking_pids stops the lock manager for a moment.
        let rows = try await connection.query(
            """
            SELECT w.pid::bigint, b::bigint
            FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND pid IS NOT NULL LIMIT 200) w,
                unnest(pg_blocking_pids(w.pid)) b
            """)
        let edges = (0..<rows.count).map { (Int(rows.int($0, 0) ?? 0), Int(rows.int($0, 1) ?? 0)) }
        return LockQueue(blockers: Dictionary(grouping: edges, by: \.0).mapValues { $0.map(\.1) })
    }

    /// Who keeps this one waiting, and whom that one waits for, to the end.
    func chain(from process: Int?) -> [Int] {
        guard let process else { return [] }
        var (seen, chain, next) = (Set([process]), [Int](), blockers[process] ?? [])
        while !next.isEmpty {
            let fresh = next.filter { seen.insert($0).inserted }
            chain += fresh
            next = fresh.flatMap { blockers[$0] ?? [] }
        }
        return chain
    }

    func count(behind process: Int) -> Int { blockers.count { $0.value.contains(process) } }

    static func unknown(_ process: Int) -> LockHolder {
        process == 0
            ? LockHolder(processID: nil, prepared: "(see pg_prepared_xacts)", state: "prepared")
            : LockHolder(processID: process, state: "ended meanwhile")
    }
}

/// The tables whose locks matter.
package struct LockScope: Sendable {
    package let tables: [TableName]
    /// Of these, those with rows that processes change all the time.
    package let rows: [TableName]
}

extension StreamTables {
    package var lockScope: LockScope {
        LockScope(
            tables: [events, consumers, state, pushers, erasures, parked, sequence, mark, migrations],
            rows: [consumers, state, pushers])
    }
}

extension ArchiveTables {
    package var lockScope: LockScope {
        LockScope(tables: [history, positions, sums, lost, expired, erased, migrations], rows: [])
    }
}
