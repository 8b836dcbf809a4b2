import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// Finds out, and tells, who keeps a discarder from its role or from discarding.
final class DiscarderHindrances {
    private let tables: StreamTables
    private let connection: Connection
    private let health: DiscarderHealth
    private let logger: Logger
    private var lookedAt: ContinuousClock.Instant?
    private var trouble = TroubleLog()

    private static let pause = Duration.seconds(5)

    init(_ tables: StreamTables, _ connection: Connection, health: DiscarderHealth, logger: Logger) {
        self.tables = tables
        self.connection = connection
        self.health = health
        self.logger = logger
    }

    func works() { health.hindrance = nil }

    /// Somebody else has the role: mostly another discarder.
    func standBy() async {
        guard isDue else { return }
        let holder = try? await Hindrance.discarder(tables, from: connection)
        let who = holder.map { ", \($0.holder)" } ?? ""
        health.doing = "standing by: another discarder is at work\(who)"
        guard let holder, holder.isStrange else {
            health.hindrance = nil
            if trouble.isNews("role of \(holder?.holder.name ?? "")") {
                logger.info("another discarder is at work; standing by", metadata: [.holders: "\(who.dropFirst(2))"])
            }
            return
        }
        health.hindrance = "\(holder) (\(holder.advice))"
        guard trouble.isNews("role of \(holder.holder.name)") else { return }
        logger.warning("standing by, but not for a discarder", metadata: [.holders: "\(health.hindrance ?? "")"])
    }

    /// Nothing could be deleted because a lock was not to be had in time.
    func refused() async {
        guard isDue else { return }
        health.hindrance = (try? await found()).flatMap { $0.map { "nothing can be discarded: \($0)" } }
        guard let hindrance = health.hindrance, trouble.isNews(hindrance) else { return }
        logger.warning("nothing can be discarded", metadata: [.holders: "\(hindrance)"])
    }

    /// The error with those who are to blame for it.
    func blamed(_ error: PostgresError) async -> any Error {
        guard connection.isOpen, let found = try? await found() else { return error }
        return StoreError("\(error): \(found)")
    }

    private func found() async throws -> String? {
        let known = try await Hindrance.load(tables, from: connection)
        return try await (known.isEmpty ? Hindrance.registering(tables, from: connection) : known).text
    }

    private var isDue: Bool {
        guard lookedAt.map({ .now - $0 >= Self.pause }) ?? true else { return false }
        lookedAt = .now
        return true
    }
}
