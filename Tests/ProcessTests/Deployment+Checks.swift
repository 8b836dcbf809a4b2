import Foundation
import TestSupport
import Testing

extension Deployment {
    /// Waits until an event that is recorded now has been received, and all before it.
    func goesOn(_ receiver: PersistentReceiver, _ when: String) async throws {
        let id = try await record("AFTER")
        try await eventually("events for \(receiver.name) \(when)") { await receiver.log.newest >= id }
    }

    /// Waits until all of the truth is in the archive, and compares the ids.
    func checkArchive() async throws {
        let truth = try await TestDatabase.number("SELECT max(id) FROM truth", on: active)
        try await eventually("the archive") {
            try await TestDatabase.number("SELECT max(id) FROM evt_history", on: warehouse) == truth
        }
        let ids = "SELECT count(*), md5(string_agg(id::text, ',' ORDER BY id)) FROM"
        let archived = try await TestDatabase.rows("\(ids) evt_history", on: warehouse)
        #expect(try await TestDatabase.rows("\(ids) truth", on: active) == archived)
    }
}

extension ChildProcess {
    /// Waits until each of so many roles has its database: a call that comes earlier is refused after a while.
    func serves(roles: Int = 1) async throws {
        try await eventually("a connection to the database") {
            output.components(separatedBy: "connected to the database").count > roles
        }
    }

    /// For how long it has said something.
    var secondsOfLog: Int {
        let times = output.split(separator: "\n").compactMap { try? Date("\($0.prefix(19))Z", strategy: .iso8601) }
        guard let first = times.first, let last = times.last else { return 0 }
        return Int(last.timeIntervalSince(first))
    }

    /// What it warned of. Writers that hold up the stream do so for long on a busy machine, and that is told.
    var warnings: [Substring] {
        output.split(separator: "\n").filter { $0.contains(" WARNING ") && !$0.contains("events wait for a transaction") }
    }
}

extension [String: ChildProcess] {
    /// Waits until each is at work: one that has only just been started does not listen to signals yet.
    func haveStarted() async throws {
        for (name, process) in self {
            try await eventually("\(name)'s work") {
                process.output.contains("connected to the database") || process.output.contains("receiving")
            }
        }
    }

    /// Each stops cleanly.
    func stop() async throws {
        for process in values { process.signal(SIGTERM) }
        for (name, process) in self {
            let end = try await process.ended()
            #expect(end.status == 0, "\(name): \(end.text.suffix(1000))")
        }
    }

    /// None has written more lines of its log than so many, and two for each second of its life: what goes on for long is not
    /// told again and again.
    func expectLog(lines limit: Int) {
        for (name, process) in self {
            let lines = process.output.split(separator: "\n")
            #expect(
                lines.count <= limit + 2 * process.secondsOfLog,
                "\(name): \(lines.count) lines, such as \(lines.suffix(5).joined(separator: "\n"))")
        }
    }
}
