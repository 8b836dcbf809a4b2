import Foundation
import TestSupport
import Testing

/// Two pushers on one database, of which now one, now the other is killed, paused or stopped under load.
@Suite(.serialized) struct TwoPushersTests {
    private static let rounds = 20

    @Test func receiversGetEverythingInOrderWhilePushersAreKilledPausedAndStopped() async throws {
        let seed = SplitMix.seedOfRun()
        try await Deployment.with { deployment in
            do {
                try await run(seed: seed, deployment)
            } catch {
                Issue.record(error, "run it again with EVT_SIMULATION_SEED=\(seed)")
            }
        }
    }

    private func run(seed: UInt64, _ deployment: Deployment) async throws {
        var random = SplitMix(seed: seed)
        try await TestDatabase.execute(Self.noteMovesBack, on: deployment.active)
        let pushers = TwoPushers(deployment)
        for index in 0...1 { try await pushers.start(index) }
        let forgetful = PersistentReceiver("FORGETFUL", at: pushers.endpoints.reversed())
        let receivers = [
            PersistentReceiver("ALL_A", at: pushers.endpoints), PersistentReceiver("ALL_B", at: pushers.endpoints.reversed()),
            PersistentReceiver("SOME", at: pushers.endpoints, want: "WANTED"), forgetful,
        ]
        for receiver in receivers { try await receiver.start() }
        let load = WriterLoad(writers: 4, seed: random.next(), types: ["WANTED", "OTHER"], largest: 20, idle: 100)
        try await load.run(on: deployment.active) {
            for round in 0..<Self.rounds {
                try await pushers.everyConsumerIsServed(count: receivers.count)
                if random.oneIn(4) {
                    await forgetful.crash()
                    try await forgetful.start()
                }
                let fault = Fault.allCases[Int(random.next() % UInt64(Fault.allCases.count))]
                let index = try await pushers.choose(using: &random)
                try await pushers.suffer(fault, index)
                // Recorded after the fault, or held up by it.
                let newest = try await deployment.newest("WANTED")
                for receiver in receivers {
                    try await eventually("events for \(receiver.name) in round \(round), pusher \(index) \(fault),") {
                        await receiver.log.newest >= newest
                    }
                }
            }
        }
        for receiver in receivers { try await receiver.check(deployment, comment: "EVT_SIMULATION_SEED=\(seed)") }
        for receiver in receivers {
            try await eventually("the position of \(receiver.name)") {
                try await deployment.position(of: receiver.name) == deployment.newest()
            }
            await receiver.stop()
        }
        for index in 0...1 { #expect(try await pushers.stop(index) == 0) }
        let movedBack = try await TestDatabase.rows("SELECT * FROM moved_back", on: deployment.active)
        #expect(movedBack == [], "EVT_SIMULATION_SEED=\(seed)")
    }

    private static let noteMovesBack = """
        CREATE TABLE moved_back (ident text, before bigint, after bigint);
        CREATE FUNCTION note_move_back() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO moved_back VALUES (OLD.ident, OLD.last_evt_id, NEW.last_evt_id);
            RETURN NULL;
        END $$;
        CREATE TRIGGER note_move_back AFTER UPDATE ON evt_consumers FOR EACH ROW
            WHEN (NEW.last_evt_id < OLD.last_evt_id) EXECUTE FUNCTION note_move_back();
        """
}

/// What happens to a pusher.
private enum Fault: CaseIterable {
    /// kill -9, and a new start.
    case killed
    /// For longer than its sessions live, with its connections open; then it goes on as if nothing had been.
    case paused
    /// SIGTERM, and a new start.
    case stopped
}

/// Two processes, and the number under which each is known in the database.
private final class TwoPushers {
    let endpoints: [String]
    private let deployment: Deployment
    private var processes: [Int: ChildProcess] = [:]
    private var numbers: [Int: String] = [:]

    init(_ deployment: Deployment) {
        self.deployment = deployment
        endpoints = (0...1).map { "ipc://\(deployment.directory)/push\($0)" }
    }

    func start(_ index: Int) async throws {
        let known = try await registered()
        processes[index] = try deployment.start(
            "evt-pusher", [],
            [
                "EVT_PUSHER_BIND": endpoints[index], "EVT_LIVE_BIND": "", "EVT_SESSION_TIMEOUT": "2s",
                // While the pusher that wakes the other is paused, this is how long the other sleeps.
                "EVT_SLEEP_MAX": "200ms",
            ])
        numbers[index] = try await eventually("the start of pusher \(index)") {
            try await registered().subtracting(known).first
        }
    }

    func stop(_ index: Int) async throws -> Int32 { try await processes[index]!.terminate().status }

    func suffer(_ fault: Fault, _ index: Int) async throws {
        let process = processes[index]!
        switch fault {
        case .killed:
            process.signal(SIGKILL)
            _ = try await process.ended()
            try await start(index)
        case .stopped:
            #expect(try await stop(index) == 0)
            try await start(index)
        case .paused:
            process.signal(SIGSTOP)
            defer { process.signal(SIGCONT) }
            // So its sessions have run out: the other has taken them over.
            try await eventually("the other pusher's service") {
                try await owners().allSatisfy { $0 == numbers[1 - index] }
            }
        }
    }

    func everyConsumerIsServed(count: Int) async throws {
        try await eventually("service for everybody") {
            let owners = try await owners()
            return owners.count == count && owners.allSatisfy { numbers.values.contains($0) }
        }
    }

    /// One of the two; rather one that has something to do.
    func choose(using random: inout SplitMix) async throws -> Int {
        let owners = try await owners()
        let busy = owners[Int(random.next() % UInt64(owners.count))] == numbers[0] ? 0 : 1
        return random.oneIn(4) ? 1 - busy : busy
    }

    /// The number of the pusher that serves each consumer; empty where nobody does.
    private func owners() async throws -> [String] {
        try await TestDatabase.rows("SELECT session_owner FROM evt_consumers ORDER BY ident", on: deployment.active)
            .map { $0[0] ?? "" }
    }

    private func registered() async throws -> Set<String> {
        Set(try await TestDatabase.rows("SELECT id FROM evt_queue_pushers", on: deployment.active).map { $0[0]! })
    }
}
