import EventStream
import EventStreamServer
import LibPQ
import Logging

/// The guards of all required archives: what they let go together. Notes and tells why they keep the rest.
final class ArchiveGuards {
    private let guards: [ArchiveGuard]
    private let store: DiscardStore
    private let connection: Connection
    private let health: DiscarderHealth
    private let logger: Logger
    /// What may go at most, as long as a guard refuses the rest.
    private(set) var allowed = EventID(.max)
    private var isNoted = false
    /// When the archives were last asked what event types they have.
    private var asked: ContinuousClock.Instant?

    init(_ guards: [ArchiveGuard], _ store: DiscardStore, _ connection: Connection, health: DiscarderHealth, logger: Logger) {
        (self.guards, self.store, self.connection, self.health, self.logger) = (guards, store, connection, health, logger)
    }

    var isEmpty: Bool { guards.isEmpty }

    func close() { for each in guards { each.close() } }

    /// Whether every required archive holds what is to go; if not, what it does hold may go.
    func mayGo(through: EventID, after discarded: EventID) async throws -> Bool {
        var bound = EventID(.max)
        for each in guards {
            bound = min(bound, try await each.verify(through: through, after: discarded, active: connection))
        }
        let refusal = guards.compactMap(\.refusal?.reason).first
        if !guards.isEmpty, !isNoted || refusal != health.refusal {
            isNoted = true
            if let refusal { logger.error("not discarded", metadata: [.reason: "\(refusal)"]) }
            try await store.note(refusal: refusal, on: connection)
        }
        health.keeps(because: refusal, lacksEvents: guards.contains { $0.refusal?.lacksEvents ?? false })
        allowed = bound < through ? bound : EventID(.max)
        return bound >= through
    }

    /// What was refused before may have been put right; and an archive that was not seen to have all event types may have them now:
    /// until then consumers hold all events, however far behind they are.
    func checkAgain(after discarded: EventID) async throws {
        if allowed < EventID(.max) {
            _ = try await mayGo(through: allowed.next, after: discarded)
        } else if !guards.isEmpty, !guards.contains(where: \.isOfAll), asked.map({ .now - $0 > .seconds(1) }) ?? true {
            asked = .now
            for each in guards { _ = try await each.verify(through: discarded, after: discarded, active: connection) }
        }
    }
}
