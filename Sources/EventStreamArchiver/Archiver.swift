public import EventStream
import EventStreamClient
package import EventStreamDatabase
public import EventStreamServer
import LibPQ
public import Logging
package import PosixLoop

/// Copies the stream into a warehouse: a reliable consumer whose position is stored with what it copies.
///
/// What another sink would need beside an engine like ``ArchiverEngine``: see ``Role``.
public enum Archiver {
    public struct Configuration: Sendable {
        /// The warehouse: a libpq URI or keyword/value string.
        public var url: String { didSet { file = nil } }
        /// The file the URL was in: what it holds now counts for new connections.
        package var file: SecretFile?
        package var tables = ArchiveTables.standard
        /// The pusher, or several.
        public var connect: Endpoints
        /// For a pusher that has keys.
        public var keys: ClientKeys?
        /// Its name as a consumer: with keys the user is as the pusher's authorized keys call it.
        public var consumer = Settings.all.archiverComponent.standard
        public var want = Settings.all.archiverWant.standard
        /// Events one transaction in the warehouse may have; groups that wait are merged up to this.
        public var transactionMax = Settings.all.archiverBatch.standard
        /// How often the pusher gets a sign of life; at most a third of its session timeout.
        public var keepAlive = Settings.all.sessionTimeout.standard / 3

        public init(url: String, connect: Endpoints) {
            self.url = url
            self.connect = connect
        }
    }
}

extension Archiver.Configuration: RoleConfiguration {
    package static let role = Role.archiver
    package func engine(on loop: EventLoop, logger: Logger) -> any RoleEngine { ArchiverEngine(self, loop: loop, logger: logger) }
}

extension RoleService {
    /// The archiver as a service.
    public init(_ configuration: Archiver.Configuration, logger: Logger) { self.init(of: configuration, logger: logger) }
}

extension SettingsReader {
    package func archiver() throws(ConfigurationError) -> Archiver.Configuration {
        var configuration = Archiver.Configuration(
            url: try archive(), connect: try self.pusherConnect)
        configuration.tables = try archiveTables()
        configuration.file = archiveFile()
        configuration.keys = try clientKeys()
        configuration.consumer = try self.archiverComponent
        configuration.want = try self.archiverWant
        configuration.transactionMax = try self.archiverBatch
        configuration.keepAlive = min(configuration.keepAlive, try self.sessionTimeout / 3)
        return configuration
    }
}
