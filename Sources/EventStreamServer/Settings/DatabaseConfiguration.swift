public import EventStream
package import LibPQ

/// The active database and the stream's tables in it.
public struct DatabaseConfiguration: Sendable, CustomStringConvertible {
    /// A libpq URI or keyword/value string.
    public var url: String { didSet { file = nil } }
    /// The file the URL was in: what it holds now counts for new connections.
    package var file: SecretFile?
    public var tables: StreamTables

    public init(url: String, tables: StreamTables = .standard) {
        self.url = url
        self.tables = tables
    }

    package func options(application: String, settings: [String: String] = [:]) -> ConnectionOptions {
        // A database may have another default; single statements need no more, and must not fail for what others do.
        let settings = settings.merging(["default_transaction_isolation": "read committed"]) { mine, _ in mine }
        return ConnectionOptions(url, in: file, applicationName: application, settings: settings)
    }

    /// Host, port and database; never a password.
    public var description: String { ConnectionOptions((try? file?.read()) ?? url).description }
}
