import LibPQ

/// Writers that record events all the time: transactions of one event to many, some open for a while, some rolled back.
package struct WriterLoad: Sendable {
    /// Connections that write at the same time.
    package var writers: Int
    package var seed: UInt64
    /// Each call of `evt_add` takes one of these.
    package var types: [String]
    /// The most events a statement records.
    package var largest: UInt64
    /// Milliseconds a writer does nothing between its transactions, at most; 0 is full speed.
    package var idle: UInt64

    /// Milliseconds a transaction may stay open with ids drawn, at most.
    package var open: UInt64
    /// Each event's data, as SQL of the type json; `n` is the event's number in its statement.
    package var data = "to_json(n)"
    /// Whether writers connect anew after a lost connection; they do not care what became of the transaction.
    package var reconnects = false

    package init(
        writers: Int, seed: UInt64, types: [String] = ["LOAD"], largest: UInt64 = 5, idle: UInt64 = 0, open: UInt64 = 4
    ) {
        self.writers = writers
        self.seed = seed
        self.types = types
        self.largest = largest
        self.idle = idle
        self.open = open
    }

    /// Writes while `body` runs; what is committed then is all there will be.
    package func run(on url: String, _ body: () async throws -> Void) async throws {
        let tasks = (0..<writers).map { writer in Task { try await keepWriting(to: url, seed: seed &+ UInt64(writer) << 32) } }
        let outcome: Result<Void, any Error>
        do {
            outcome = .success(try await body())
        } catch {
            outcome = .failure(error)
        }
        for task in tasks { task.cancel() }
        for task in tasks { try await task.value }
        try outcome.get()
    }

    private func keepWriting(to url: String, seed: UInt64) async throws {
        var connections: UInt64 = 0
        while !Task.isCancelled {
            do {
                try await write(to: url, random: SplitMix(seed: seed &+ connections))
            } catch let error as PostgresError where reconnects && error.isRetriable {
                connections += 1
                try? await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    private func write(to url: String, random start: SplitMix) async throws {
        try await TestDatabase.connected(to: url) { connection in
            var random = start
            while !Task.isCancelled {
                try await connection.query("BEGIN")
                for _ in 0...(random.next() % 3) {
                    let type = types[Int(random.next() % UInt64(types.count))]
                    try await connection.query(
                        .init("SELECT evt_add($1, \(data)) FROM generate_series(1, $2::bigint) n", name: "add"),
                        [.text(type), .int8(Int64(random.next() % largest) + 1)])
                    // The ids are drawn, and others commit meanwhile.
                    if random.oneIn(8) { await pause(random.next() % open) }
                }
                try await connection.query(random.oneIn(8) ? "ROLLBACK" : "COMMIT")
                if idle > 0 { await pause(random.next() % idle) }
            }
        }
    }
}

/// Does nothing for so many milliseconds. Not in the database, whose clock may be wrong.
private func pause(_ milliseconds: UInt64) async { try? await Task.sleep(for: .milliseconds(milliseconds)) }
