import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging
import PosixLoop

/// The archiver's connection to the warehouse, made anew after a failure.
final class WarehouseLink {
    let configuration: Archiver.Configuration
    let loop: EventLoop
    let logger: Logger
    private var connection: Connection?
    private var store: HistoryStore?
    /// Why nothing can be archived; nil if something can.
    var trouble: String?
    private let reconnects = Metric.reconnects.counter()
    let upkeep: HistoryUpkeep
    /// The connection was lost.
    var onLost: () -> Void = {}

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        upkeep = HistoryUpkeep(configuration, loop: loop, logger: logger)
    }

    func close() {
        upkeep.stop()
        connection?.close()
    }

    static let connectionLost = StoreError("the connection to the warehouse was lost")

    var isOpen: Bool { connection?.isOpen ?? false }

    /// The present connection.
    func current() throws -> (Connection, HistoryStore) {
        guard let connection, let store, connection.isOpen else { throw WarehouseLink.connectionLost }
        return (connection, store)
    }

    /// Makes a connection, and ends the one before.
    ///
    /// - Returns: how the archiver stands.
    func connect() async throws -> HistoryStore.Standing {
        connection?.close()
        do {
            let found = try await open()
            trouble = nil
            return found
        } catch {
            reconnects.add()
            trouble = "the warehouse cannot be used: \(error)"
            throw error
        }
    }

    private func open() async throws -> HistoryStore.Standing {
        let connection = try await Connection.open(
            ConnectionOptions(
                configuration.url, in: configuration.file, applicationName: "evt-archiver", settings: settings), on: loop)
        do {
            let store = try await HistoryStore.load(configuration.tables, archiver: configuration.consumer, from: connection)
            let rewriting = try await TableRewriting.positions(of: store.tables, on: connection)
            let found = try await begin(store, rewriting, on: connection)
            upkeep.begin(rewriting)
            (self.connection, self.store) = (connection, store)
            connection.onLost = { [weak self] error in
                self?.trouble = "the connection to the warehouse was lost: \(error)"
                self?.onLost()
            }
            return found
        } catch {
            let blamed = await blamed(error, over: connection)
            connection.close()
            throw blamed
        }
    }

    private func begin(
        _ store: HistoryStore, _ rewriting: TableRewriting, on connection: Connection
    ) async throws -> HistoryStore.Standing {
        do {
            return try await store.begin(configuration.want, on: connection)
        } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
            // Somebody has the positions locked: perhaps an archiver that was making the table anew, and is frozen.
            if try await rewriting.endFrozen(on: connection) > 0 {
                logger.warning("a frozen process had the table of positions locked; its connection was ended")
            }
            throw error
        }
    }

    /// The error, with those who are to blame for it where a lock was not to be had in time.
    func blamed(_ error: any Error) async -> any Error {
        guard let connection else { return error }
        return await blamed(error, over: connection)
    }

    private func blamed(_ error: any Error, over connection: Connection) async -> any Error {
        guard (error as? PostgresError)?.sqlState == .lockNotAvailable, connection.isOpen,
            let found = try? await Hindrance.load(configuration.tables, from: connection).text
        else { return error }
        return StoreError("\(error): \(found)")
    }

    private var settings: [String: String] {
        [
            // A database may have another default; what is copied here conflicts with nobody.
            "default_transaction_isolation": "read committed",
            // Another archiver of this name, frozen in its transaction, must not keep this one waiting; nor this one others.
            "lock_timeout": "2s",
            "idle_in_transaction_session_timeout": "\(Int64(configuration.keepAlive * 3 / .milliseconds(1)))",
        ]
    }
}
