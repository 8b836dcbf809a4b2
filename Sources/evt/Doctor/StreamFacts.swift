package import EventStream
package import EventStreamDatabase
package import LibPQ

/// What an operator should know of a stream's tables and of who works on them, besides ``StreamStatus``.
package struct StreamFacts: Sendable {
    package struct Table: Sendable {
        package let name: String
        package let bytes: Int
        package let liveRows: Int
        package let deadRows: Int
    }

    /// How many ids a session draws at once; one is right.
    package let sequenceCache: Int
    package let sequenceCycles: Bool
    /// The last id drawn; nil if the role may not know.
    package let drawn: EventID?
    /// A trigger of ours that does not always fire.
    package struct IdleTrigger: Hashable, Sendable {
        package let name: String
        /// Quoted for SQL.
        package let table: String
        /// In a word or two.
        package let state: String
    }
    package let idleTriggers: [IdleTrigger]
    /// Whether a discarder is at work, whatever it calls itself.
    package let hasDiscarder: Bool
    package let tables: [Table]
    /// The small ones that are written all the time.
    package let hotTables: [Table]
    /// What keeps old versions of rows, the oldest first.
    package let snapshots: [SnapshotHolder]

    package static func load(_ info: StreamInfo, from connection: Connection) async throws -> StreamFacts {
        let tables = info.tables
        let sequence = "\(quotedLiteral(tables.sequence.sql))::regclass"
        let basics = try await connection.query(
            Statement(
                """
                SELECT s.seqcache, s.seqcycle,
                    CASE WHEN has_sequence_privilege(\(sequence), 'USAGE, SELECT') THEN pg_sequence_last_value(\(sequence)) END
                FROM pg_sequence s WHERE s.seqrelid = \(sequence)
                """))
        let triggers = try await connection.query(
            """
            SELECT w.name, w.relation, CASE tgenabled WHEN 'D' THEN 'disabled' WHEN 'O' THEN 'not ENABLE ALWAYS'
                WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'missing' END
            FROM (VALUES ($1, 'wake'), ($2, 'registering')) w (relation, name)
                LEFT JOIN pg_trigger t ON t.tgrelid = w.relation::regclass AND t.tgname = w.name
            WHERE tgenabled IS DISTINCT FROM 'A'
            """, [.text(tables.events.sql), .text(tables.consumers.sql)])
        let leaves = (0..<StreamTables.segmentCount).map { tables.segment($0).sql } + [tables.consumers.sql]
        let discarder = try await Hindrance.discarder(tables, from: connection)
        return StreamFacts(
            sequenceCache: Int(basics.int(0, 0) ?? 1), sequenceCycles: basics.bool(0, 1) ?? false,
            drawn: basics.int(0, 2).map { EventID($0) },
            idleTriggers: (0..<triggers.count).map { row in
                IdleTrigger(
                    name: triggers.string(row, 0) ?? "", table: triggers.string(row, 1) ?? "",
                    state: triggers.string(row, 2) ?? "")
            },
            hasDiscarder: discarder?.mayHaveIt ?? false, tables: try await sizes(of: leaves, on: connection),
            hotTables: try await sizes(of: TableRewriting.hotTables(of: info).map(\.sql), on: connection),
            snapshots: try await SnapshotHolder.load(from: connection))
    }

    private static func sizes(of tables: [String], on connection: Connection) async throws -> [Table] {
        let sizes = try await connection.query(
            """
            SELECT name, pg_total_relation_size(name::regclass), COALESCE(n_live_tup, 0), COALESCE(n_dead_tup, 0)
            FROM unnest($1::text[]) name LEFT JOIN pg_stat_user_tables ON relid = name::regclass
            """, [.strings(tables)])
        return (0..<sizes.count).map { row in
            Table(
                name: sizes.string(row, 0) ?? "", bytes: Int(sizes.int(row, 1) ?? 0), liveRows: Int(sizes.int(row, 2) ?? 0),
                deadRows: Int(sizes.int(row, 3) ?? 0))
        }
    }
}
