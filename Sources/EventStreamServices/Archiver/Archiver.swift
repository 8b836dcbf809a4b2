import EventLoop
public import EventStore
public import EventStream
public import EventStreamClient
import Logging
import Postgres

/// Copies the stream into a warehouse: a reliable consumer whose position is stored with what it copies.
public enum Archiver {
    public struct Configuration: Sendable {
        /// The warehouse: a libpq URI or keyword/value string.
        public var url: String { didSet { file = nil } }
        /// The file the URL was in: what it holds now counts for new connections.
        var file: ConnectionFile?
        public var tables: ArchiveTables
        /// The pusher, or several.
        public var connect: Endpoints
        /// For a pusher that has keys.
        public var keys: ClientKeys?
        /// Its name as a consumer: with keys the user is as the pusher's authorized keys call it.
        public var consumer = ConsumerIdentity(component: .archiver)
        public var want = EventFilter.all
        /// Events one transaction in the warehouse may have; groups that wait are merged up to this.
        public var transactionMax = 10_000
        /// How often the pusher gets a sign of life; at most a third of its session timeout.
        public var keepAlive = Duration.seconds(5)

        public init(url: String, tables: ArchiveTables = .standard, connect: Endpoints) {
            self.url = url
            self.tables = tables
            self.connect = connect
        }
    }
}

extension Archiver.Configuration: RoleConfiguration {
    static let role = Role.archiver
    func engine(on loop: EventLoop, logger: Logger) -> any RoleEngine { ArchiverEngine(self, loop: loop, logger: logger) }
}
