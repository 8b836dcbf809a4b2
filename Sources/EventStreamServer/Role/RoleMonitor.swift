import Synchronization

/// Whether a role does its work, in words for people.
public enum Readiness: Hashable, Sendable {
    /// - Parameter what: what it does at the moment.
    case ready(_ what: String)
    /// - Parameter because: what is wrong.
    case notReady(because: String)

    package static let stopping = Readiness.notReady(because: "it stops")

    public var isReady: Bool { if case .ready = self { true } else { false } }
    public var text: String {
        switch self {
        case .ready(let text), .notReady(let text): text
        }
    }
}

/// What others see of a role, whatever its own thread is doing.
public final class RoleMonitor: Sendable {
    public let role: Role
    private let host = Mutex<RoleHost?>(nil)

    package init(_ role: Role) { self.role = role }

    /// The role's work has begun.
    package func attach(_ host: RoleHost) { self.host.withLock { $0 = host } }
    package func detach() { host.withLock { $0 = nil } }

    /// Whether its work is under way: it listens where it should, if it should.
    public var hasBegun: Bool { host.withLock { $0 != nil } }

    /// Asks the role, and answers otherwise where that is too late; nil while its work is not under way.
    private func ask<Value: Sendable>(
        within timeout: Duration, otherwise: Value, _ question: @escaping @Sendable (RoleHost) async -> Value
    ) async -> Value? {
        guard let host = host.withLock({ $0 }) else { return nil }
        return await Answer(timeout, otherwise: otherwise) { answer in Task { answer(await question(host)) } }.value
    }

    /// Whether the role's thread turns: it has something done that is asked of it now.
    public func turns(within timeout: Duration = .seconds(5)) async -> Bool {
        await ask(within: timeout, otherwise: false) {
            await $0.turn()
            return true
        } ?? true
    }

    public func readiness(within timeout: Duration = .seconds(5)) async -> Readiness {
        await ask(within: timeout, otherwise: .notReady(because: "its thread has not turned for \(timeout)")) {
            await $0.readiness
        } ?? .notReady(because: "it has not begun yet, or stops")
    }

    /// Which stream the role serves; nil where that is not known, or not in time.
    package func serves(within timeout: Duration = .seconds(5)) async -> ServedStream? {
        await ask(within: timeout, otherwise: nil) { await $0.served } ?? nil
    }

    /// Brings gauges up to date; gives up after a while.
    public func collect(within timeout: Duration = .seconds(8)) async {
        _ = await ask(within: timeout, otherwise: ()) { await $0.collect() }
    }
}
