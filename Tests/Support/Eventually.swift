/// A condition that did not come true in time.
public struct NotInTime: Error, CustomStringConvertible {
    public let description: String
}

/// Waits until `condition` gives a value, asking again and again; fails after a generous while.
///
/// Tests wait for conditions, never for time: the deadline only ends a test that has failed.
@discardableResult
public func eventually<Value>(
    _ what: String, within deadline: Duration = .seconds(60), isolation: isolated (any Actor)? = #isolation,
    _ condition: () async throws -> Value?
) async throws -> Value {
    let end = ContinuousClock.now + deadline
    while true {
        if let value = try await condition() { return value }
        guard ContinuousClock.now < end else { throw NotInTime(description: "\(what) did not happen within \(deadline)") }
        try await Task.sleep(for: .milliseconds(10))
    }
}

/// Waits until `condition` is true.
public func eventually(
    _ what: String, within deadline: Duration = .seconds(60), isolation: isolated (any Actor)? = #isolation,
    _ condition: () async throws -> Bool
) async throws {
    try await eventually(what, within: deadline) { try await condition() ? true : nil }
}
