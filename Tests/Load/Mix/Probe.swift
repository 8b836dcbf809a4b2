import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamServer
import Foundation
import LibPQ
import PosixLoop
import Synchronization

/// Records an event every 10 ms and notes when its commit returned; what the way takes shows when it arrives.
final class Probe: Sendable {
    private let commits = Mutex<[Phase: [EventID: ContinuousClock.Instant]]>([:])

    /// On a thread of its own: the writers' must not keep it waiting.
    func run(_ phase: Phase, _ stage: Stage, while goesOn: @Sendable () -> Bool) async throws {
        let statement = Statement("SELECT \(stage.info.tables.add.sql)($1, 'null')", name: "mix_probe")
        while goesOn() {
            do {
                try await withConnection(to: stage.database.url) { connection in
                    while goesOn() {
                        let id = try await connection.query(statement, [.utf8(EventType.probe.utf8)]).int(0, 0) ?? 0
                        let now = ContinuousClock.now
                        commits.withLock { $0[phase, default: [:]][EventID(id)] = now }
                        try await Task.sleep(for: .milliseconds(10))
                    }
                }
            } catch let error as PostgresError where error.isRetriable {
                try await Task.sleep(for: .milliseconds(200))
            }
        }
    }

    /// From the commit's return to the receipt. An event may well be there before its writer knows that it is committed.
    func latencies(_ phase: Phase, received: [EventID: ContinuousClock.Instant]) -> Latencies {
        var latencies = Latencies()
        for (id, committed) in commits.withLock({ $0[phase] ?? [:] }) {
            guard let received = received[id] else { continue }
            latencies.add(milliseconds: max(0, (received - committed).inSeconds * 1000))
        }
        return latencies
    }
}
