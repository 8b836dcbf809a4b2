import ArgumentParser
import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import Foundation
import LibPQ
import TestSupport
import UnixSignals

/// pgbench's bank in the active database, and what its tables say at the end.
struct Bank: Sendable {
    let database: DatabaseConfiguration
    let archiveURL: String?
    let tables: ArchiveTables

    /// TPC-B as pgbench has it, and one event that tells of it, in the same transaction.
    private static func script(_ add: String) -> String {
        """
        \\set aid random(1, 100000 * :scale)
        \\set bid random(1, 1 * :scale)
        \\set tid random(1, 10 * :scale)
        \\set delta random(-5000, 5000)
        BEGIN;
        UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
        SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
        UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
        UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
        INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
        SELECT \(add)('TPCB', json_build_object('account', :aid::int, 'delta', :delta::int));
        END;
        """
    }

    /// Makes the tables anew, and lets the receiver start at the newest event.
    func prepare() async throws {
        try await run(["-i", "-I", "dtGvp", "-q", "-s", "10", database.url])
        try await withConnection(to: database.url) { connection in
            let admin = ConsumerAdmin(try await StreamInfo.load(database.tables, from: connection))
            let consumer = ConsumerIdentity("BALANCES")!
            _ = try await admin.register(consumer, on: connection)
            _ = try await admin.set(consumer.description, to: .now, on: connection)
        }
    }

    func head() async throws -> EventID {
        try await withConnection(to: database.url) { connection in
            let info = try await StreamInfo.load(database.tables, from: connection)
            return try await WriterQueries(info).settledFloor(on: connection)
        }
    }

    /// Writes until the time is over, or until SIGINT, which pgbench gets as well.
    func write(clients: Int, seconds: Int?) async throws {
        let add = try await withConnection(to: database.url) { connection in
            try await StreamInfo.load(database.tables, from: connection).tables.add.sql
        }
        let script = FileManager.default.temporaryDirectory.appending(path: "evt-load-\(getpid()).sql")
        try Bank.script(add).write(to: script, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: script) }
        let time = seconds ?? 30 * 86_400
        try await run(
            [
                "-n", "-M", "prepared", "-c", "\(clients)", "-j", "2", "-T", "\(time)", "-s", "10", "-f", script.path,
                database.url,
            ],
            interruptible: true)
    }

    func committed() async throws -> Int {
        try await withConnection(to: database.url) { connection in
            Int(try await connection.query("SELECT count(*) FROM pgbench_history").int(0, 0) ?? 0)
        }
    }

    func verdict(_ ledger: Ledger, committed: Int) async throws -> Verdict {
        var verdict = Verdict()
        let (received, outOfOrder, repeated) = await (ledger.count, ledger.outOfOrder, ledger.repeated)
        verdict.check("lost", "\(committed - received)", committed == received)
        verdict.check("out of order", "\(outOfOrder)", outOfOrder == 0)
        verdict.check("repeated", "\(repeated)", repeated == 0)
        let wrong = try await wrongBalances(ledger)
        verdict.check("balances", wrong == 0 ? "all equal" : "\(wrong) differ", wrong == 0)
        let (left, kept) = try await waitUntilDiscarded()
        verdict.check(
            "active table",
            left > 0 ? "\(left) confirmed events left" : kept == 0 ? "empty" : "\(kept) events kept for other consumers",
            left == 0)
        if let archiveURL {
            let archived = try await archived(in: archiveURL, after: ledger.start)
            verdict.check("history", "\(archived) events", archived == committed)
        }
        return verdict
    }

    private func wrongBalances(_ ledger: Ledger) async throws -> Int {
        let rebuilt = await ledger.balances
        return try await withConnection(to: database.url) { connection in
            let rows = try await connection.query("SELECT aid, abalance FROM pgbench_accounts WHERE abalance <> 0")
            var actual: [Int: Int] = [:]
            for row in 0..<rows.count { actual[Int(rows.int(row, 0) ?? 0)] = Int(rows.int(row, 1) ?? 0) }
            return Set(actual.keys).union(rebuilt.keys).filter { actual[$0, default: 0] != rebuilt[$0, default: 0] }.count
        }
    }

    /// The discarder needs its period; what other consumers have not confirmed stays.
    ///
    /// - Returns: events that every consumer has confirmed, and the others.
    private func waitUntilDiscarded() async throws -> (left: Int, kept: Int) {
        var (left, kept) = (0, 0)
        for attempt in 0..<300 {
            (left, kept) = try await withConnection(to: database.url) { connection in
                let rows = try await connection.query(
                    Statement(
                        """
                        SELECT count(*) FILTER (WHERE id <= slowest), count(*) FILTER (WHERE id > slowest) FROM \(database.tables.events.sql),
                            (SELECT min(last_evt_id) AS slowest FROM \(database.tables.consumers.sql)) positions
                        """))
                return (Int(rows.int(0, 0) ?? 0), Int(rows.int(0, 1) ?? 0))
            }
            let mine = try await isLastConfirmed()
            guard left > 0 || (kept > 0 && !mine) else { break }
            if attempt == 10 { print("waiting for the discarder") }
            try await Task.sleep(for: .milliseconds(200))
        }
        return (left, kept)
    }

    /// Whether the load's own receiver, and the archiver, hold nothing back any more.
    private func isLastConfirmed() async throws -> Bool {
        try await withConnection(to: database.url) { connection in
            let rows = try await connection.query(
                Statement(
                    """
                    SELECT NOT EXISTS (SELECT FROM \(database.tables.consumers.sql) WHERE ident IN ('local:BALANCES', 'local:ARCHIVER')
                        AND last_evt_id < (SELECT max(id) FROM \(database.tables.events.sql) WHERE type = 'TPCB'))
                    """))
            return rows.bool(0, 0) ?? true
        }
    }

    /// The receiver is gone; it must not hold events back.
    func cleanUp() async throws {
        try await withConnection(to: database.url) { connection in
            let admin = ConsumerAdmin(try await StreamInfo.load(database.tables, from: connection))
            _ = try await admin.remove("local:BALANCES", on: connection)
        }
    }

    private func archived(in url: String, after start: EventID) async throws -> Int {
        try await withConnection(to: url) { connection in
            let rows = try await connection.query(
                Statement("SELECT count(*) FROM \(tables.history.sql) WHERE type = 'TPCB' AND id > $1::bigint"),
                [.int8(start.rawValue)])
            return Int(rows.int(0, 0) ?? 0)
        }
    }

    private func run(_ arguments: [String], interruptible: Bool = false) async throws {
        let pgbench = try ChildProcess("/usr/bin/env", ["pgbench"] + arguments)
        let interrupted = Task {
            guard interruptible else { return false }
            for await _ in await UnixSignalsSequence(trapping: .sigint, .sigterm) {
                pgbench.signal(SIGTERM)
                return true
            }
            return false
        }
        let end = try await pgbench.ended(within: .seconds(31 * 86_400))
        interrupted.cancel()
        guard await interrupted.value || end.status == 0 else {
            throw CommandFailure("pgbench ended with status \(end.status); is it in the PATH? \(end.text.suffix(1000))")
        }
    }
}
