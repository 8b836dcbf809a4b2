import EventLoop
import Logging
import ServiceLifecycle

/// What every role does around its work: a thread of its own, and a clean stop.
enum ServiceRunner {
    /// Runs `body` on a new event loop until it returns.
    static func run(
        _ body: nonisolated(nonsending) @escaping @Sendable (EventLoop) async throws -> Void
    ) async throws {
        let home = LoopActor()
        defer { home.loop.stop() }
        try await home.run(body)
    }

    /// Waits until what has been submitted to the loop has run, and what that has submitted: it may want those who are about to go.
    static func settle(_ loop: EventLoop) async {
        for _ in 0..<2 {
            await withCheckedContinuation { continuation in loop.execute { continuation.resume() } }
        }
    }

    /// Waits for the order to stop.
    static func untilShutdown() async { try? await gracefulShutdown() }
}
