package import EventStream
package import EventStreamDatabase
import Glibc
import LibPQ
import SystemPackage

/// Connection strings: given as they are, or in files of their own, where secrets are kept.
extension SettingsReader {
    package func streamTables() throws(ConfigurationError) -> StreamTables {
        StreamTables(events: try self.eventTable, consumers: try self.consumerTable)
    }

    package func archiveTables() throws(ConfigurationError) -> ArchiveTables { ArchiveTables(history: try self.historyTable) }

    /// The active database, where one is needed.
    package func database() throws(ConfigurationError) -> DatabaseConfiguration {
        let tables = try streamTables()
        var url = try databaseURL()
        if url == nil { url = try required(Settings.all.databaseURL) }
        var configuration = DatabaseConfiguration(url: url!, tables: tables)
        configuration.file = file(Settings.all.databaseURLFile)
        return configuration
    }

    /// The active database's; nil if none is set.
    package func databaseURL() throws(ConfigurationError) -> String? {
        try connectionString(Settings.all.databaseURL, orFile: Settings.all.databaseURLFile)
    }

    /// The warehouse's; nil if none is set.
    package func archiveURL() throws(ConfigurationError) -> String? {
        try connectionString(Settings.all.archiveURL, orFile: Settings.all.archiveURLFile)
    }

    /// The warehouse's, where one is needed.
    package func archive() throws(ConfigurationError) -> String {
        if let url = try archiveURL() { return url }
        return try required(Settings.all.archiveURL)
    }

    /// The database in which a receiver does its work.
    package func inboxURL() throws(ConfigurationError) -> String {
        let url = try required(Settings.all.inboxURL)
        try check(url, Settings.all.inboxURL.facts.name)
        return url
    }

    /// The warehouse and its tables; nil if none is set.
    package func archiveIfSet() throws(ConfigurationError) -> ArchiveConfiguration? {
        guard let url = try archiveURL() else { return nil }
        var configuration = ArchiveConfiguration(url: url)
        configuration.file = archiveFile()
        configuration.tables = try archiveTables()
        return configuration
    }

    /// The file that ``archive()`` is in; nil if it is in none.
    package func archiveFile() -> SecretFile? { file(Settings.all.archiveURLFile) }

    private func file(_ setting: Setting<String?>) -> SecretFile? {
        guard let path = try? value(setting) else { return nil }
        let file = SecretFile(setting: setting.facts.name, path: path)
        // A pipe or a terminal gives what it has once.
        return file.isRegular ? file : nil
    }

    private func connectionString(
        _ setting: Setting<String?>, orFile file: Setting<String?>
    ) throws(ConfigurationError) -> String? {
        let (name, fileName) = (setting.facts.name, file.facts.name)
        let given = try value(setting)
        guard let path = try value(file) else {
            if let given { try check(given, name) }
            return given
        }
        guard given == nil else { throw ConfigurationError("\(name) and \(fileName) are both set: set only one of the two") }
        let line = try SecretFile(setting: fileName, path: path).read()
        try check(line, fileName)
        return line
    }

    private func check(_ url: String, _ name: String) throws(ConfigurationError) {
        do {
            try ConnectionOptions(url).validate()
        } catch {
            throw ConfigurationError("\(name): \(error.message)")
        }
    }
}

/// A file that holds a connection string or another secret, which is read again each time it is used: it may be rotated.
///
/// While it is missing or empty, as for a moment when it is replaced, what needs it fails, and is tried again.
package struct SecretFile: Hashable, Sendable {
    package let setting: String
    package let path: String
    /// What the file holds, in words.
    let holds: String

    package init(setting: String, path: String, holds: String = "connection string") {
        (self.setting, self.path, self.holds) = (setting, path, holds)
    }

    private static let largest = 64 << 10

    /// What is in the file is never told: it is secret.
    package func read() throws(ConfigurationError) -> String {
        func wrong(_ what: String) -> ConfigurationError { ConfigurationError("\(setting): the file \(path) \(what)") }
        let bytes: [UInt8]
        do {
            bytes = try read(FilePath(path), atMost: SecretFile.largest + 1)
        } catch {
            throw wrong("cannot be read: \(error)")
        }
        guard bytes.count <= SecretFile.largest else { throw wrong("has more than 64 KiB; it holds a \(holds)") }
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else { throw wrong("is not UTF-8 text") }
        let line = text[...].trimmed
        guard !line.isEmpty else { throw wrong("is empty; it holds a \(holds)") }
        guard !line.contains(where: \.isNewline) else { throw wrong("has several lines; it holds one \(holds)") }
        return line
    }

    package var isRegular: Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    private func read(_ path: FilePath, atMost limit: Int) throws -> [UInt8] {
        let file = try FileDescriptor.open(path, .readOnly, retryOnInterrupt: true)
        return try file.closeAfter {
            var bytes: [UInt8] = []
            while bytes.count < limit {
                let piece = try [UInt8](unsafeUninitializedCapacity: limit - bytes.count) { buffer, count in
                    count = try file.read(into: UnsafeMutableRawBufferPointer(buffer), retryOnInterrupt: true)
                }
                if piece.isEmpty { break }
                bytes += piece
            }
            return bytes
        }
    }
}

extension ConnectionOptions {
    /// - Parameter file: where the connection string is; it is read again for each attempt to connect.
    package init(_ url: String, in file: SecretFile?, applicationName: String, settings: [String: String]) {
        self.init(url, applicationName: applicationName, settings: settings)
        if let file { refresh = { try file.read() } }
    }
}
