/// Keys of events, as pages have them.
package struct EventKeySet: Hashable, Sendable {
    private var keys: Set<[UInt8]>

    package init(_ keys: some Sequence<String> = []) { self.keys = Set(keys.map(EventKeySet.member)) }

    package var isEmpty: Bool { keys.isEmpty }
    package func contains(_ key: String) -> Bool { keys.contains(EventKeySet.member(key)) }
    package mutating func insert(_ key: String) { keys.insert(EventKeySet.member(key)) }
    package mutating func remove(_ key: String) { keys.remove(EventKeySet.member(key)) }

    /// - Parameter member: the key as it follows an event's other members; empty if the event has none.
    func contains(member: ArraySlice<UInt8>) -> Bool { !member.isEmpty && keys.contains(Array(member)) }

    private static func member(_ key: String) -> [UInt8] {
        var output: [UInt8] = []
        appendMember(key.utf8, to: &output)
        return output
    }

    static let memberName = Array(",\"key\":".utf8)

    static func appendMember(_ key: some Sequence<UInt8>, to output: inout [UInt8]) {
        output.append(contentsOf: memberName)
        JSONText.append(utf8: key, to: &output)
    }
}
