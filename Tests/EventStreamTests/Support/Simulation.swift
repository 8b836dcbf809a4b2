import Foundation
import Testing

/// Runs simulated worlds, each out of a seed of its own, until one breaks a rule.
///
/// `EVT_SIMULATION_STEPS` is how many steps a simulation takes over all its worlds; `EVT_SIMULATION_SEED` runs the one
/// world that a failure named. `EVT_SIMULATION_TRACE` is how many lines of what happened before a failure are shown, by
/// simulations that tell.
enum Simulation {
    static let steps = number("EVT_SIMULATION_STEPS").map { Int(clamping: $0) }
    static let seed = number("EVT_SIMULATION_SEED")
    static let traceLines = number("EVT_SIMULATION_TRACE").map { Int(clamping: $0) } ?? 40

    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    static func seeds(stepsEach: Int, steps standard: Int = 60_000) -> [UInt64] {
        seed.map { [$0] } ?? (0..<max(1, (steps ?? standard) / stepsEach)).map { UInt64($0) }
    }

    /// - Parameters:
    ///   - steps: over all worlds, unless the environment says otherwise.
    ///   - violation: runs the world of this seed; what went wrong in it, or nil.
    static func check(
        stepsEach: Int, steps: Int = 60_000, sourceLocation: SourceLocation = #_sourceLocation, violation: (UInt64) -> String?
    ) async {
        for seed in seeds(stepsEach: stepsEach, steps: steps) {
            // Others, that wait for something, are not to wait for all worlds.
            await Task.yield()
            guard let text = violation(seed) else { continue }
            Issue.record("\(text); run it again with EVT_SIMULATION_SEED=\(seed)", sourceLocation: sourceLocation)
            return
        }
    }
}
