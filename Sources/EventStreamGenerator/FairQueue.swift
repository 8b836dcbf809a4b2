import DequeModule

/// A queue whose owners are served in turn: who puts much into it waits for itself, and others do not wait with it.
///
/// What one owner put in comes out in that order.
package struct FairQueue<Owner: Hashable, Element> {
    private var elements: [Owner: Deque<(element: Element, weight: Int)>] = [:]
    private var weights: [Owner: Int] = [:]
    /// Owners with something in the queue, the next to be served first.
    private var order: Deque<Owner> = []
    package private(set) var count = 0
    package private(set) var weight = 0

    package init() {}

    package var isEmpty: Bool { count == 0 }

    package func count(of owner: Owner) -> Int { elements[owner]?.count ?? 0 }
    package func weight(of owner: Owner) -> Int { weights[owner] ?? 0 }

    /// - Parameter weight: what it counts for in sums, such as its bytes.
    package mutating func append(_ element: Element, of owner: Owner, weight: Int = 0) {
        if elements[owner, default: []].isEmpty { order.append(owner) }
        elements[owner, default: []].append((element, weight))
        weights[owner, default: 0] += weight
        count += 1
        self.weight += weight
    }

    /// Takes the next elements: of one owner alone as many as there may be, of several each its share.
    ///
    /// - Parameters:
    ///   - limit: how many at most; at least 1.
    ///   - share: how many of one owner while others wait; at least 1.
    package mutating func take(_ limit: Int, share: Int) -> [Element] {
        var taken: [Element] = []
        let each = order.count <= 1 ? limit : max(1, min(share, limit / order.count))
        for _ in 0..<order.count where taken.count < limit {
            guard let owner = order.popFirst() else { break }
            let part = min(each, limit - taken.count, elements[owner]?.count ?? 0)
            for _ in 0..<part {
                guard let (element, weight) = elements[owner]?.popFirst() else { break }
                taken.append(element)
                weights[owner]? -= weight
                self.weight -= weight
            }
            if elements[owner]?.isEmpty ?? true { (elements[owner], weights[owner]) = (nil, nil) } else { order.append(owner) }
        }
        count -= taken.count
        return taken
    }

    package mutating func takeAll() -> [Element] {
        defer { self = FairQueue() }
        return order.flatMap { elements[$0]?.map(\.element) ?? [] }
    }
}
