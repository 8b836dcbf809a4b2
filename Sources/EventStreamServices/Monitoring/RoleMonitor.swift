import EventLoop
import Synchronization

/// One of the four processes.
public enum Role: String, Hashable, CaseIterable, Sendable, CustomStringConvertible {
    case generator, pusher, archiver, discarder
    public var description: String { rawValue }
}

/// Whether a role does its work, in words for people.
public enum Readiness: Hashable, Sendable {
    /// - Parameter what: what it does at the moment.
    case ready(_ what: String)
    /// - Parameter because: what is wrong.
    case notReady(because: String)

    static let stopping = Readiness.notReady(because: "it stops")

    public var isReady: Bool { if case .ready = self { true } else { false } }
    public var text: String {
        switch self {
        case .ready(let text), .notReady(let text): text
        }
    }
}

/// A service whose roles can be looked at while it runs.
public protocol Monitored {
    var monitors: [RoleMonitor] { get }
}

/// What others see of a role, whatever its own thread is doing.
public final class RoleMonitor: Sendable {
    public let role: Role

    private struct Probe {
        let loop: EventLoop
        let readiness: () -> Readiness
        let serves: () -> ServedStream?
        let collect: (@escaping () -> Void) -> Void
    }
    /// The closures are called on the loop's thread only.
    private let probe = Mutex<Unchecked<Probe>?>(nil)

    init(_ role: Role) { self.role = role }

    /// The role's work has begun.
    ///
    /// - Parameters:
    ///   - readiness: says how it stands; must not wait for anything.
    ///   - serves: says which stream it serves, as soon as that is known.
    ///   - collect: brings the gauges up to date that nobody looks at otherwise, and calls back.
    func attach(
        _ loop: EventLoop, readiness: @escaping () -> Readiness, serves: @escaping () -> ServedStream? = { nil },
        collect: @escaping (@escaping () -> Void) -> Void = { $0() }
    ) {
        probe.withLock { $0 = Unchecked(Probe(loop: loop, readiness: readiness, serves: serves, collect: collect)) }
    }

    func detach() { probe.withLock { $0 = nil } }

    /// Whether its work is under way: it listens where it should, if it should.
    public var hasBegun: Bool { probe.withLock { $0 != nil } }

    /// Whether the role's thread turns: it has something done that is asked of it now.
    public func turns(within patience: Duration = .seconds(5)) async -> Bool {
        guard let probe = probe.withLock({ $0 }) else { return true }
        return await Answer(patience, otherwise: false) { answer in probe.value.loop.execute { answer(true) } }.value
    }

    public func readiness(within patience: Duration = .seconds(5)) async -> Readiness {
        guard let probe = probe.withLock({ $0 }) else { return .notReady(because: "it has not begun yet, or stops") }
        return await Answer(patience, otherwise: .notReady(because: "its thread has not turned for \(patience)")) { answer in
            probe.value.loop.execute { answer(probe.value.readiness()) }
        }.value
    }

    /// Which stream the role serves; nil where that is not known, or not in time.
    public func serves(within patience: Duration = .seconds(5)) async -> ServedStream? {
        guard let probe = probe.withLock({ $0 }) else { return nil }
        return await Answer(patience, otherwise: nil) { answer in
            probe.value.loop.execute { answer(probe.value.serves()) }
        }.value
    }

    /// Brings gauges up to date; gives up after a while.
    public func collect(within patience: Duration = .seconds(8)) async {
        guard let probe = probe.withLock({ $0 }) else { return }
        await Answer(patience, otherwise: ()) { answer in
            probe.value.loop.execute { probe.value.collect { answer(()) } }
        }.value
    }
}
