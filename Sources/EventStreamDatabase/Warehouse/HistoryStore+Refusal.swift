package import EventStream
package import LibPQ

/// An event that the warehouse does not take: a constraint, a unique index or a trigger of somebody's refuses it, or it has
/// characters that the database's encoding lacks.
package struct RefusedEvent: Error, Sendable, CustomStringConvertible {
    package let id: EventID
    package let type: String
    package let error: PostgresError

    package var description: String {
        "the archive refuses event \(id) (\(type)): \(error)\(place). \(remedy). Nothing after this event is archived until then"
    }

    /// The server's message names a constraint or index, but not always the table.
    private var place: String {
        let parts = [
            error.constraint.map { "constraint or index \($0)" }, error.column.map { "column \($0)" },
            error.table.map { "of \($0)" },
        ]
        return error.constraint == nil && error.column == nil ? "" : " (\(parts.compactMap { $0 }.joined(separator: " ")))"
    }

    private var remedy: String {
        let name = error.constraint ?? "that"
        return switch error.sqlState {
        case .uniqueViolation: "Drop the index \(name) or make it one that is not unique, or delete the row that is in the way"
        case .characterNotInRepertoire, .untranslatableCharacter: "Archive into a database with ENCODING 'UTF8'"
        case .stringTooLong where type.utf8.count > 16:
            "Run `evt migrate --wide-types` with EVT_ARCHIVE_URL: the warehouse takes no wide types"
        case .programLimitExceeded: "Drop the index that is too small for it"
        case let state? where state.category == "23": "Correct the constraint \(name), or drop it"
        case let state? where state.category == "P0": "Correct the trigger that raises this error, or disable it"
        default: "Put right what refuses it"
        }
    }
}

extension HistoryStore {
    /// Whether an error may be about a single event.
    private static func isOfAnEvent(_ error: PostgresError) -> Bool {
        guard let state = error.sqlState else { return false }
        return ["22", "23", "P0", "54"].contains(state.category)
    }

    /// Finds the first event that the archive refuses: by halves, in a transaction that is rolled back.
    ///
    /// - Parameter error: what was said of all of them.
    /// - Returns: nil if the error is about something else, such as a column that no event has a value for.
    package func refused(
        among events: ArraySlice<Event>, because error: PostgresError, on connection: Connection
    ) async throws -> RefusedEvent? {
        guard HistoryStore.isOfAnEvent(error), connection.isOpen else { return nil }
        try await connection.query("BEGIN")
        let found: Result<RefusedEvent?, any Error>
        do {
            try await connection.script(
                "SET CONSTRAINTS ALL IMMEDIATE; CREATE TEMP TABLE evt_tried (LIKE \(tables.history.sql)) ON COMMIT DROP")
            found = .success(try await firstRefused(among: events, on: connection))
        } catch {
            found = .failure(error)
        }
        try await connection.query("ROLLBACK")
        return try found.get()
    }

    private func firstRefused(
        among events: ArraySlice<Event>, on connection: Connection
    ) async throws(PostgresError) -> RefusedEvent? {
        var rest = events
        while let first = rest.first {
            let half = rest.prefix((rest.count + 1) / 2)
            guard let error = try await failure(of: half, on: connection) else {
                rest = rest.dropFirst(half.count)
                continue
            }
            guard HistoryStore.isOfAnEvent(error) else { throw error }
            guard half.count == 1 else {
                rest = half
                continue
            }
            // Of these two classes an error may be about the table: then the next event is refused, too.
            let isOfTheTable = error.sqlState == .notNullViolation || error.sqlState?.category == "22"
            if isOfTheTable, let next = events.first(where: { $0.id > first.id }),
                try await failure(of: [next], on: connection)?.sqlState == error.sqlState
            {
                return nil
            }
            return RefusedEvent(id: first.id, type: "\(first.type)", error: error)
        }
        return nil
    }

    /// Why these events are not taken; nil if they are, and stay until the end of the transaction.
    private func failure(
        of events: ArraySlice<Event>, on connection: Connection
    ) async throws(PostgresError) -> PostgresError? {
        guard let first = events.first?.id, let last = events.last?.id else { return nil }
        try await connection.query("SAVEPOINT evt_trying")
        do {
            try await connection.copyIn(
                "COPY evt_tried (\(HistoryStore.columns)) FROM STDIN (FORMAT binary)", from: CopySource(events))
            try await connection.query(
                Statement(
                    """
                    INSERT INTO \(tables.history.sql) (\(HistoryStore.columns)) SELECT \(HistoryStore.columns) FROM evt_tried t
                    WHERE NOT EXISTS (SELECT FROM \(tables.history.sql) h WHERE h.id = t.id AND h.id BETWEEN \(first) AND \(last))
                    ORDER BY id
                    """))
            try await connection.script("DELETE FROM evt_tried; RELEASE evt_trying")
            return nil
        } catch {
            guard error.code == .server, !error.isRetriable else { throw error }
            try await connection.query("ROLLBACK TO evt_trying")
            return error
        }
    }
}
