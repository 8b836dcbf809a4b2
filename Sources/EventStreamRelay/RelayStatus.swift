import EventStream
import EventStreamServer
import Synchronization

/// How a relay stands, for whoever asks.
final class RelayStatus: Sendable {
    private struct State {
        var session = Readiness.notReady(because: "no pusher has been reached yet")
        /// What keeps events from being taken, by the worker that has them.
        var troubles: [Int: String] = [:]
        var standing: Set<Int> = []
        var stream: String?
    }

    private let state = Mutex(State())

    var readiness: Readiness {
        state.withLock { state in
            state.troubles.min { $0.key < $1.key }.map { .notReady(because: $0.value) } ?? state.session
        }
    }

    /// Whether nothing is handed over until a person changes something.
    var isStanding: Bool { state.withLock { !$0.standing.isEmpty } }
    var stream: String? { state.withLock { $0.stream } }

    func session(_ readiness: Readiness) { state.withLock { $0.session = readiness } }

    /// One of several slices may be another relay's, and the others are served.
    func isBusy(_ text: String) {
        state.withLock { if !$0.session.isReady { $0.session = .ready(text) } }
    }

    func serves(_ stream: String) { state.withLock { $0.stream = stream } }

    /// - Parameter text: nil for no trouble.
    func trouble(_ text: String?, isStanding: Bool, of worker: Int) {
        state.withLock {
            $0.troubles[worker] = text
            if isStanding { $0.standing.insert(worker) } else { $0.standing.remove(worker) }
        }
    }
}

/// Lets so many requests at a time through, of all workers together.
final class RequestGate: Sendable {
    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(_ count: Int) { state = Mutex(State(free: count)) }

    func enter() async {
        await withCheckedContinuation { continuation in
            let mayEnter = state.withLock { state in
                if state.free > 0 {
                    state.free -= 1
                    return true
                }
                state.waiting.append(continuation)
                return false
            }
            if mayEnter { continuation.resume() }
        }
    }

    func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.waiting.isEmpty else { return state.waiting.removeFirst() }
            state.free += 1
            return nil
        }
        next?.resume()
    }
}
