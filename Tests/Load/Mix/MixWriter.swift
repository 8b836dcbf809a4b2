import EventStream
import EventStreamDatabase
import EventStreamGenerator
import LibPQ
import PosixLoop

/// One writer: a connection of its own, on which it carries out what its plan says.
///
/// Belongs to the loop's thread.
final class MixWriter {
    private let options: ConnectionOptions
    private let loop: EventLoop
    private let statements: MixStatements
    private let pool: PreparedPool
    private let tally: MixTally
    private var plan: MixPlan
    private let name: String
    private var connection: Connection?
    private var prepared = 0

    init(_ number: Int, url: String, info: StreamInfo, plan: MixPlan, pool: PreparedPool, tally: MixTally, loop: EventLoop) {
        name = "writer \(number)"
        options = ConnectionOptions(url, applicationName: "evt-load \(name)")
        statements = MixStatements(info)
        (self.plan, self.pool, self.tally, self.loop) = (plan, pool, tally, loop)
    }

    /// Writes as long as `goesOn` says so, and leaves nothing open behind.
    ///
    /// - Parameter pause: between two transactions.
    func run(pause: Duration, while goesOn: () -> Bool) async {
        while goesOn() {
            if let pending = pool.takeDue(at: .now) {
                await end(pending)
            } else {
                await perform(plan.next())
            }
            if pause > .zero { try? await Task.sleep(for: pause) }
        }
        // Should the server not come back, the prepared ones are left to the next run.
        let deadline = ContinuousClock.now + .seconds(10)
        while ContinuousClock.now < deadline, let pending = pool.take() { await end(pending) }
        connection?.close()
        connection = nil
    }

    private func perform(_ transaction: MixTransaction) async {
        await trying {
            let connection = try await $0.opened()
            if case .alone = transaction.ending {
                for step in transaction.steps { try await $0.perform(step, on: connection) }
            } else {
                try await connection.query("BEGIN")
                for step in transaction.steps { try await $0.perform(step, on: connection) }
                try await $0.end(transaction.ending, on: connection)
            }
            $0.tally.did(transaction)
        }
    }

    /// A connection that something has failed on is not used again; a server that is away for a while is waited for.
    private func trying(_ body: (MixWriter) async throws -> Void) async {
        do {
            try await body(self)
        } catch {
            connection?.close()
            connection = nil
            let isPassing = (error as? PostgresError)?.isRetriable ?? false
            tally.failed("\(name): \(error)", isPassing: isPassing)
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    private func opened() async throws -> Connection {
        if let connection, connection.isOpen { return connection }
        let opened = try await Connection.open(options, on: loop)
        connection = opened
        return opened
    }

    // MARK: Steps

    private func perform(_ step: MixTransaction.Step, on connection: Connection) async throws {
        switch step {
        case .call(let draft): try await connection.query(statements.call, MixStatements.binds(draft))
        case .insert(let draft): try await connection.query(statements.insert, MixStatements.binds(draft))
        case .copy(let drafts):
            let lines = drafts.flatMap { $0.type.utf8 + [UInt8(ascii: "\t")] + $0.data.bytes + [UInt8(ascii: "\n")] }
            try await connection.copyIn(statements.copy, from: CopySource(lines))
        case .select(let type, let count):
            try await connection.query(statements.select, [.utf8(type.utf8), .int8(Int64(count))])
        case .pause(let milliseconds):
            try await connection.query("SELECT pg_sleep($1::bigint / 1000.0)", [.int8(Int64(milliseconds))])
        case .savepoint: try await connection.query("SAVEPOINT mix")
        case .rollBackToSavepoint: try await connection.query("ROLLBACK TO SAVEPOINT mix")
        case .releaseSavepoint: try await connection.query("RELEASE SAVEPOINT mix")
        case .skip(let count): try await connection.query(statements.skip, [.int8(Int64(count))])
        case .jump(let distance):
            // One at a time: of two, the later could put the sequence back.
            try await connection.query("SELECT pg_advisory_xact_lock($1::bigint)", [.int8(statements.jumpKey)])
            try await connection.query(statements.jump, [.int8(Int64(distance))])
        case .terminate:
            // Fails, as it must: the answer would come from a process that is gone.
            _ = try? await connection.query("SELECT pg_terminate_backend(pg_backend_pid())")
        }
    }

    private func end(_ ending: MixTransaction.Ending, on connection: Connection) async throws {
        switch ending {
        case .alone: break
        case .commit: try await connection.query("COMMIT")
        case .rollBack: try await connection.query("ROLLBACK")
        case .prepare(let milliseconds, let commits):
            prepared += 1
            let pending = PreparedPool.Pending(
                name: PreparedPool.name("\(name) \(prepared)"), commits: commits, due: .now + .milliseconds(milliseconds))
            try await connection.query(Statement("PREPARE TRANSACTION \(quotedLiteral(pending.name))"))
            pool.add(pending)
        case .lost:
            connection.close()
            self.connection = nil
        }
    }

    private func end(_ pending: PreparedPool.Pending) async {
        await trying {
            do {
                let connection = try await $0.opened()
                let verb = pending.commits ? "COMMIT" : "ROLLBACK"
                try await connection.query(Statement("\(verb) PREPARED \(quotedLiteral(pending.name))"))
            } catch let error as PostgresError where error.isRetriable {
                $0.pool.add(pending)
                throw error
            } catch let error as PostgresError where error.sqlState == .undefinedObject {
                // It is over: the connection was lost after the server had ended it.
            }
        }
    }
}

/// The ways to write an event.
private struct MixStatements {
    let call: Statement
    let insert: Statement
    let select: Statement
    let copy: String
    let skip: Statement
    let jump: Statement
    /// The advisory lock of those who set the sequence.
    let jumpKey: Int64

    init(_ info: StreamInfo) {
        let (tables, sequence) = (info.tables, quotedLiteral(info.tables.sequence.sql))
        call = Statement("SELECT \(tables.add.sql)($1::text, $2::json)", name: "mix_call")
        insert = Statement("INSERT INTO \(tables.events.sql) (type, data) VALUES ($1, $2)", name: "mix_insert")
        select = Statement(
            """
            INSERT INTO \(tables.events.sql) (type, data)
            SELECT $1, json_build_object('row', row) FROM generate_series(1, $2::bigint) AS row
            """, name: "mix_select")
        copy = "COPY \(tables.events.sql) (type, data) FROM STDIN"
        skip = Statement("SELECT nextval(\(sequence)) FROM generate_series(1, $1::bigint)", name: "mix_skip")
        jump = Statement("SELECT setval(\(sequence), nextval(\(sequence)) + $1::bigint)", name: "mix_jump")
        jumpKey = info.key(of: .latch) ^ 0x6D6978
    }

    static func binds(_ draft: Recorder.Draft) -> [Parameter] { [.utf8(draft.type.utf8), .utf8(draft.data.bytes)] }
}
