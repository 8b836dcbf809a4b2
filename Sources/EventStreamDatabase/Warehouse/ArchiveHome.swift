import EventStream
import LibPQ

/// Whether an archive is that of an active database.
struct ArchiveHome: Sendable {
    private let info: StreamInfo
    private let tables: ArchiveTables

    init(_ info: StreamInfo, _ history: HistoryStore) { (self.info, tables) = (info, history.tables) }

    /// - Returns: whether any archiver has ever been at work there.
    /// - Throws: ``StoreError`` if the archive is that of another database, or has been used by a copy of this one.
    func check(active: Connection, warehouse: Connection) async throws -> Bool {
        let tokens = ArchiveTokens(info)
        let rows = try await warehouse.query(Statement("SELECT ident, stream, token FROM \(tables.positions.sql) ORDER BY ident"))
        for row in 0..<rows.count {
            guard let archiver = ConsumerIdentity(rows.string(row, 0) ?? "") else { continue }
            let mine = try await tokens.origin(of: rows.string(row, 2), of: archiver, on: active)
            if let other = rows.string(row, 1), other != mine.stream {
                throw StoreError("\(tables.history) holds another stream, \(other), than this database, \(mine.stream)")
            }
            guard mine.isKnown else {
                throw StoreError(
                    "the archive of \(archiver) has been used by a copy of this database, or belongs to another: if it is the right one, "
                        + "`evt archive adopt`")
            }
        }
        return rows.count > 0
    }
}
