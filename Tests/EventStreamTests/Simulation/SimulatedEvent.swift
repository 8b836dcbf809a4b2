import EventStream
import EventStreamDatabase
import Foundation

@testable import EventStreamPusher

/// How simulated events look on the wire: fixed but for the id, the type and a size that depends on the id, so that a
/// group's ids can be read at little cost, and whatever else is in it is noticed.
enum SimulatedEvent {
    static let types = ["A", "B", "C"].map { EventType($0)! }
    private static let names = types.map { $0.utf8 }
    private static let data = (0..<5).map { size in
        RawJSON(unchecked: Array((size == 0 ? "0" : "\"" + String(repeating: "x", count: size * 30) + "\"").utf8))
    }
    /// The seconds tell the era.
    private static func timestamp(of row: SimulatedQueue.Row) -> EventTimestamp {
        EventTimestamp(microseconds: Int64(row.era % 10) * 1_000_000)
    }
    private static let head = Array("{\"id\":\"".utf8)
    private static let end = Array("Z\"}".utf8)
    private static let tails = types.map { type in
        data.map { Array("\",\"type\":\"\(type)\",\"data\":\($0),\"ts\":\"1970-01-01T00:00:0".utf8) }
    }

    /// Some have a key.
    static func key(of id: Int64) -> String? { id % 7 < 3 ? nil : keys[Int(id % 7) - 3] }
    private static let keys = ["\"", "é", "k", "\n"]
    private static func kind(of id: Int64) -> Int { id % 3 == 0 ? Int(id / 3 % 5) : 0 }
    static func size(of id: Int64) -> Int { data[kind(of: id)].bytes.count }

    /// The event as an application knows it again.
    static func row(_ event: Event) -> SimulatedQueue.Row {
        .init(
            id: event.id.rawValue, type: types.firstIndex(of: event.type) ?? 0, era: Int(event.timestamp.microseconds / 1_000_000)
        )
    }

    static func event(_ row: SimulatedQueue.Row) -> Event {
        Event(
            id: EventID(row.id), type: types[row.type], data: data[kind(of: row.id)], timestamp: timestamp(of: row),
            isPrecise: false, key: key(of: row.id))
    }

    static func append(_ row: SimulatedQueue.Row, to page: inout EventPageBuilder) {
        data[kind(of: row.id)].bytes.withUnsafeBytes { data in
            names[row.type].withUnsafeBytes {
                let name = $0
                guard let key = key(of: row.id) else {
                    return page.append(id: EventID(row.id), type: name, data: data, timestamp: timestamp(of: row))
                }
                Array(key.utf8).withUnsafeBytes {
                    page.append(id: EventID(row.id), type: name, data: data, timestamp: timestamp(of: row), key: $0)
                }
            }
        }
    }

    /// The events of an EventList; nil if it holds anything else.
    static func rows(of list: [UInt8]) -> [SimulatedQueue.Row]? {
        list.withUnsafeBytes { bytes in
            var rows: [SimulatedQueue.Row] = []
            var index = 1
            while index < bytes.count - 1 {
                index += head.count
                var id: Int64 = 0
                while index < bytes.count, bytes[index] &- 48 < 10 {
                    id = id * 10 + Int64(bytes[index] &- 48)
                    index += 1
                }
                // `","type":"` comes before the type's letter.
                guard index + 10 < bytes.count, case let type = Int(bytes[index + 10]) - 65, types.indices.contains(type)
                else { return nil }
                let tail = tails[type][kind(of: id)]
                guard bytes.count - index > tail.count + 1 + end.count, bytes[index...].starts(with: tail) else { return nil }
                index += tail.count
                let era = Int(bytes[index]) - 48
                index += 1
                guard bytes[index...].starts(with: end) else { return nil }
                index += end.count
                guard bytes[index] == UInt8(ascii: index == bytes.count - 1 ? "]" : ",") else { return nil }
                index += 1
                rows.append(.init(id: id, type: type, era: era))
            }
            return rows
        }
    }
}

/// What a read of the event table brought: `QueueRows` of the real driver.
struct SimulatedRows: FetchedRows {
    var rows: [SimulatedQueue.Row]
    let after: EventID
    let isCut: Bool
    private(set) var through: EventID

    init(rows: [SimulatedQueue.Row], after: EventID, bound: EventID, isCut: Bool) {
        self.rows = rows
        self.after = after
        self.isCut = isCut
        through = isCut ? rows.last.map { EventID($0.id) } ?? after : bound
    }

    /// A page of rows that follow `after`, in order.
    init(
        of committed: some Sequence<SimulatedQueue.Row>, after: EventID, through end: EventID, types: [Bool]?, stretch: Int64?,
        limits: (rows: Int, bytes: Int)
    ) {
        var through = end
        var (rows, bytes, isFirst): ([SimulatedQueue.Row], Int, Bool) = ([], 0, true)
        for row in committed {
            if isFirst, types != nil, let stretch { through = min(end, EventID(row.id + stretch)) }
            isFirst = false
            guard row.id <= through.rawValue, rows.count < limits.rows, bytes < limits.bytes else { break }
            guard types?[row.type] ?? true else { continue }
            rows.append(row)
            bytes += EventPage.overhead + SimulatedEvent.size(of: row.id)
        }
        self.init(rows: rows, after: after, bound: through, isCut: rows.count >= limits.rows || bytes >= limits.bytes)
    }

    /// The same, said to be complete up to another id than they are.
    func claiming(_ through: EventID) -> SimulatedRows {
        var rows = self
        rows.through = through
        return rows
    }

    func traces(first count: Int) -> [StreamMemory.Trace] {
        rows.prefix(count).map { .init(id: EventID($0.id), time: Int64($0.era)) }
    }

    var ids: [EventID] { rows.map { EventID($0.id) } }
    func page() -> EventPage { encode(rows.count).build(through: through) }
    func page(first count: Int) -> EventPage { encode(count).build(through: EventID(rows[count - 1].id)) }

    private func encode(_ count: Int) -> EventPageBuilder {
        var page = EventPageBuilder(after: after, capacity: count)
        for row in rows.prefix(count) { SimulatedEvent.append(row, to: &page) }
        return page
    }
}
