import CommandLineSupport
import EventStream
import EventStreamDatabase
import LibPQ

/// What was committed, as the table itself has it.
struct Truth {
    private let events: [(id: EventID, type: EventType)]
    var count: Int { events.count }

    static func read(after start: EventID, _ info: StreamInfo, url: String) async throws -> Truth {
        try await withConnection(to: url) { connection in
            var events: [(id: EventID, type: EventType)] = []
            let page = Statement("SELECT id, type FROM \(info.tables.events.sql) WHERE id > $1::bigint ORDER BY id LIMIT 10000")
            var last = start
            while true {
                let rows = try await connection.query(page, [.int8(last.rawValue)])
                for row in 0..<rows.count {
                    guard let id = rows.int(row, 0).map({ EventID($0) }), let type = EventType(wire: rows.bytes(row, 1)) else {
                        throw StoreError("the event table has a row that is no event, after \(last)")
                    }
                    events.append((id, type))
                    last = id
                }
                if rows.count < 10_000 { return Truth(events: events) }
            }
        }
    }

    func ids(_ wanted: Wanted) -> [EventID] { events.compactMap { wanted.includes($0.type) ? $0.id : nil } }
    func last(_ wanted: Wanted) -> EventID { events.last { wanted.includes($0.type) }?.id ?? .none }
}

/// Which events a listener asks for.
enum Wanted {
    case filter(EventFilter)
    /// Types that begin so: a subscription's rule.
    case prefix(String)

    static let all = Wanted.filter(.all)

    func includes(_ type: EventType) -> Bool {
        switch self {
        case .filter(let filter): filter.wants(type)
        case .prefix(let prefix): type.utf8.starts(with: prefix.utf8)
        }
    }
}
