import Configuration
import FoundationEssentials
import LibPQ
import SystemPackage

/// Reads settings: flags first, then the environment, then a file, then the standard values.
///
/// Every method throws ``ConfigurationError`` for a value that does not fit, naming the setting and what it may be.
@dynamicMemberLookup
package struct SettingsReader: Sendable {
    private let config: ConfigReader
    /// Names in the environment and the file that look like settings and are none: misspelt, perhaps.
    package let unknown: [String]

    /// - Parameters:
    ///   - flags: values given on the command line, by the setting's name.
    ///   - environment: nil for the process's own.
    ///   - file: a file of `NAME=value` lines.
    package init(flags: [String: String], environment: [String: String]? = nil, file: String? = nil) async throws {
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
        let known = Set(Settings.facts.map(\.name))
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

    /// What a setting is, or its default.
    ///
    ///     let period = try settings.discardPollPeriod
    package subscript<Value>(dynamicMember setting: KeyPath<Settings, Setting<Value>>) -> Value {
        get throws(ConfigurationError) { try value(Settings.all[keyPath: setting]) }
    }

    package func value<Value>(_ setting: Setting<Value>) throws(ConfigurationError) -> Value {
        guard let text = text(setting.facts) else { return setting.standard }
        guard let value = try setting.kind.read(text, setting.facts.name) else { throw mismatch(setting.facts, text) }
        return value
    }

    /// What was given, before any default; an empty value is a value.
    package func text(_ setting: SettingFacts) -> String? {
        config.string(forKey: ConfigKey(setting.name.lowercased().split(separator: "_").map(String.init)))
    }

    private func mismatch(_ setting: SettingFacts, _ value: String) -> ConfigurationError {
        let range = setting.range.map { "must be \($0)" } ?? setting.meaning
        return ConfigurationError("\(setting.name): \(shown(value)) is not valid: \(range)")
    }

    package func required(_ setting: Setting<String?>) throws(ConfigurationError) -> String {
        if let value = try value(setting) { return value }
        throw ConfigurationError("\(setting.facts.name) (or --\(setting.facts.flag)) is not set: \(setting.facts.meaning)")
    }
}

/// A value in quotes, for people; not where a connection string with a password was put into the wrong setting.
package func shown(_ value: String) -> String {
    ConnectionOptions(value).holdsPassword ? "what holds a password, and is not shown," : "\"\(value)\""
}

extension Duration {
    private static let units: [(name: String, microseconds: Int64)] = [
        ("ms", 1000), ("us", 1), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000),
    ]

    /// Reads `200ms`, `30s`, `5m`, `2h`, `7d`; a number without a unit means nothing, 0 aside.
    package init?(text: String) {
        if text == "0" {
            self = .zero
            return
        }
        for (unit, microseconds) in Duration.units where text.hasSuffix(unit) {
            let digits = text.dropLast(unit.count)
            guard digits.utf8.allSatisfy({ $0 == UInt8(ascii: ".") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = Double(digits), number >= 0, number * Double(microseconds) < 1e15
            else { return nil }
            self = .microseconds(Int64((number * Double(microseconds)).rounded()))
            return
        }
        return nil
    }

    /// The duration as ``init(text:)`` reads it, in the largest unit that divides it.
    package var text: String {
        let microseconds = Int64(self / .microseconds(1))
        let unit = Duration.units.filter { microseconds % $0.microseconds == 0 }.max { $0.microseconds < $1.microseconds }!
        return microseconds == 0 ? "0" : "\(microseconds / unit.microseconds)\(unit.name)"
    }
}
