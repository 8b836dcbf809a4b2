import EventStream
import EventStreamClient
import Foundation
import TestSupport
import Testing

/// The pipeline over a database server that fails over or is put back, and a receiver that keeps what it gets.
final class FailOverWorld: Sendable {
    let deployment: Deployment
    let primary: PrivateCluster
    let standby: PrivateCluster
    private let discards: Bool
    private let state = State()

    private actor State {
        var processes: [String: ChildProcess] = [:]
        var received: Set<String> = []
        /// Ids in the order they came, of the present generation.
        var ids: [EventID] = []
        var generation: String?
        var number = 0

        func add(_ batch: EventBatch) {
            if let now = batch.origin?.generation.id, now != generation { (generation, ids) = (now, []) }
            for event in batch.events { received.insert("\(event.id) \(event.data)") }
            ids += batch.events.map(\.id)
        }

        func next() -> Int {
            number += 1
            return number
        }

        func set(_ name: String, _ process: ChildProcess) { processes[name] = process }
    }

    init(_ deployment: Deployment, primary: PrivateCluster, standby: PrivateCluster, discards: Bool) {
        self.deployment = deployment
        self.primary = primary
        self.standby = standby
        self.discards = discards
    }

    func start() async throws {
        try await deployment.migrate()
        try await deployment.noteTruth()
        let names = ["evt-pusher", "evt-archiver"] + (discards ? ["evt-discarder"] : [])
        for name in names {
            let process = try deployment.start(name, [], ["EVT_SESSION_TIMEOUT": "5s", "EVT_DISCARD_REQUIRE": "ARCHIVER"])
            await state.set(name, process)
        }
        try await eventually("the archiver's registration") { try await deployment.isRegistered("ARCHIVER") }
    }

    func stop() async throws {
        for (name, process) in await state.processes {
            let end = try await process.terminate()
            #expect(end.status == 0, "\(name): \(end.text.suffix(1000))")
        }
    }

    /// Runs `body` while a reliable receiver is at work.
    func receiving(_ body: () async throws -> Void) async throws {
        let endpoint = deployment.environment["EVT_PUSHER_CONNECT"]!
        var configuration = ReceiverConfiguration(endpoints: [endpoint])
        configuration.sessionTimeout = .seconds(5)
        let receiver = try ReliableReceiver("MINE", configuration)
        let reading = Task { [state] in
            for await batch in receiver.batches {
                await state.add(batch)
                await batch.confirm()
            }
        }
        let outcome: Result<Void, any Error>
        do {
            // Before that nothing is kept for it.
            try await eventually("the receiver's registration") {
                try await TestDatabase.number(
                    "SELECT count(*) FROM evt_consumers WHERE ident = 'local:MINE'", on: deployment.active) == 1
            }
            outcome = .success(try await body())
        } catch {
            outcome = .failure(error)
        }
        await receiver.stop()
        await reading.value
        try outcome.get()
    }

    func signal(_ name: String, _ number: Int32) async { await state.processes[name]?.signal(number) }
    func log(_ name: String) async -> String { await state.processes[name]?.output ?? "" }
    var logs: String {
        get async {
            var all = ""
            for (name, process) in await state.processes { all += "\(name):\n\(process.output.suffix(2000))\n" }
            return all
        }
    }

    // MARK: Events

    /// Records an event with data like no other's.
    ///
    /// - Returns: its id.
    @discardableResult
    func record(_ type: String, on url: String) async throws -> Int {
        let data = "{\"n\": \(await state.next())}"
        var id = 0
        // The server may be on its way up.
        try await eventually("the recording of \(type)") {
            id = (try? await TestDatabase.number("SELECT evt_add('\(type)', '\(data)')", on: url)) ?? 0
            return id > 0
        }
        return id
    }

    /// Records an event and waits until the receiver and the archive have it.
    @discardableResult
    func recordAndAwait(_ type: String) async throws -> Int {
        let id = try await record(type, on: deployment.active)
        let data = "{\"n\": \(await state.number)}"
        try await eventually("event \(id) at the receiver") { await state.received.contains("\(id) \(data)") }
        try await eventually("event \(id) in the archive") {
            try await TestDatabase.number(
                "SELECT count(*) FROM evt_history WHERE id = \(id) AND data::text = '\(data)'", on: deployment.warehouse) == 1
        }
        return id
    }

    /// What a consumer of its own gets that polls.
    func poll(after last: Int?) async throws -> [Int] {
        let poller = try await PollClient([deployment.environment["EVT_PUSHER_CONNECT"]!])
        try await poller.registerConsumer("POLLER")
        let events = try await poller.pollEvents("POLLER", after: last.map { EventID(Int64($0)) })
        await poller.close()
        return events.map { Int($0.id.rawValue) }
    }

    func standbyHasAll() async throws {
        let newest = try await TestDatabase.number("SELECT max(id) FROM truth", on: primary.url)
        try await eventually("the standby's copy") {
            try await TestDatabase.number("SELECT max(id) FROM truth", on: standby.url) == newest
        }
    }

    /// What the archiver has set aside.
    func lost() async throws -> [String] {
        try await TestDatabase.rows("SELECT id FROM evt_history_lost ORDER BY id", on: deployment.warehouse).compactMap { $0[0] }
    }

    /// Everything that is committed in the database there is now was received, in order, and is what the archive holds.
    func expectTheStreamOfTheDatabase() async throws {
        let newest = try await TestDatabase.number("SELECT max(id) FROM truth", on: deployment.active)
        for consumer in ["MINE", "ARCHIVER"] {
            try await eventually("the position of \(consumer)") { try await deployment.position(of: consumer) == newest }
        }
        if discards { try await eventually("the discard") { try await deployment.backlog() == 0 } }
        let truth = "SELECT id, type, data::text, ts FROM"
        let committed = try await TestDatabase.rows("\(truth) truth ORDER BY id", on: deployment.active)
        let archived = try await TestDatabase.rows("\(truth) evt_history ORDER BY id", on: deployment.warehouse)
        let received = await state.received
        let missing = committed.filter { !received.contains("\($0[0]!) \($0[2]!)") }
        #expect(missing == [], "committed and not received")
        #expect(archived.count == committed.count)
        #expect(zip(archived, committed).first { $0 != $1 } == nil, "the archive and the stream")
        let ids = await state.ids
        #expect(ids == ids.sorted(), "the order since the database went back")
        let aside = try await lost().count
        if aside > 0 {
            // Named until somebody has accepted it.
            let named = try await deployment.evt("archive", "verify")
            #expect(named.status == 1 && named.text.contains("aside    \(aside) events"), "\(named.text)")
            let doctor = try await deployment.evt("doctor")
            #expect(doctor.text.contains("evt archive lost restore"), "\(doctor.text)")
            let accepted = try await deployment.evtAsOwner("archive", "lost", "accept", "--reason", "the standby lagged")
            #expect(accepted.text == "the loss of \(aside) events is accepted\n", "\(accepted.text)")
            let listed = try await deployment.evt("archive", "lost", "list")
            #expect(listed.text.components(separatedBy: ": the standby lagged\n").count == aside + 1, "\(listed.text)")
        }
        let verified = try await deployment.evt("archive", "verify")
        #expect(verified.status == 0 && verified.text.contains(" 0 findings"), "\(verified.text)")
    }

    // MARK: Dumps

    func dump(_ url: String) async throws -> String {
        let file = "\(deployment.directory)/dump.sql"
        let made = try await ChildProcess.run("/usr/bin/env", ["\(primary.programs)/pg_dump", "-f", file, "-d", url])
        #expect(made.status == 0, "\(made.text)")
        return file
    }

    /// Puts a database back, whoever is connected to it.
    func restore(_ file: String, into url: String) async throws {
        let name = try await TestDatabase.rows("SELECT current_database()", on: url)[0][0]!
        try await TestDatabase.execute("DROP DATABASE \(name) WITH (FORCE)", on: primary.url)
        try await TestDatabase.execute("CREATE DATABASE \(name)", on: primary.url)
        let restored = try await ChildProcess.run(
            "/usr/bin/env", ["\(primary.programs)/psql", "-q", "-X", "-1", "-v", "ON_ERROR_STOP=1", "-f", file, "-d", url])
        #expect(restored.status == 0, "\(restored.text)")
    }
}
