import LibPQ
import PosixLoop
import TestSupport
import Testing

/// Runs `body` with a connection to a database of its own, and that database's connection string.
func withConnection<Value: Sendable>(
    _ body: nonisolated(nonsending) @Sendable (Connection, String) async throws -> Value
) async throws -> Value {
    try await TestDatabase.with(.empty) { url in
        try await TestDatabase.connected(to: url) { try await body($0, url) }
    }
}

/// The error `body` ends with; nil if it succeeds.
func failure<Value>(of body: () async throws -> Value) async -> PostgresError? {
    do {
        _ = try await body()
        return nil
    } catch {
        if let error = error as? PostgresError { return error }
        Issue.record("not a PostgresError: \(error)")
        return nil
    }
}

extension Result<Rows, PostgresError> {
    /// The first value of the first row.
    var text: String? { (try? get()).flatMap { $0.count > 0 ? $0.string(0, 0) : nil } }

    var error: PostgresError? {
        if case .failure(let error) = self { return error }
        return nil
    }
}

extension Connection {
    /// The first value of the first row, as text.
    func value(_ sql: String, _ parameters: [Parameter] = []) async throws(PostgresError) -> String? {
        let rows = try await query(Statement(sql), parameters)
        return rows.count > 0 ? rows.string(0, 0) : nil
    }

    /// Fails the test unless the connection still carries out a statement, a script and COPY both ways.
    func expectUsable(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        #expect(isOpen, sourceLocation: sourceLocation)
        let one = try await value("SELECT 1")
        #expect(one == "1", sourceLocation: sourceLocation)
        let two = try await script("SELECT 1; SELECT 2")
        #expect(two.string(0, 0) == "2", sourceLocation: sourceLocation)
        try await script("CREATE TEMPORARY TABLE still_usable (n int)")
        let copied = try await copyIn("COPY still_usable FROM STDIN", from: CopySource(Array("1\n2\n".utf8)))
        #expect(copied == 2, sourceLocation: sourceLocation)
        let read = try await copyOut("COPY still_usable TO STDOUT") { _ in }
        #expect(read == 2, sourceLocation: sourceLocation)
        try await script("DROP TABLE still_usable")
    }
}
