/// A stream with databases of its own, whoever serves it: built programs, or roles in this process.
package protocol TestStream: Sendable {
    /// Connection strings, for the owner of the tables.
    var active: String { get }
    var warehouse: String { get }
}

extension TestStream {
    package func archived() async throws -> Int {
        try await TestDatabase.number("SELECT count(*) FROM evt_history", on: warehouse)
    }
    package func backlog() async throws -> Int { try await TestDatabase.number("SELECT count(*) FROM evt_queue", on: active) }
    package func position(of component: String) async throws -> Int {
        try await TestDatabase.number("SELECT last_evt_id FROM evt_consumers WHERE ident = 'local:\(component)'", on: active)
    }
}
