import EventStream
import EventStreamClient
import Foundation
import TestSupport
import Testing

/// Events that a receiver cannot process, with the built processes.
@Suite struct ParkingTests {
    private struct CannotProcess: Error {}

    /// A service that fails on some events, until it is corrected.
    private actor Service {
        private(set) var processed: [Int] = []
        private(set) var retried: [Int] = []
        private var isCorrected = false

        func correct() { isCorrected = true }

        func process(_ event: Event, isParked: Bool) throws {
            guard isCorrected || event.type != EventType("POISON") else { throw CannotProcess() }
            // What is parked keeps its key and meta.
            let isKeyed = event.key == "k\(event.data)" && event.meta?.description == "{ \"m\": 1}"
            if isParked, isKeyed { retried.append(Int(event.id.rawValue)) } else { processed.append(Int(event.id.rawValue)) }
        }
    }

    /// Runs a receiver of the service while `body` runs.
    private func serving(_ service: Service, _ deployment: Deployment, _ body: () async throws -> Void) async throws {
        var configuration = ReceiverConfiguration(endpoints: [deployment.environment["EVT_PUSHER_CONNECT"]!])
        configuration.fields = [.key, .meta]
        configuration.keepAlive = .milliseconds(300)
        configuration.sessionTimeout = .seconds(5)
        let receiver = try ReliableReceiver("FRAGILE", configuration)
        let reading = Task {
            batches: for await batch in receiver.batches {
                for event in batch.events {
                    do {
                        try await service.process(event, isParked: batch.isParked)
                    } catch {
                        await batch.reject(event, because: "poison \(event.id)")
                        continue batches
                    }
                }
                await batch.confirm()
            }
        }
        let outcome: Result<Void, any Error>
        do {
            try await body()
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        await receiver.stop()
        await reading.value
        try outcome.get()
    }

    @Test func whatFailsIsSetAsideAndDeliveredAgainWhenTheReceiverIsCorrected() async throws {
        try await Deployment.with { deployment in
            try await deployment.register("FRAGILE")
            try await TestDatabase.execute(
                """
                SELECT evt_add(CASE WHEN n % 100 = 50 THEN 'POISON' ELSE 'FINE' END, n::text::json, key => 'k' || n, meta => '{ "m": 1}')
                FROM generate_series(1, 500) n
                """, on: deployment.active)
            let newest = try await deployment.newest()
            let ids = Array(1...newest)
            let poison = ids.filter { $0 % 100 == 50 }
            let settings = ["EVT_MAX_ATTEMPTS": "2", "EVT_SESSION_TIMEOUT": "5s"]
            let service = Service()
            var processes = try deployment.startRoles(settings)
            // Each life of the receiver and of the pusher sees a part of it.
            for life in 1...3 {
                try await serving(service, deployment) {
                    try await eventually("events of life \(life)") { await Set(service.processed).count >= life * 120 }
                    processes["evt-pusher"]?.signal(SIGKILL)
                    _ = try await processes["evt-pusher"]?.ended()
                    processes["evt-pusher"] = try deployment.start("evt-pusher", [], settings)
                }
            }
            try await serving(service, deployment) {
                try await eventually("all that can be processed") {
                    await Set(service.processed) == Set(ids).subtracting(poison)
                }
                let status = try await deployment.evt("status")
                #expect(status.text.contains("local:FRAGILE has 5 events parked"), "\(status.text)")
                let list = try await deployment.evt("parked", "list", "FRAGILE")
                for id in poison {
                    #expect(list.text.contains("local:FRAGILE  \(id)  POISON  key k\(id)  parked "), "\(list.text)")
                }
                #expect(list.text.contains("after 2 attempts: poison \(poison[0])"), "\(list.text)")
                let shown = try await deployment.evt("parked", "show", "FRAGILE", "\(poison[1])")
                #expect(
                    shown.text.contains(#""data":\#(poison[1]),"key":"k\#(poison[1])","meta":{ "m": 1}"#), "\(shown.text)")
                // What the receiver fails on again stays parked.
                let early = try await deployment.evtAsOwner("parked", "retry", "FRAGILE", "\(poison[0])")
                #expect(early.status == 0 && early.text.contains("1 event will be delivered again"), "\(early.text)")
                try await eventually("another attempt") {
                    try await deployment.evt("parked", "list", "FRAGILE").text.contains("after 3 attempts: poison \(poison[0])")
                }
                await service.correct()
                let dropped = try await deployment.evtAsOwner("parked", "drop", "FRAGILE", "\(poison[4])", "--yes")
                #expect(dropped.status == 0, "\(dropped.text)")
                let retry = try await deployment.evtAsOwner("parked", "retry", "FRAGILE", "--all")
                #expect(retry.text.contains("4 events will be delivered again"), "\(retry.text)")
                try await eventually("what was parked") { await service.retried == Array(poison.prefix(4)) }
                try await eventually("nothing parked") {
                    try await TestDatabase.number("SELECT count(*) FROM evt_parked", on: deployment.active) == 0
                }
                let late = try await deployment.record("POISON")
                try await eventually("a new event") { await service.processed.last == late }
            }
            for process in processes.values { _ = try await process.terminate() }
        }
    }

    @Test func whatIsDroppedHoldsUpItsKeyNoMore() async throws {
        try await Deployment.with { deployment in
            try await deployment.register("FRAGILE")
            func record(_ types: String...) async throws {
                for type in types {
                    try await TestDatabase.execute("SELECT evt_add('\(type)', '1'::json, key => 'k')", on: deployment.active)
                }
            }
            let parked = { try await TestDatabase.number("SELECT count(*) FROM evt_parked", on: deployment.active) }
            let service = Service()
            let processes = try deployment.startRoles(["EVT_MAX_ATTEMPTS": "1", "EVT_SESSION_TIMEOUT": "5s"])
            try await serving(service, deployment) {
                try await record("POISON", "FINE", "FINE")
                try await eventually("all of the key is parked") { try await parked() == 3 }
                #expect(await service.processed == [])
                let poison = try await deployment.evtAsOwner("parked", "drop", "FRAGILE", "1", "--yes")
                #expect(poison.status == 0, "\(poison.text)")
                let retry = try await deployment.evtAsOwner("parked", "retry", "FRAGILE", "2")
                #expect(retry.text.contains("2 events will be delivered again"), "\(retry.text)")
                try await eventually("what followed") { await service.processed == [2, 3] }
                try await record("POISON", "FINE")
                try await eventually("both are parked") { try await parked() == 2 }
                let drop = try await deployment.evtAsOwner("parked", "drop", "FRAGILE", "--all", "--yes")
                #expect(drop.text.contains("2 events removed"), "\(drop.text)")
                try await record("FINE")
                try await eventually("the key goes on") { await service.processed == [2, 3, 6] }
            }
            for process in processes.values { _ = try await process.terminate() }
        }
    }

    @Test func aReceiverThatTakesNoParkedEventsIsNamed() async throws {
        try await Deployment.with { deployment in
            try await deployment.register("PLAIN")
            let id = try await deployment.record("POISON", "7")
            try await TestDatabase.execute(
                """
                INSERT INTO evt_parked (consumer, id, generation, type, data, ts, attempts, error, key, meta)
                SELECT c.id, q.id, s.generation, type, data, ts, 3, 'no', 'k', '{}' FROM evt_consumers c, evt_queue q, evt_queue_state s
                """, on: deployment.active)
            let retry = try await deployment.evtAsOwner("parked", "retry", "PLAIN", "--all")
            #expect(retry.status != 0 && retry.text.contains("took no parked events") && retry.text.contains("evt parked drop"))
            let asked = try await deployment.evtAsOwner("parked", "drop", "PLAIN", "--all")
            #expect(asked.status != 0 && asked.text.contains("local:PLAIN  \(id)  POISON") && asked.text.contains("--yes"))
            // Its data goes with what is erased.
            let erased = try await deployment.evtAsOwner("archive", "erase", "\(id)", "--reason", "test", "--yes")
            #expect(erased.status == 0, "\(erased.text)")
            let data = "SELECT count(*) FROM evt_parked WHERE data::text = 'null' AND error = '' AND key IS NULL AND meta IS NULL"
            #expect(try await TestDatabase.number(data, on: deployment.active) == 1)
            let removed = try await deployment.evtAsOwner("consumers", "remove", "PLAIN")
            #expect(removed.status == 0, "\(removed.text)")
            #expect(try await TestDatabase.number("SELECT count(*) FROM evt_parked", on: deployment.active) == 0)
        }
    }
}
