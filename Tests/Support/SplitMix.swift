import Foundation

/// A seed gives the same run everywhere: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators".
package struct SplitMix: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    // Not `Int.random(in:using:)`: simulations draw several numbers a step, and for small bounds this is as even.
    package mutating func below(_ bound: Int) -> Int { Int(truncatingIfNeeded: ((next() >> 32) &* UInt64(bound)) >> 32) }
    package mutating func pick(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + below(range.upperBound - range.lowerBound + 1)
    }
    package mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// One in `times`, on average.
    package mutating func oneIn(_ times: UInt64) -> Bool { next() % times == 0 }

    /// The seed of a run: of `EVT_SIMULATION_SEED`, to see a run again, or any.
    package static func seedOfRun() -> UInt64 {
        ProcessInfo.processInfo.environment["EVT_SIMULATION_SEED"].flatMap { UInt64($0) } ?? .random(in: 0...UInt64.max)
    }
}
