public import EventStream
import Postgres

/// The active database and the stream's tables in it.
public struct DatabaseConfiguration: Sendable, CustomStringConvertible {
    /// A libpq URI or keyword/value string.
    public var url: String
    public var tables: StreamTables

    public init(url: String, tables: StreamTables = .standard) {
        self.url = url
        self.tables = tables
    }

    func options(application: String, settings: [String: String] = [:]) -> ConnectionOptions {
        ConnectionOptions(url, applicationName: application, settings: settings)
    }

    /// Host, port and database; never a password.
    public var description: String { ConnectionOptions(url).description }
}
