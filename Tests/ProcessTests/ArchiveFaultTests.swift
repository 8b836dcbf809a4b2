import Foundation
import LibPQ
import TestSupport
import Testing

/// The archive is the stream, event for event, whatever was killed while it was copied and the stream was discarded.
@Suite(.serialized) struct ArchiveFaultTests {
    @Test func theArchiveHasEveryEventOnceAlthoughProcessesAndDatabasesAreKilled() async throws {
        let seed = SplitMix.seedOfRun()
        try await PrivateCluster.with { active in
            try await PrivateCluster.with { warehouse in
                try await ScratchDirectory.with { directory in
                    let deployment = Deployment(active: active.url, warehouse: warehouse.url, directory: directory)
                    let archiving = Archiving(deployment, active: active, warehouse: warehouse)
                    do {
                        try await run(seed: seed, deployment, archiving)
                    } catch {
                        Issue.record(error, "run it again with EVT_SIMULATION_SEED=\(seed)\n\(await archiving.log)")
                    }
                }
            }
        }
    }

    private func run(seed: UInt64, _ deployment: Deployment, _ archiving: Archiving) async throws {
        var random = SplitMix(seed: seed)
        try await deployment.migrate()
        try await archiving.start()
        var load = WriterLoad(writers: 4, seed: random.next(), types: ["ONE", "OTHER"], largest: 20, idle: 40, open: 100)
        load.data = Self.data
        load.reconnects = true
        for (round, fault) in Fault.all.shuffled(using: &random).enumerated() {
            let moment = Moment.any(using: &random)
            let place = "round \(round), \(fault) \(moment)"
            let isSpared = random.oneIn(4)
            do {
                load.seed = random.next()
                try await load.run(on: deployment.active) {
                    try await archiving.strike(fault, at: moment, sparing: isSpared)
                    try await archiving.recover(from: fault)
                }
                // Nobody writes meanwhile: a busy machine has less to catch up with.
                let newest = try await deployment.record("AFTER")
                try await eventually("the archive of what came after") { try await archiving.has(newest) }
            } catch {
                throw NotArchived(description: "\(place): \(error)")
            }
        }
        let newest = try await TestDatabase.number("SELECT max(id) FROM truth", on: deployment.active)
        try await eventually("the last event in the archive") { try await archiving.position() == newest }
        try await eventually("the position of the archiver") { try await deployment.position(of: "ARCHIVER") == newest }
        try await eventually("the discard") { try await deployment.backlog() == 0 }
        let verified = try await deployment.evt("archive", "verify")
        let count = try await TestDatabase.number("SELECT count(*) FROM truth", on: deployment.active)
        #expect(verified.text == "\(count) events verified, 0 findings\n", "EVT_SIMULATION_SEED=\(seed)")
        try await archiving.stop()
        // Both in id order, and an id is only once in the truth.
        let queue = try await contents(of: "truth", in: deployment.active)
        let history = try await contents(of: "evt_history", in: deployment.warehouse)
        let different = queue == history ? nil : firstDifference(queue, history)
        #expect(different == nil, "EVT_SIMULATION_SEED=\(seed)")
        let movedBack = try await TestDatabase.rows("SELECT * FROM moves WHERE after < before", on: deployment.warehouse)
        #expect(movedBack == [], "EVT_SIMULATION_SEED=\(seed)")
    }

    private struct NotArchived: Error, CustomStringConvertible {
        let description: String
    }

    /// From a few bytes to some thousand, written in ways of which each is to be kept.
    private static let data = """
        CASE WHEN n % 7 = 0 THEN to_json(n) ELSE format('{ "n":%s.50e+3, "n" : null, "text": "%s\\u00e4\\n" }', n,
            repeat('ä \\t', n::int * CASE WHEN n % 10 = 0 THEN 50 ELSE 1 END))::json END
        """

    private func contents(of table: String, in database: String) async throws -> [UInt8] {
        try await TestDatabase.connected(to: database) { connection in
            let lines = Bytes()
            try await connection.copyOut("COPY (SELECT id, type, data::text, ts FROM \(table) ORDER BY id, ts) TO STDOUT") {
                lines.all += $0
            }
            return lines.all
        }
    }

    private final class Bytes {
        var all: [UInt8] = []
    }

    private func firstDifference(_ queue: [UInt8], _ history: [UInt8]) -> String {
        let (queue, history) = (queue.split(separator: 10), history.split(separator: 10))
        let place = zip(queue, history).prefix { $0 == $1 }.count
        func line(_ lines: [ArraySlice<UInt8>]) -> String {
            place < lines.count ? String(decoding: lines[place].prefix(100), as: UTF8.self) : "nothing"
        }
        return "row \(place): queue (\(queue.count)) has \(line(queue)), history (\(history.count)) has \(line(history))"
    }
}

/// What happens.
private enum Fault: Sendable {
    // kill -9, and a new start.
    case archiverKilled, pusherKilled, activeKilled, warehouseKilled, discarderKilled
    /// For longer than its session lives, perhaps in the midst of a transaction; then it goes on as if nothing had been.
    case archiverPaused

    static let all =
        Array(repeating: archiverKilled, count: 8) + Array(repeating: pusherKilled, count: 7)
        + Array(repeating: activeKilled, count: 7) + Array(repeating: warehouseKilled, count: 8)
        + Array(repeating: archiverPaused, count: 3) + Array(repeating: discarderKilled, count: 5)
}

/// When it happens.
private enum Moment: Sendable {
    /// So many ids further on.
    case later(Int)
    /// A batch is on its way into the table.
    case copying
    /// A batch has been committed, and nobody has been told.
    case committed

    static func any(using random: inout SplitMix) -> Moment {
        let moments = [copying, committed, later(Int(random.next() % 500)), later(Int(random.next() % 2000))]
        return moments[Int(random.next() % 4)]
    }
}

/// The processes that archive, and the databases they do it between.
private actor Archiving {
    private let deployment: Deployment
    private let active: PrivateCluster
    private let warehouse: PrivateCluster
    private var processes: [String: ChildProcess] = [:]
    /// The process that a fault has hit.
    private var victim = ""
    private static let archivers = ["archiver_a", "archiver_b"]

    init(_ deployment: Deployment, active: PrivateCluster, warehouse: PrivateCluster) {
        self.deployment = deployment
        self.active = active
        self.warehouse = warehouse
    }

    /// The last words of each process.
    var log: String {
        processes.map { "\($0.key):\n" + $0.value.output.split(separator: "\n").suffix(10).joined(separator: "\n") }
            .joined(separator: "\n")
    }

    func start() async throws {
        try await TestDatabase.execute(Self.noteMoves, on: deployment.warehouse)
        try await deployment.noteTruth()
        for name in ["pusher"] + Self.archivers { try start(name) }
        try await deployment.record("START")
        try await eventually("the start") { try await busy() != nil }
        try start("discarder")
    }

    /// Who archives is told from the name it has as a client of the warehouse.
    private func start(_ name: String) throws {
        processes[name] = try deployment.start(
            Self.archivers.contains(name) ? "evt-archiver" : "evt-\(name)", [],
            [
                "EVT_ARCHIVE_URL": "\(deployment.warehouse) application_name=\(name)", "EVT_LIVE_BIND": "",
                "EVT_SESSION_TIMEOUT": "2s", "EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_DISCARD_LIMIT": "50",
            ])
    }

    func stop() async throws {
        for (name, process) in processes {
            // One that has only just been started does not listen to signals yet.
            try await eventually("a word of \(name)") { !process.output.isEmpty }
            let end = try await process.terminate()
            #expect(end.status == 0, "\(name): \(end.text.suffix(1000))")
        }
    }

    /// How far the archive has come.
    func position() async throws -> Int {
        try await TestDatabase.number("SELECT max(last_evt_id) FROM evt_history_positions", on: deployment.warehouse)
    }

    func has(_ id: Int) async throws -> Bool {
        try await TestDatabase.number("SELECT count(*) FROM evt_history WHERE id = \(id)", on: deployment.warehouse) > 0
    }

    // MARK: Moments

    /// Lets a fault happen at the moment.
    ///
    /// - Parameter spare: whether the archiver to be killed is the one that stands by.
    nonisolated func strike(_ fault: Fault, at moment: Moment, sparing spare: Bool) async throws {
        switch moment {
        case .later(let count):
            let before = try await position()
            try await eventually("further events") { try await position() >= before + count }
            try await suffer(fault, sparing: spare)
        case .copying:
            try await TestDatabase.connected(to: deployment.warehouse) { connection in
                try await connection.query("BEGIN")
                try await connection.query("LOCK TABLE evt_history IN SHARE MODE")
                try await self.batchWaits("wait_event_type = 'Lock'")
                try await self.suffer(fault, sparing: spare)
            }
        case .committed:
            // A standby server that does not exist has to confirm what has been written.
            try await TestDatabase.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", on: deployment.warehouse)
            try await TestDatabase.execute("SELECT pg_reload_conf()", on: deployment.warehouse)
            try await batchWaits("wait_event = 'SyncRep'")
            try await TestDatabase.execute("ALTER SYSTEM RESET synchronous_standby_names", on: deployment.warehouse)
            try await suffer(fault, sparing: spare)
            guard fault != .warehouseKilled else { return }
            try await TestDatabase.execute("SELECT pg_reload_conf()", on: deployment.warehouse)
        }
    }

    private func batchWaits(_ condition: String) async throws {
        try await eventually("a batch in flight") {
            try await TestDatabase.number(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'archiver%' AND \(condition)",
                on: deployment.warehouse) > 0
        }
    }

    // MARK: Faults

    private func suffer(_ fault: Fault, sparing spare: Bool) async throws {
        switch fault {
        case .archiverKilled, .archiverPaused:
            let busy = try await busy()!
            victim = spare && fault == .archiverKilled ? Self.other(than: busy) : busy
            processes[victim]!.signal(fault == .archiverKilled ? SIGKILL : SIGSTOP)
        case .pusherKilled, .discarderKilled:
            victim = fault == .pusherKilled ? "pusher" : "discarder"
            processes[victim]!.signal(SIGKILL)
        case .activeKilled: try await active.kill()
        case .warehouseKilled: try await warehouse.kill()
        }
    }

    func recover(from fault: Fault) async throws {
        switch fault {
        case .archiverKilled, .pusherKilled, .discarderKilled:
            _ = try await processes[victim]!.ended()
            try start(victim)
        case .archiverPaused:
            defer { processes[victim]!.signal(SIGCONT) }
            try await eventually("the other archiver's work") { try await busy() == Self.other(than: victim) }
        case .activeKilled: try await active.start()
        case .warehouseKilled: try await warehouse.start()
        }
    }

    /// The archiver whose batch was the last.
    private func busy() async throws -> String? {
        try await TestDatabase.rows("SELECT name FROM moves ORDER BY number DESC LIMIT 1", on: deployment.warehouse).first?[0]
    }

    private static func other(than name: String) -> String { archivers.first { $0 != name }! }

    private static let noteMoves = """
        CREATE TABLE moves (number bigserial PRIMARY KEY, name text, before bigint, after bigint);
        CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO moves (name, before, after)
            VALUES (current_setting('application_name'), OLD.last_evt_id, NEW.last_evt_id);
            RETURN NULL;
        END $$;
        CREATE TRIGGER note_move AFTER UPDATE ON evt_history_positions FOR EACH ROW EXECUTE FUNCTION note_move();
        """
}
