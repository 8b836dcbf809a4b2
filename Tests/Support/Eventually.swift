/// A condition that did not come true in time.
package struct NotInTime: Error, CustomStringConvertible {
    package let description: String
}

/// Waits until `condition` gives a value, asking again and again; fails after a generous while.
///
/// Tests wait for conditions, never for time: the deadline only ends a test that has failed. The condition is asked where the
/// caller runs: on an event loop's thread, if that is there.
@discardableResult
package func eventually<Value>(
    _ what: String, within deadline: Duration = .seconds(240), _ condition: () async throws -> Value?
) async throws -> Value {
    let end = ContinuousClock.now + deadline
    while true {
        // Looked at before the condition is: a machine that is too busy to ask in time gets a last answer. And it stands between a
        // sleep and the closure: Swift 6.3 does not come back from a sleep for a closure that it calls next.
        let isLate = ContinuousClock.now >= end
        if let value = try await condition() { return value }
        guard !isLate else { throw NotInTime(description: "\(what) did not happen within \(deadline)") }
        try await Task.sleep(for: .milliseconds(10))
    }
}

/// Waits until `condition` is true.
package func eventually(
    _ what: String, within deadline: Duration = .seconds(240), _ condition: () async throws -> Bool
) async throws {
    try await eventually(what, within: deadline) { try await condition() ? true : nil }
}
