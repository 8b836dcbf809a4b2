package import EventStream
package import LibPQ

/// The tokens an active database has given out: what archivers write beside their position in a warehouse, so that a warehouse
/// that a copy of the database has used since is told from its own.
package struct ArchiveTokens: Sendable {
    private let info: StreamInfo
    private var archives: String { info.tables.archives.sql }
    /// An archiver's older tokens are forgotten.
    private static let limit = 256

    package init(_ info: StreamInfo) { self.info = info }

    package enum Admission: Hashable, Sendable {
        /// The token is known from now on. Events up to `discarded` are in the active database no more.
        case admitted(discarded: EventID)
        /// The database has not given out the token that was found in the warehouse.
        case unknown
        /// The session is another's now, or of another generation.
        case fenced
    }

    /// Takes note of the token an archiver is about to write into its warehouse, if the one it has found there is known.
    ///
    /// - Parameters:
    ///   - known: what it has found; nil for none.
    ///   - epoch: of its session.
    package func admit(
        _ token: String, of archiver: ConsumerIdentity, known: String?, epoch: Int64, generation: StreamGeneration,
        on connection: Connection
    ) async throws -> Admission {
        try await connection.transaction {
            // Nobody renames or removes the consumer until this ends; its position may be stored.
            let session = try await connection.query(
                Statement(
                    """
                    SELECT FROM \(info.tables.consumers.sql) WHERE ident = $1 AND session_epoch = $2::bigint
                        AND EXISTS (SELECT FROM \(info.tables.state.sql) WHERE generation = $3::text::uuid) FOR KEY SHARE
                    """), [.text(archiver.description), .int8(epoch), .text(generation.id)])
            guard session.count == 1 else { return .fenced }
            if let known, try await !knows(known, of: archiver, on: connection) { return .unknown }
            try await note(token, of: archiver, keeping: known, on: connection)
            let discarded = try await connection.query(Statement("SELECT discarded FROM \(info.tables.state.sql)"))
            return .admitted(discarded: EventID(discarded.int(0, 0) ?? 0))
        }
    }

    /// Whether the database has given a token out.
    package func knows(
        _ token: String, of archiver: ConsumerIdentity, on connection: Connection
    ) async throws(PostgresError) -> Bool {
        try await connection.query(
            Statement("SELECT FROM \(archives) WHERE ident = $1 AND token = $2::text::uuid"),
            [.text(archiver.description), .text(token)]
        ).count > 0
    }

    /// The name of the stream, and whether the database has given a token out; true for none.
    package func origin(
        of token: String?, of archiver: ConsumerIdentity, on connection: Connection
    ) async throws(PostgresError) -> (stream: String, isKnown: Bool) {
        let rows = try await connection.query(
            Statement(
                """
                SELECT stream, $2::text IS NULL OR EXISTS (SELECT FROM \(archives) WHERE ident = $1 AND token = $2::text::uuid)
                FROM \(info.tables.state.sql)
                """, name: "evt_archive_origin"), [.text(archiver.description), .optional(token)])
        return (rows.string(0, 0) ?? "", rows.bool(0, 1) ?? false)
    }

    private func note(
        _ token: String, of archiver: ConsumerIdentity, keeping known: String?, on connection: Connection
    ) async throws(PostgresError) {
        try await connection.query(
            Statement(
                """
                DELETE FROM \(archives) WHERE ident = $1 AND token IS DISTINCT FROM $2::text::uuid AND token IN (
                    SELECT token FROM \(archives) WHERE ident = $1 ORDER BY since DESC OFFSET \(ArchiveTokens.limit - 2))
                """), [.text(archiver.description), .optional(known)])
        try await connection.query(
            Statement("INSERT INTO \(archives) (ident, token) VALUES ($1, $2::text::uuid) ON CONFLICT DO NOTHING"),
            [.text(archiver.description), .text(token)])
    }

    /// Takes the token of a warehouse for the database's own because a person says so.
    package func adopt(
        _ token: String, of archiver: ConsumerIdentity, because reason: String, on connection: Connection
    ) async throws(PostgresError) {
        try await connection.query(
            Statement(
                """
                INSERT INTO \(archives) (ident, token, reason) VALUES ($1, $2::text::uuid, $3)
                ON CONFLICT (ident, token) DO UPDATE SET reason = excluded.reason, since = clock_timestamp()
                """), [.text(archiver.description), .text(token), .text(reason)])
    }

    /// Whether an archiver of this name has ever begun its work.
    package func hasAny(of ident: String, on connection: Connection) async throws(PostgresError) -> Bool {
        try await connection.query(Statement("SELECT FROM \(archives) WHERE ident = $1 LIMIT 1"), [.text(ident)]).count > 0
    }
}
