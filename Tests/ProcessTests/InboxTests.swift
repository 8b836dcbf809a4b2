import EventStream
import EventStreamClient
import LibPQ
import TestSupport
import Testing

/// The inbox in a receiver's own database, with the client in Swift. More in Tests/Inbox.
@Suite struct InboxTests {
    /// A service that notes what it processes in a database of its own.
    private struct Service: Sendable {
        let url: String
        let inbox = Inbox("FRAGILE")

        /// - Returns: how many events were processed.
        func process(_ batch: EventBatch, through last: Event? = nil) async throws -> Int {
            let claim = try inbox.claim(batch, through: last)
            return try await TestDatabase.connected(to: url) { connection in
                try await connection.transaction {
                    let rows = try await connection.query(Statement(claim.sql), claim.binds.map { .text($0) })
                    let events = claim.unprocessed((0..<rows.count).compactMap { rows.int($0, 0) })
                    for event in events {
                        let (data, isPoison) = (Int64(event.data.description) ?? 0, event.type == EventType("POISON"))
                        try await connection.query(
                            Statement(
                                "INSERT INTO work VALUES ($1::bigint, $2::bigint / CASE WHEN $3::boolean THEN 0 ELSE 1 END)"),
                            [.int8(event.id.rawValue), .int8(data), .bool(isPoison)])
                    }
                    return events.count
                }
            }
        }

        func work() async throws -> [Int] {
            try await TestDatabase.rows("SELECT data FROM work ORDER BY data", on: url).compactMap { $0[0].flatMap { Int($0) } }
        }
    }

    private func with(_ settings: [String: String] = [:], _ body: (Deployment, Service) async throws -> Void) async throws {
        try await Deployment.with { deployment in
            try await TestDatabase.with(.empty) { url in
                let made = try await ChildProcess.run("evt", ["inbox"], environment: ["EVT_INBOX_URL": url])
                #expect(made.status == 0, "\(made.text)")
                try await TestDatabase.execute("CREATE TABLE work (id bigint, data bigint)", on: url)
                try await deployment.register("FRAGILE")
                let pusher = try deployment.start("evt-pusher", [], settings)
                try await body(deployment, Service(url: url))
                #expect(try await pusher.terminate().status == 0)
            }
        }
    }

    private func receiver(of deployment: Deployment) throws -> ReliableReceiver {
        var configuration = ReceiverConfiguration(endpoints: [deployment.environment["EVT_PUSHER_CONNECT"]!])
        configuration.precise = true
        return try ReliableReceiver("FRAGILE", configuration)
    }

    @Test func whatWasCommittedAndNotConfirmedIsNotProcessedAgain() async throws {
        try await with { deployment, service in
            for number in 1...30 { try await deployment.record("FINE", "\(number)") }
            var counts: [Int] = []
            for life in 0..<2 {
                let receiver = try receiver(of: deployment)
                for await batch in receiver.batches {
                    let isWhole = life == 1 || batch.events.count < 2
                    counts.append(try await service.process(batch, through: isWhole ? nil : batch.events[batch.events.count / 2]))
                    guard life == 1 else {
                        await batch.reject(because: "the answer is lost")
                        break
                    }
                    await batch.confirm()
                    if try await service.work().count == 30 { break }
                }
                await receiver.stop()
            }
            #expect(try await service.work() == Array(1...30))
            #expect(counts.reduce(0, +) == 30)
            try await eventually("the position") { try await deployment.position(of: "FRAGILE") == 30 }
        }
    }

    @Test func aParkedEventIsProcessedOnceBehindLaterOnes() async throws {
        try await with(["EVT_MAX_ATTEMPTS": "2", "EVT_SESSION_TIMEOUT": "5s"]) { deployment, service in
            for number in 1...9 { try await deployment.record(number == 5 ? "POISON" : "FINE", "\(number)") }
            let receiver = try receiver(of: deployment)
            let reading = Task {
                batches: for await batch in receiver.batches {
                    for event in batch.events {
                        do {
                            _ = try await service.process(batch, through: event)
                        } catch {
                            await batch.reject(event, because: "poison")
                            continue batches
                        }
                        await batch.confirm(through: event)
                    }
                    await batch.confirm()
                }
            }
            try await eventually("all others") { try await service.work() == [1, 2, 3, 4, 6, 7, 8, 9] }
            try await TestDatabase.execute("UPDATE evt_parked SET type = 'FINE'", on: deployment.active)
            #expect(try await deployment.evtAsOwner("parked", "retry", "FRAGILE", "--all").status == 0)
            try await eventually("the parked event") { try await service.work() == Array(1...9) }
            try await eventually("the end of parking") {
                try await TestDatabase.number("SELECT count(*) FROM evt_parked", on: deployment.active) == 0
            }
            await receiver.stop()
            await reading.value
            #expect(try await service.work() == Array(1...9))
        }
    }
}
