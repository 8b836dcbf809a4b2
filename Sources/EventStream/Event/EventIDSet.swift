/// A set of event ids in few stretches.
package struct EventIDSet: Hashable, Sendable {
    private let stretches: [ClosedRange<EventID>]

    /// - Parameter stretches: in order, apart from each other.
    package init(_ stretches: [ClosedRange<EventID>] = []) { self.stretches = stretches }

    package func contains(_ id: EventID) -> Bool {
        guard let last = stretches.last, id <= last.upperBound else { return false }
        var (low, high) = (0, stretches.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].upperBound < id { low = middle + 1 } else { high = middle }
        }
        return stretches[low].contains(id)
    }
}
