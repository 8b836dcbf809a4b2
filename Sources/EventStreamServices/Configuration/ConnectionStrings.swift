import SystemPackage

/// Connection strings: given as they are, or in files of their own, where secrets are kept.
extension SettingsReader {
    /// The active database, where one is needed.
    public func database() throws(ConfigurationError) -> DatabaseConfiguration {
        let tables = try streamTables()
        if let url = try databaseURL() { return DatabaseConfiguration(url: url, tables: tables) }
        return DatabaseConfiguration(url: try required(Settings.databaseURL), tables: tables)
    }

    /// The active database's; nil if none is set.
    public func databaseURL() throws(ConfigurationError) -> String? {
        try connectionString(Settings.databaseURL, orFile: Settings.databaseURLFile)
    }

    /// The warehouse's; nil if none is set.
    public func archiveURL() throws(ConfigurationError) -> String? {
        try connectionString(Settings.archiveURL, orFile: Settings.archiveURLFile)
    }

    /// The warehouse's, where one is needed.
    public func archive() throws(ConfigurationError) -> String {
        if let url = try archiveURL() { return url }
        return try required(Settings.archiveURL)
    }

    private func connectionString(_ setting: Setting, orFile file: Setting) throws(ConfigurationError) -> String? {
        let given = optional(setting).flatMap { $0.isEmpty ? nil : $0 }
        guard let path = optional(file), !path.isEmpty else { return given }
        guard given == nil else {
            throw ConfigurationError("\(setting.name) and \(file.name) are both set: only one of them can be")
        }
        return try line(of: path, file)
    }

    private static let largestFile = 64 << 10

    /// What is in the file is never told: it holds a password.
    private func line(of path: String, _ setting: Setting) throws(ConfigurationError) -> String {
        func wrong(_ what: String) -> ConfigurationError { ConfigurationError("\(setting.name): the file \(path) \(what)") }
        let bytes: [UInt8]
        do {
            bytes = try read(FilePath(path), atMost: SettingsReader.largestFile + 1)
        } catch {
            throw wrong("cannot be read: \(error)")
        }
        guard bytes.count <= SettingsReader.largestFile else { throw wrong("has more than 64 KiB; it holds a connection string") }
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else { throw wrong("is not UTF-8 text") }
        let line = text[...].trimmed
        guard !line.isEmpty else { throw wrong("is empty; it holds a connection string") }
        guard !line.contains(where: \.isNewline) else { throw wrong("has several lines; it holds one connection string") }
        return line
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
