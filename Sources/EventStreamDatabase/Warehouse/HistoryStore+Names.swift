package import EventStream
package import LibPQ

/// What an archive keeps under the name of an archiver.
extension HistoryStore {
    /// What is kept under this archiver's name, in words for people; nil if nothing is.
    package func holdings(on connection: Connection) async throws -> String? {
        guard let standing = try await standing(on: connection) else { return nil }
        let counts = try await connection.query(
            Statement(
                """
                SELECT (SELECT count(*) FROM \(tables.sums.sql) WHERE ident = $1),
                    (SELECT count(*) FROM \(tables.lost.sql) WHERE ident = $1)
                """), [.text(archiver.description)])
        return "its position \(standing.position) in \(tables.positions), \(counts.int(0, 0) ?? 0) sums in \(tables.sums), "
            + "\(counts.int(0, 1) ?? 0) events set aside in \(tables.lost), and the history"
    }

    /// Gives position, sums and what was set aside to another name. Done again it changes nothing.
    ///
    /// - Returns: false if there is nothing under this name.
    /// - Throws: ``StoreError`` if an archiver of either name is at work, or the new one has a position already.
    package func rename(to new: ConsumerIdentity, on connection: Connection) async throws -> Bool {
        let other = HistoryStore(tables: tables, archiver: new)
        return try await connection.transaction {
            for store in [self, other] {
                guard try await store.lockOfTransaction(on: connection) else {
                    let holder = try await store.holder(on: connection)
                    throw StoreError(
                        "\(store.archiver) is at work in the warehouse (\(holder?.description ?? "it has just ended")): stop it first"
                    )
                }
            }
            guard try await standing(on: connection) != nil else { return false }
            guard try await other.standing(on: connection) == nil else {
                throw StoreError(
                    "\(new) has a position of its own in \(tables.positions): give it another name first, or delete that row if it is of no "
                        + "use")
            }
            for table in [tables.positions, tables.sums, tables.lost] {
                try await connection.query(
                    Statement("UPDATE \(table.sql) SET ident = $2 WHERE ident = $1"),
                    [.text(archiver.description), .text(new.description)])
            }
            return true
        }
    }
}
