package import ArgumentParser
package import EventStreamServer
package import Logging

/// The command of a process that has one role. Its `main` is its own, and calls ``runCommand(_:isService:)``: `@main` does not take
/// one of this protocol before ArgumentParser's.
package protocol RoleCommand: AsyncParsableCommand, ReadsSettings {
    static var role: Role { get }
    var flags: SettingFlags<Self> { get }
    func service(_ settings: SettingsReader, logger: Logger) throws -> RoleService
}

extension RoleCommand {
    package static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "evt-\(role)", abstract: role.purpose,
            discussion: "Settings come from flags, then the environment, then a file, then the defaults.")
    }

    package static var settings: [SettingFacts] { role.settings }

    package func run() async throws {
        let settings = try await flags.read()
        try await runServices(settings, label: "evt-\(Self.role)", as: [Self.role]) { [try service(settings, logger: $0)] }
    }
}
