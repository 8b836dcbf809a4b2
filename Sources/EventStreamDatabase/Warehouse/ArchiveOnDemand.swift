import EventStream
package import LibPQ

/// An archive that is connected to once it is needed.
package final class ArchiveOnDemand {
    private let options: ConnectionOptions
    private let tables: ArchiveTables
    private var opened: (store: HistoryStore, connection: Connection)?

    package init(_ options: ConnectionOptions, _ tables: ArchiveTables) { (self.options, self.tables) = (options, tables) }

    var name: String { (opened?.store.tables ?? tables).history.description }

    /// Runs `body` with the archive.
    ///
    /// - Parameter other: the connection to the active database; that to the archive is on the same loop.
    /// - Throws: ``StoreError`` if the archive cannot be read: an error of the archive must not pass for one of the active database.
    func read<Value>(
        beside other: Connection, _ body: (HistoryStore, Connection) async throws -> Value
    ) async throws -> Value {
        do {
            let (store, connection) = try await open(beside: other)
            return try await body(store, connection)
        } catch let error as PostgresError {
            throw StoreError("the archive \(name) cannot be read: \(error)")
        }
    }

    private func open(beside other: Connection) async throws -> (HistoryStore, Connection) {
        if let opened, opened.connection.isOpen { return opened }
        let connection = try await Connection.open(options, on: other.loop)
        do {
            let archiver = ConsumerIdentity(component: .archiver)
            let store = try await HistoryStore.load(tables, archiver: archiver, from: connection, writing: false)
            opened = (store, connection)
            return (store, connection)
        } catch {
            connection.close()
            throw error
        }
    }

    package func close() { opened?.connection.close() }
}
