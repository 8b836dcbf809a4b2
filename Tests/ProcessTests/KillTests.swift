import EventStreamClient
import Foundation
import Glibc
import TestSupport
import Testing

extension FaultTests {
    /// kill -9 of any of the processes, alone and together, whatever they are doing.
    @Suite struct KillTests {
        private static let rounds = 12

        @Test func nothingIsLostAndNothingThatWasStoredComesAgainWhoeverIsKilled() async throws {
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
            let settings = ["EVT_DISCARD_REQUIRE": "ARCHIVER", "EVT_DISCARD_LIMIT": "50"]
            try await deployment.noteTruth()
            // Before that nothing is kept for it.
            try await deployment.register("FOLLOWER")
            var processes = try deployment.startRoles(settings)
            let receiver = PersistentReceiver("FOLLOWER", at: [deployment.environment["EVT_PUSHER_CONNECT"]!])
            try await receiver.start()
            let generator = try await deployment.generator()
            let adding = Task { () -> [Int] in
                var ids: [Int] = []
                while !Task.isCancelled {
                    if let id = try? await generator.addEvent("ADDED", "1") { ids.append(Int(id.rawValue)) }
                }
                return ids
            }
            let load = WriterLoad(writers: 4, seed: random.next(), largest: 20, idle: 20)
            try await load.run(on: deployment.active) {
                for round in 0..<Self.rounds {
                    try await deployment.goesOn(receiver, "in round \(round)")
                    try await Task.sleep(for: .milliseconds(random.next() % 200))
                    // All of them in every fourth round; else one or several.
                    var victims = Deployment.roles.shuffled(using: &random)
                    if round % 4 != 3 { victims.removeLast(Int(random.next() % 3) + 1) }
                    for name in victims { processes[name]!.signal(SIGKILL) }
                    for name in victims { _ = try await processes[name]!.ended() }
                    if victims.contains("evt-pusher") {
                        // Nobody stores a position now. A receiver without a memory gets what comes after it, and nothing else.
                        await receiver.stop()
                        try await receiver.start(after: deployment.position(of: receiver.name))
                    }
                    for name in victims { processes[name] = try deployment.start(name, [], settings) }
                }
            }
            adding.cancel()
            let answered = await adding.value
            try await receiver.check(deployment, against: "truth", comment: "EVT_SIMULATION_SEED=\(seed)")
            try await deployment.checkArchive()
            try await eventually("the position of the receiver") {
                try await deployment.position(of: receiver.name) == receiver.log.newest
            }
            try await eventually("the discard") { try await deployment.backlog() == 0 }
            let recorded = Set(
                try await TestDatabase.rows("SELECT id FROM truth WHERE type = 'ADDED'", on: deployment.active).map {
                    Int($0[0]!)!
                })
            #expect(Set(answered).subtracting(recorded) == [], "EVT_SIMULATION_SEED=\(seed)")
            #expect(!answered.isEmpty)
            #expect(try await deployment.evt("archive", "verify").text.contains(" 0 findings"), "EVT_SIMULATION_SEED=\(seed)")
            await receiver.stop()
            await generator.close()
            try await processes.haveStarted()
            try await processes.stop()
        }
    }
}
