package import EventStream
package import LibPQ

/// Compares an archive with the active table: counts and checksums of ranges of ids, computed by each database from its own
/// rows, and single events where these differ.
///
/// A row's checksum is the first eight bytes of the SHA-256 of id, timestamp, type and the text of data, and of key and meta where
/// the event has these; a range's is their sum, so that ranges can be put together.
package struct ArchiveAudit: Sendable {
    package let info: StreamInfo
    package let history: HistoryStore
    package let want: EventFilter

    package init(_ info: StreamInfo, _ history: HistoryStore, want: EventFilter) {
        self.info = info
        self.history = history
        self.want = want
    }

    /// What a range holds.
    package struct Sum: Hashable, Sendable {
        package var events = 0
        /// A decimal integer.
        package var checksum = "0"
        package init(events: Int = 0, checksum: String = "0") { (self.events, self.checksum) = (events, checksum) }

        fileprivate init(_ rows: Rows, _ row: Int, _ column: Int) {
            self.init(events: Int(rows.int(row, column) ?? 0), checksum: rows.string(row, column + 1) ?? "0")
        }
    }

    /// A range of ids that was compared.
    package struct Block: Hashable, Sendable {
        package let first: EventID
        package let last: EventID
        package var active = Sum()
        package var archived = Sum()
        package var isEqual: Bool { active == archived }
    }

    /// A block ends before a multiple of 2 to this power; so it has no more events than that.
    package static let blockBits = 13
    /// Blocks compared with one query.
    private static let blocksAtOnce: Int64 = 16

    // The same text on every server: not what depends on its encoding, its byte order or the session's date style. No text has the
    // byte 0, so nothing that precedes key and meta can be taken for them.
    static let rowSum = rowSum(of: nil)

    /// - Parameter table: the row's table, where columns need it.
    static func rowSum(of table: String?) -> String {
        let row = table.map { "\($0)." } ?? ""
        return """
            ('x' || encode(substr(sha256(int8send(\(row)id) || timestamp_send(\(row)ts)
                || convert_to(\(row)type || ' ' || \(row)data::text, 'UTF8')
                || COALESCE(decode('0001', 'hex') || convert_to(\(row)key, 'UTF8'), '')
                || COALESCE(decode('0002', 'hex') || convert_to(\(row)meta::text, 'UTF8'), '')), 1, 8), 'hex'))::bit(64)::bigint
            """
    }

    private func rows(_ table: TableName) -> String {
        "\(table.sql) WHERE id >= $1::bigint AND id <= $2::bigint AND \(EventFilter.condition("$3::text[]", wants: "type"))"
    }

    private func parameters(_ first: EventID, _ last: EventID) -> [Parameter] {
        [.int8(first.rawValue), .int8(last.rawValue), .types(want)]
    }

    // MARK: Ranges

    /// Compares what lies in (after, through], or a part of it from its beginning.
    ///
    /// - Returns: blocks that lie side by side from `after` on, and the id up to which they go.
    package func compare(
        after: EventID, through: EventID, active: Connection, warehouse: Connection
    ) async throws -> (blocks: [Block], through: EventID) {
        let bits = Int64(ArchiveAudit.blockBits)
        guard let first = try await oldest(after: after, through: through, active: active, warehouse: warehouse) else {
            return ([Block(first: after.next, last: through)], through)
        }
        let end = min(through.rawValue, (first.rawValue >> bits + ArchiveAudit.blocksAtOnce) << bits - 1)
        let sums = { (table: TableName) in
            Statement("SELECT id >> \(bits), count(*), sum(\(ArchiveAudit.rowSum)) FROM \(rows(table)) GROUP BY 1")
        }
        // Both servers work at the same time.
        let parameters = parameters(first, EventID(end))
        let running = RunningQuery(sums(history.tables.history), parameters, on: warehouse)
        let mine = try await active.query(sums(info.tables.events), parameters)
        let theirs = try await running.rows()
        var found: [Int64: (active: Sum, archived: Sum)] = [:]
        for row in 0..<mine.count { found[mine.int(row, 0) ?? 0, default: (Sum(), Sum())].active = Sum(mine, row, 1) }
        for row in 0..<theirs.count { found[theirs.int(row, 0) ?? 0, default: (Sum(), Sum())].archived = Sum(theirs, row, 1) }
        var blocks: [Block] = []
        for (number, sums) in found.sorted(by: { $0.key < $1.key }) {
            // A stretch without events belongs to the block that follows, the last one to the block before.
            let first = blocks.last?.last.next ?? after.next
            let last = EventID(min((number + 1) << bits - 1, end))
            blocks.append(Block(first: first, last: last, active: sums.active, archived: sums.archived))
        }
        if let last = blocks.popLast() {
            blocks.append(Block(first: last.first, last: EventID(end), active: last.active, archived: last.archived))
        }
        return (blocks, EventID(end))
    }

    private func oldest(
        after: EventID, through: EventID, active: Connection, warehouse: Connection
    ) async throws -> EventID? {
        let first = { (table: TableName) in Statement("SELECT id FROM \(rows(table)) ORDER BY id LIMIT 1") }
        let parameters = parameters(after.next, through)
        let mine = try await active.query(first(info.tables.events), parameters)
        let theirs = try await warehouse.query(first(history.tables.history), parameters)
        return [mine, theirs].compactMap { $0.int(0, 0).map { EventID($0) } }.min()
    }

    /// What the archive holds of a range.
    package func archived(_ first: EventID, _ last: EventID, on warehouse: Connection) async throws -> Sum {
        let found = try await warehouse.query(
            Statement("SELECT count(*), sum(\(ArchiveAudit.rowSum)) FROM \(rows(history.tables.history))"),
            parameters(first, last))
        return Sum(found, 0, 0)
    }

    // MARK: Single events

    /// Where the archive differs from the active table.
    package struct Differences: Hashable, Sendable {
        /// In the active table only.
        package var missing: [EventID] = []
        /// In both, with another type, data, time, key or meta.
        package var changed: [EventID] = []
        /// In the archive only.
        package var extra: [EventID] = []
        package init() {}
    }

    /// Compares the single events of a block.
    package func differences(in block: Block, active: Connection, warehouse: Connection) async throws -> Differences {
        let each = { (table: TableName) in Statement("SELECT id, \(ArchiveAudit.rowSum) FROM \(rows(table))") }
        let parameters = parameters(block.first, block.last)
        func table(_ rows: Rows) -> [Int64: Int64] {
            Dictionary(
                (0..<rows.count).map { (rows.int($0, 0) ?? 0, rows.int($0, 1) ?? 0) }, uniquingKeysWith: { $0 &+ $1 })
        }
        // First the archive: what is recorded and archived in between is not taken for something the active table lacks.
        let theirs = table(try await warehouse.query(each(history.tables.history), parameters))
        let mine = table(try await active.query(each(info.tables.events), parameters))
        var found = Differences()
        for id in Set(mine.keys).union(theirs.keys).sorted() {
            switch (mine[id], theirs[id]) {
            case (nil, _): found.extra.append(EventID(id))
            case (_, nil): found.missing.append(EventID(id))
            case (let a, let b): if a != b { found.changed.append(EventID(id)) }
            }
        }
        return found
    }
}

/// A query on its way, so that two servers can be at work at once.
private final class RunningQuery {
    private var result: Result<Rows, PostgresError>?
    private var waiter: CheckedContinuation<Void, Never>?

    init(_ statement: Statement, _ parameters: [Parameter], on connection: Connection) {
        connection.submit(statement, parameters) { [self] result in
            self.result = result
            waiter?.resume()
            waiter = nil
        }
    }

    func rows() async throws(PostgresError) -> Rows {
        if result == nil { await withCheckedContinuation { waiter = $0 } }
        return try result!.get()
    }
}
