package import EventStreamDatabase
package import LibPQ

/// A warehouse, and the archive's tables in it.
public struct ArchiveConfiguration: Sendable, CustomStringConvertible {
    /// A libpq URI or keyword/value string.
    public var url: String { didSet { file = nil } }
    /// The file the URL was in: what it holds now counts for new connections.
    package var file: SecretFile?
    package var tables = ArchiveTables.standard

    public init(url: String) { self.url = url }

    package func options(application: String, settings: [String: String] = [:]) -> ConnectionOptions {
        // As for the active database.
        let settings = settings.merging(["default_transaction_isolation": "read committed"]) { mine, _ in mine }
        return ConnectionOptions(url, in: file, applicationName: application, settings: settings)
    }

    /// Host, port and database; never a password.
    public var description: String { ConnectionOptions((try? file?.read()) ?? url).description }
}
