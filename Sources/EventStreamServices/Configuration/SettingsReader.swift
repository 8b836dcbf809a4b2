import Configuration
import EventStream
import FoundationEssentials
public import Logging
import Postgres
import SystemPackage

/// Reads settings: flags first, then the environment, then a file, then the standard values.
///
/// Every method throws ``ConfigurationError`` for a value that does not fit, naming the setting and what it may be.
public struct SettingsReader: Sendable {
    private let config: ConfigReader
    /// Names in the environment and the file that look like settings and are none: misspelt, perhaps.
    public let unknown: [String]

    /// - Parameters:
    ///   - flags: values given on the command line, by the setting's name.
    ///   - environment: nil for the process's own.
    ///   - file: a file of `NAME=value` lines.
    public init(flags: [String: String], environment: [String: String]? = nil, file: String? = nil) async throws {
        var providers: [any ConfigProvider] = [EnvironmentVariablesProvider(environmentVariables: flags)]
        providers.append(
            environment.map { EnvironmentVariablesProvider(environmentVariables: $0) } ?? EnvironmentVariablesProvider())
        if let file {
            do {
                providers.append(try await EnvironmentVariablesProvider(environmentFilePath: FilePath(file)))
            } catch {
                throw ConfigurationError("the settings file \(file) cannot be read: \(error)")
            }
        }
        config = ConfigReader(providers: providers)
        let known = Set(Settings.all.map(\.name) + ["EVT_ENV_FILE"])
        let names = (environment ?? ProcessInfo.processInfo.environment).keys + (file.map { SettingsReader.names(in: $0) } ?? [])
        unknown = Set(names.filter { $0.hasPrefix("EVT_") && !known.contains($0) }).sorted()
    }

    /// The names of a file's `NAME=value` lines.
    private static func names(in file: String) -> [String] {
        let text = (try? Data(contentsOf: URL(filePath: file))).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return text.split(whereSeparator: \.isNewline).compactMap { line in
            line.firstIndex(of: "=").map { line[..<$0].trimmed }
        }
    }

    /// The value, or the standard one; nil if there is neither. An empty value is a value.
    func optional(_ setting: Setting) -> String? {
        let key = ConfigKey(setting.name.lowercased().split(separator: "_").map(String.init))
        return config.string(forKey: key) ?? setting.standard
    }

    func mismatch(_ setting: Setting, _ value: String) -> ConfigurationError {
        ConfigurationError("\(setting.name): \(shown(value)) does not fit; it is \(setting.meaning)")
    }

    func required(_ setting: Setting) throws(ConfigurationError) -> String {
        guard let value = optional(setting), !value.isEmpty else {
            throw ConfigurationError("\(setting.name) (or --\(setting.flag)) is not set; it is \(setting.meaning)")
        }
        return value
    }

    func bool(_ setting: Setting) throws(ConfigurationError) -> Bool {
        let value = optional(setting) ?? ""
        switch value.lowercased() {
        case "true", "yes", "on", "1": return true
        case "false", "no", "off", "0", "": return false
        default: throw mismatch(setting, value)
        }
    }

    func int(_ setting: Setting, in range: ClosedRange<Int>) throws(ConfigurationError) -> Int {
        let value = optional(setting) ?? ""
        guard let number = Int(value), range.contains(number) else { throw mismatch(setting, value) }
        return number
    }

    func duration(_ setting: Setting, in range: ClosedRange<Duration>) throws(ConfigurationError) -> Duration {
        let value = optional(setting) ?? ""
        guard let duration = Duration(text: value), range.contains(duration) else { throw mismatch(setting, value) }
        return duration
    }

    func table(_ setting: Setting) throws(ConfigurationError) -> TableName {
        let value = try required(setting)
        guard let table = TableName(value) else { throw mismatch(setting, value) }
        return table
    }

    /// Endpoints of a ZeroMQ transport, separated by commas.
    func endpoints(_ setting: Setting, _ value: String) throws(ConfigurationError) -> Endpoints {
        let endpoints = Endpoints(value)
        for endpoint in endpoints.list {
            guard let complaint = Endpoints.complaint(about: endpoint, binding: setting.name.hasSuffix("_BIND")) else { continue }
            throw ConfigurationError("\(setting.name): \(shown(endpoint)) \(complaint)")
        }
        if let twice = duplicate(endpoints.list.filter { !$0.hasSuffix(":*") && !$0.hasSuffix(":0") && $0 != "ipc://*" }) {
            throw ConfigurationError("\(setting.name): \(shown(twice)) is named twice")
        }
        guard !endpoints.isEmpty || value.isEmpty else { throw mismatch(setting, value) }
        return endpoints
    }

    /// The first value that is there twice.
    func duplicate<Value: Hashable>(_ values: [Value]) -> Value? {
        var seen: Set<Value> = []
        return values.first { !seen.insert($0).inserted }
    }

    public func logLevel() throws(ConfigurationError) -> Logger.Level {
        let value = try required(Settings.logLevel)
        guard let level = Logger.Level(rawValue: value.lowercased()) else { throw mismatch(Settings.logLevel, value) }
        return level
    }

    public func logsJSON() throws(ConfigurationError) -> Bool {
        let value = try required(Settings.logFormat)
        guard ["text", "json"].contains(value) else { throw mismatch(Settings.logFormat, value) }
        return value == "json"
    }
}

/// A value in quotes, for people; not where a connection string with a password was put into the wrong setting.
func shown(_ value: String) -> String {
    ConnectionOptions(value).holdsPassword ? "what holds a password, and is not shown," : "\"\(value)\""
}

extension Duration {
    /// Reads `200ms`, `30s`, `5m`, `2h`, `7d`; a number without a unit means nothing, 0 aside.
    public init?(text: String) {
        let units: [(String, Double)] = [
            ("ms", 0.001), ("us", 0.000_001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400),
        ]
        if text == "0" {
            self = .zero
            return
        }
        for (unit, seconds) in units where text.hasSuffix(unit) {
            let digits = text.dropLast(unit.count)
            guard digits.utf8.allSatisfy({ $0 == UInt8(ascii: ".") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = Double(digits), number >= 0, number * seconds < 1e9
            else { return nil }
            self = .microseconds(Int64((number * seconds * 1e6).rounded()))
            return
        }
        return nil
    }
}
