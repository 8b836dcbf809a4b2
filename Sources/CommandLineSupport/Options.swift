import ArgumentParser
package import EventStreamServer
import FoundationEssentials
import LibPQ

/// A command, or a part of one, that reads settings: what its flags are made of.
package protocol ReadsSettings {
    /// Those every command reads aside.
    static var settings: [SettingFacts] { get }
}

/// The flags of a command: one for each setting it reads.
///
/// ArgumentParser finds the flags of a type by reflection of its properties. Here the declarations of the settings take the
/// place of the properties.
package struct SettingFlags<Command: ReadsSettings>: ParsableArguments, CustomReflectable {
    private var values: [String: String] = [:]

    package init() {}

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        for setting in Self.settings {
            values[setting.name] = try container.decode(Option<String?>.self, forKey: Key(setting.name)).wrappedValue
        }
    }

    package var customMirror: Mirror {
        Mirror(self, children: Self.settings.map { ($0.name, Option<String?>($0)) })
    }

    private static var settings: [SettingFacts] { Settings.facts(of: .common) + Command.settings }

    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(_ name: String) { stringValue = name }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    /// Puts flags, environment and file together.
    package func read() async throws -> SettingsReader {
        for setting in Self.settings where setting.name.hasSuffix("_URL") {
            guard let value = values[setting.name], holdsPassword(value) else { continue }
            throw ValidationError(
                "--\(setting.flag): everyone on this machine can read the password there; "
                    + "put it in \(setting.name), in a file (--env-file) or in ~/.pgpass")
        }
        let secret = Settings.all.relaySecret.facts
        guard values[secret.name] == nil else {
            throw ValidationError(
                "--\(secret.flag): everyone on this machine can read the secret there; put it in \(secret.name), or in a file "
                    + "(--\(Settings.all.relaySecretFile.facts.flag), --env-file)")
        }
        let file = "EVT_ENV_FILE"
        return try await SettingsReader(flags: values, file: values[file] ?? ProcessInfo.processInfo.environment[file])
    }
}

extension Option where Value == String? {
    fileprivate init(_ setting: SettingFacts) {
        let range = setting.range.map { ": \($0)" } ?? ""
        let standard = setting.standard.map { " (default \($0))" } ?? ""
        self.init(
            name: .customLong(setting.flag),
            help: ArgumentHelp("\(setting.meaning)\(range)\(standard); environment: \(setting.name)", valueName: "value"))
    }
}

/// Whether a connection string has a password in it.
package func holdsPassword(_ url: String) -> Bool { ConnectionOptions(url).holdsPassword }
