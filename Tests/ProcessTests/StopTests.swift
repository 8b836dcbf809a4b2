import EventStreamClient
import Foundation
import Glibc
import TestSupport
import Testing

extension FaultTests {
    /// Processes are told to stop under load.
    @Suite struct StopTests {
        @Test func everyProcessStopsCleanlyUnderLoadAndWhatWasConfirmedIsStored() async throws {
            try await Deployment.with { deployment in
                // Else what the receiver has confirmed may be discarded before the archiver begins.
                try await deployment.register("ARCHIVER")
                try await PersistentReceiver.following(deployment) { receiver in
                    let load = WriterLoad(writers: 4, seed: 10, largest: 20, idle: 5)
                    var stored = 0
                    try await load.run(on: deployment.active) {
                        for round in 0..<4 {
                            let processes = try deployment.startRoles()
                            let generator = try await deployment.generator()
                            // It takes a moment to have its database.
                            var first: Int?
                            try await eventually("the generator") {
                                first = (try? await generator.addEvent("ADDED", "1")).map { Int($0.rawValue) }
                                return first != nil
                            }
                            let adding = Task { [first] () -> [Int] in
                                var ids = [first].compactMap { $0 }
                                while let id = try? await generator.addEvent("ADDED", "1") { ids.append(Int(id.rawValue)) }
                                return ids
                            }
                            try await deployment.goesOn(receiver, "in round \(round)")
                            try await processes.haveStarted()
                            try await processes.stop()
                            // Groups that were in flight have been answered, and their answers stored, unless the machine was so
                            // busy that it took longer than a stop may: then they come again.
                            let (position, newest) = (try await deployment.position(of: receiver.name), await receiver.log.newest)
                            #expect(position <= newest)
                            stored += position == newest ? 1 : 0
                            await generator.close()
                            let ids = await adding.value
                            let list = ids.map { "\($0)" }.joined(separator: ",")
                            let recorded = "SELECT count(*) FROM truth WHERE type = 'ADDED' AND id IN (\(list))"
                            #expect(try await TestDatabase.number(recorded, on: deployment.active) == ids.count)
                        }
                    }
                    #expect(stored > 0)
                    let processes = try deployment.startRoles()
                    try await deployment.goesOn(receiver, "in the end")
                    try await deployment.checkArchive()
                    try await processes.haveStarted()
                    try await processes.stop()
                }
            }
        }

        @Test func aSecondSignalEndsAPusherThatWaitsForAnswers() async throws {
            try await Deployment.with { deployment in
                let pusher = try deployment.start("evt-pusher")
                try await deployment.record("HELD")
                let receiver = try ReliableReceiver(
                    "HOLDING", ReceiverConfiguration(endpoints: [deployment.environment["EVT_PUSHER_CONNECT"]!]))
                var batches = receiver.batches.makeAsyncIterator()
                let held = await batches.next()
                // The first is answered with waiting for the group to be confirmed; the next ends it.
                try await eventually("the end") {
                    pusher.signal(SIGTERM)
                    return !pusher.isRunning
                }
                #expect(try await pusher.ended().status == 1)
                await held?.confirm()
                let next = try deployment.start("evt-pusher")
                let reading = Task { for await batch in receiver.batches { await batch.confirm() } }
                try await eventually("the position") { try await deployment.position(of: "HOLDING") == 1 }
                await receiver.stop()
                await reading.value
                #expect(try await next.terminate().status == 0)
            }
        }

        /// How long receivers wait meanwhile is told, not judged: that depends on what else the machine does.
        @Test func receiversGoOnThroughARollingRestartOfTwoPushers() async throws {
            try await Deployment.with { deployment in
                let endpoints = (0...1).map { "ipc://\(deployment.directory)/push\($0)" }
                func start(_ index: Int) async throws -> ChildProcess {
                    let pusher = try deployment.start(
                        "evt-pusher", [], ["EVT_PUSHER_BIND": endpoints[index], "EVT_LIVE_BIND": ""])
                    try await eventually("the start of pusher \(index)") { pusher.output.contains("following the stream") }
                    return pusher
                }
                var pushers = [try await start(0), try await start(1)]
                try await PersistentReceiver.following(deployment, at: endpoints) { receiver in
                    let load = WriterLoad(writers: 2, seed: 11, largest: 5, idle: 10)
                    try await load.run(on: deployment.active) {
                        for round in 0..<6 {
                            try await deployment.goesOn(receiver, "in round \(round)")
                            let end = try await pushers[round % 2].terminate()
                            #expect(end.status == 0, "\(end.text)")
                            pushers[round % 2] = try await start(round % 2)
                        }
                        try await deployment.goesOn(receiver, "in the end")
                    }
                    print("rolling restart: the longest time without events was \(await receiver.log.longestGap)")
                }
                for pusher in pushers { #expect(try await pusher.terminate().status == 0) }
            }
        }
    }
}
