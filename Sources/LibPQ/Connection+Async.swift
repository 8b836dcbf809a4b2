/// The same commands for code that reads from top to bottom. The caller must run on the connection's loop.
extension Connection {
    /// Carries out one statement, prepared if it has a name.
    @discardableResult
    package func query(_ statement: Statement, _ parameters: [Parameter] = []) async throws(PostgresError) -> Rows {
        try await perform(.statement(statement, parameters))
    }

    /// Carries out several statements in one string; as one transaction, unless the string itself says otherwise.
    @discardableResult
    package func script(_ sql: String) async throws(PostgresError) -> Rows { try await perform(.script(sql)) }

    /// `COPY … FROM STDIN`. Returns the number of rows copied.
    ///
    /// - Throws: whatever `source` throws, as ``PostgresError``; the server then rolls the copy back.
    @discardableResult
    package func copyIn(_ sql: String, from source: CopySource) async throws(PostgresError) -> Int {
        try await perform(.copyIn(sql, source: source)).affected
    }

    /// `COPY … TO STDOUT`. The sink is called on the loop with each row as it arrives, so memory stays bounded.
    @discardableResult
    package func copyOut(
        _ sql: String, to sink: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) async throws(PostgresError) -> Int {
        try await perform(.copyOut(sql, sink: sink)).affected
    }

    /// Carries out `body` between BEGIN and COMMIT; rolls back if it throws.
    package func transaction<Value>(_ body: () async throws -> Value) async throws -> Value {
        try await query("BEGIN")
        do {
            let value = try await body()
            guard try await query("COMMIT").commandTag == "COMMIT" else {
                // The server answers so, without an error, if a statement had failed and the body went on regardless.
                throw PostgresError(
                    .server, "the transaction was rolled back: a statement in it had failed", sqlState: .inFailedTransaction)
            }
            return value
        } catch {
            _ = try? await query("ROLLBACK")
            throw error
        }
    }

    /// Carries out statements between BEGIN and COMMIT, all sent at once: one round trip.
    ///
    /// - Returns: the rows of each.
    /// - Throws: the error of the first that failed; nothing is changed then.
    package func transaction(_ statements: [(Statement, [Parameter])]) async throws(PostgresError) -> [Rows] {
        let all = [(Statement("BEGIN"), [])] + statements + [(Statement("COMMIT"), [])]
        let results: [Result<Rows, PostgresError>] = await withCheckedContinuation { continuation in
            var results: [Result<Rows, PostgresError>] = []
            for (statement, parameters) in all {
                submit(statement, parameters) { result in
                    results.append(result)
                    if results.count == all.count { continuation.resume(returning: results) }
                }
            }
        }
        return try results.map { result throws(PostgresError) in try result.get() }.dropFirst().dropLast()
    }

    private func perform(_ kind: Command.Kind) async throws(PostgresError) -> Rows {
        let result: Result<Rows, PostgresError> = await withCheckedContinuation { continuation in
            submit(Command(kind) { continuation.resume(returning: $0) })
        }
        return try result.get()
    }
}
