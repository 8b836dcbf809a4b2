package import EventStream
package import LibPQ

/// Which generation of the stream a database holds: finds out whether it went back, and begins a new one if it did.
///
/// A generation that begins leaves a large gap in the ids: those that were lost do not come again, except for what was
/// recorded before anybody noticed.
package struct GenerationStore: Sendable {
    /// The generation, and where it was seen.
    package struct Identity: Hashable, Sendable {
        package let generation: StreamGeneration
        package let place: StreamPlace

        package init(generation: StreamGeneration, place: StreamPlace) { (self.generation, self.place) = (generation, place) }
    }

    /// What has been found, and done about it.
    package struct Finding: Sendable {
        package let identity: Identity
        /// Why a new generation was begun, if this is what was done.
        package let reason: String?
        /// Whether events that were delivered are known to be missing.
        package var lacksEvents = false
        /// Why ids may come again nevertheless: what the role must be granted.
        package let complaint: String?

        package init(identity: Identity, reason: String? = nil, lacksEvents: Bool = false, complaint: String? = nil) {
            (self.identity, self.reason, self.lacksEvents, self.complaint) = (identity, reason, lacksEvents, complaint)
        }
    }

    private let info: StreamInfo
    private var state: String { info.tables.state.sql }
    /// Where the ids of a new generation begin: beyond all there are, and at the microseconds of the present time. Nobody draws a
    /// million ids a second for long, so whatever earlier generations have given, and this database does not know, is less.
    private var leap: String {
        "GREATEST(\(furthest) + 1000000, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint)"
    }

    package init(_ info: StreamInfo) { self.info = info }

    // MARK: Looking

    /// The generation as the database has it, and where the database is.
    package func identity(on connection: Connection) async throws -> Identity {
        Identity(generation: try await noted(on: connection).generation, place: try await place(on: connection))
    }

    private func sighting(remembering memory: StreamMemory, on connection: Connection) async throws -> StreamSighting {
        let (generation, place, settled) = try await noted(on: connection)
        let missing = memory.generation == generation ? try await missing(memory.recent, on: connection) : []
        return StreamSighting(
            generation: generation, place: try await self.place(on: connection), noted: place, stored: settled, missing: missing)
    }

    /// What the database has noted of itself.
    private func noted(
        on connection: Connection
    ) async throws -> (generation: StreamGeneration, place: StreamPlace?, settled: EventID) {
        let rows = try await connection.query(Statement("SELECT stream, generation, leap, place, settled FROM \(state)"))
        try info.checkState(rows)
        guard let stream = rows.string(0, 0), let generation = rows.string(0, 1) else {
            throw StoreError("\(info.tables.state) names no stream or no generation")
        }
        return (
            StreamGeneration(stream: stream, id: generation, start: EventID(rows.int(0, 2) ?? 0)),
            rows.string(0, 3).flatMap { StreamPlace($0) }, EventID(rows.int(0, 4) ?? 0)
        )
    }

    /// Where the stream is: any role may ask.
    package func place(on connection: Connection) async throws -> StreamPlace {
        let database = try await connection.query(
            "SELECT oid::bigint::text FROM pg_database WHERE datname = current_database()")
        return StreamPlace(
            server: try await text("SELECT system_identifier::text FROM pg_control_system()", on: connection),
            timeline: try await text("SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)", on: connection),
            database: database.string(0, 0) ?? "", table: "\(info.tableOID)")
    }

    /// Empty where the service does not offer the function, or the role may not call it.
    private func text(_ query: String, on connection: Connection) async throws(PostgresError) -> String {
        do {
            return try await connection.query(Statement(query)).string(0, 0) ?? ""
        } catch {
            guard error.code == .server,
                [.insufficientPrivilege, .featureNotSupported, .undefinedFunction, .objectNotInPrerequisiteState].contains(
                    error.sqlState)
            else { throw error }
            return ""
        }
    }

    private func missing(_ traces: [StreamMemory.Trace], on connection: Connection) async throws(PostgresError) -> [EventID] {
        let rows = try await connection.query(
            Statement(
                """
                SELECT t.id FROM unnest($1::bigint[], $2::bigint[]) AS t (id, time)
                    LEFT JOIN \(info.tables.events.sql) e ON e.id = t.id
                WHERE t.id > (SELECT discarded FROM \(state))
                    -- Exact to 2^53 microseconds only.
                    AND NOT COALESCE(abs(EXTRACT(EPOCH FROM e.ts - (timestamp '2000-01-01' + t.time * interval '1 microsecond')))
                        < 0.001, false) ORDER BY t.id
                """),
            [.int8Array(traces.map(\.id.rawValue)), .int8Array(traces.map(\.time))])
        return (0..<rows.count).compactMap { rows.int($0, 0).map { EventID($0) } }
    }

    // MARK: Beginning

    /// Finds out which generation there is, and begins a new one if the database went back, or may have.
    ///
    /// - Throws: ``StoreError`` where only a person can say whether the stream goes on here.
    package func establish(
        remembering memory: StreamMemory, failOver: FailOver = .automatic, on connection: Connection
    ) async throws -> Finding {
        let seen = try await sighting(remembering: memory, on: connection)
        let reason: String
        switch seen.verdict(remembering: memory, failOver: failOver) {
        case .same, .begun:
            try await note(seen, on: connection)
            return Finding(
                identity: Identity(generation: seen.generation, place: seen.place))
        case .over:
            throw StoreError(
                """
                this database holds the generation \(seen.generation), which is over: is it the primary of before a fail-over? Stop it, \
                or take it out of EVT_DATABASE_URL; if it is the one to keep, `evt generation --renew` on it
                """)
        case .elsewhere(let because): throw StoreError(undecided(because))
        case .wentBack(let because): reason = because
        }
        let complaint = try await begin(insteadOf: seen.generation, at: seen.place, because: reason, on: connection)
        let begun = Identity(generation: try await noted(on: connection).generation, place: seen.place)
        return Finding(identity: begun, reason: reason, lacksEvents: !seen.missing.isEmpty, complaint: complaint)
    }

    private func undecided(_ because: String) -> String {
        """
        this may be a copy of the stream's database: \(because). Nothing is done with it until you say what it is: `evt generation \
        --renew` if it is the home of the stream now (after a restore, a fail-over or pg_upgrade), or `evt generation --fork` if it \
        is a copy, which becomes a stream of its own
        """
    }

    /// Why a person has to say what this database is; nil if the stream was here, or on another timeline of the same.
    package func doubt(on connection: Connection) async throws -> String? {
        guard let noted = try await noted(on: connection).place,
            case .elsewhere(let because) = try await place(on: connection).change(from: noted)
        else { return nil }
        return undecided(because)
    }

    /// Nobody has noted yet where the generation is.
    private func note(_ seen: StreamSighting, on connection: Connection) async throws(PostgresError) {
        guard seen.noted == nil else { return }
        try await connection.query(
            Statement("UPDATE \(state) SET place = $1 WHERE place IS NULL AND generation = $2::text::uuid"),
            [.text(seen.place.description), .text(seen.generation.id)])
    }

    /// Begins a new generation because an operator says that the database went back.
    ///
    /// - Returns: what keeps ids from leaping, if something does.
    package func renew(because reason: String, on connection: Connection) async throws -> String? {
        let identity = try await identity(on: connection)
        return try await begin(insteadOf: identity.generation, at: identity.place, because: reason, on: connection)
    }

    /// Makes a copy a stream of its own because an operator says that it is one. No archive of the first stream takes its
    /// events, and none has been seen to hold them.
    ///
    /// - Returns: what keeps ids from leaping, if something does.
    package func fork(because reason: String, on connection: Connection) async throws -> String? {
        let identity = try await identity(on: connection)
        return try await begin(
            insteadOf: identity.generation, at: identity.place, because: reason, isFork: true, on: connection)
    }

    /// Begins a new generation, unless somebody else has meanwhile.
    ///
    /// - Returns: what keeps ids from leaping, if something does.
    private func begin(
        insteadOf known: StreamGeneration, at place: StreamPlace, because reason: String, isFork: Bool = false,
        on connection: Connection
    ) async throws -> String? {
        try await connection.transaction {
            try await connection.query("SET LOCAL lock_timeout = '2s'")
            let begun = try await connection.query(
                Statement(
                    """
                    UPDATE \(state) SET generation = gen_random_uuid(), generation_since = now(), generation_reason = $1, place = $2
                    WHERE generation = $3::text::uuid
                    """), [.text(reason), .text(place.description), .text(known.id)])
            guard begun.affected == 1 else { return nil }
            if isFork {
                try await connection.query(Statement("UPDATE \(state) SET stream = gen_random_uuid(), refusal = NULL"))
                try await connection.query(Statement("UPDATE \(info.tables.consumers.sql) SET verified_evt_id = 0"))
                try await connection.query(Statement("DELETE FROM \(info.tables.archives.sql)"))
            }
            try await connection.query(
                Statement(
                    """
                    UPDATE \(info.tables.consumers.sql) SET began_evt_id = GREATEST(last_evt_id, (SELECT discarded FROM \(state))),
                        failed_evt_id = NULL, failed_attempts = 0, failed_error = NULL
                    """))
            let start = try await connection.query(Statement("UPDATE \(state) SET leap = \(leap) RETURNING leap")).int(0, 0) ?? 0
            let leapt = try await connection.query(Statement("SELECT \(set(info.tables.sequence, to: "\(start)"))")).int(0, 0)
            return leapt == nil
                ? "ids of lost events may come again: GRANT USAGE, UPDATE ON SEQUENCE \(info.tables.sequence.sql)" : nil
        }
    }

    // MARK: The sequence

    /// Beyond every event there is and every position; NULL if there are none.
    private var furthest: String {
        """
        GREATEST(pg_sequence_last_value(\(literal(info.tables.sequence))), (SELECT settled FROM \(state)),
            (SELECT id FROM \(info.tables.events.sql) ORDER BY id DESC LIMIT 1),
            (SELECT max(last_evt_id) FROM \(info.tables.consumers.sql)))
        """
    }

    private func literal(_ sequence: TableName) -> String { "\(quotedLiteral(sequence.sql))::regclass" }

    /// NULL where the role may not.
    private func set(_ sequence: TableName, to value: String) -> String {
        """
        CASE WHEN has_sequence_privilege(\(literal(sequence)), 'UPDATE')
            AND has_sequence_privilege(\(literal(sequence)), 'USAGE, SELECT')
        THEN CASE WHEN pg_advisory_xact_lock(\(info.key(of: .sequence))) IS NOT NULL THEN setval(\(literal(sequence)), \(value)) END END
        """
    }

    /// How the sequence was found.
    package enum SequenceFinding: Hashable, Sendable {
        case fine
        /// It was behind events or positions there are, and goes on beyond them now.
        case wasBehind(EventID)
        /// The role lacks rights on the sequences.
        case notPermitted
    }

    /// Notes for writers that events up to here are settled, and sees to it that ids go on beyond them.
    package func keepSequence(
        beyond settled: EventID, on connection: Connection, completion: @escaping (Result<SequenceFinding, PostgresError>) -> Void
    ) {
        let (sequence, mark) = (literal(info.tables.sequence), literal(info.tables.mark))
        // Behind by one is as bad as by many; beyond by many nobody notices.
        let statement = Statement(
            """
            SELECT has_sequence_privilege(\(sequence), 'UPDATE') AND has_sequence_privilege(\(mark), 'UPDATE'),
                CASE WHEN COALESCE(pg_sequence_last_value(\(mark)), 0) < $1::bigint THEN \(set(info.tables.mark, to: "$1::bigint")) END,
                CASE WHEN has_sequence_privilege(\(sequence), 'USAGE, SELECT') THEN
                    CASE WHEN COALESCE(pg_sequence_last_value(\(sequence)), 0)
                        < GREATEST($1::bigint, (SELECT max(last_evt_id) FROM \(info.tables.consumers.sql)))
                    THEN \(set(info.tables.sequence, to: "\(furthest) + 100000")) END END
            """, name: "evt_keep_sequence")
        connection.submit(statement, [.int8(settled.rawValue)]) { result in
            completion(
                result.map { rows in
                    if let now = rows.int(0, 2) { return .wasBehind(EventID(now)) }
                    return rows.bool(0, 0) == true ? .fine : .notPermitted
                })
        }
    }

    /// Makes the sequence go on beyond an id that it has not given.
    ///
    /// - Returns: to the completion: false if the role may not.
    package func advance(
        beyond id: EventID, on connection: Connection, completion: @escaping (Result<Bool, PostgresError>) -> Void
    ) {
        let statement = Statement(
            "SELECT \(set(info.tables.sequence, to: "GREATEST($1::bigint, \(furthest)) + 100000"))", name: "evt_advance_sequence")
        connection.submit(statement, [.int8(id.rawValue)]) { completion($0.map { $0.int(0, 0) != nil }) }
    }
}
