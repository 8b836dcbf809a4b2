import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct GeneratorCommand: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        commandName: "evt-generator",
        abstract: "Records events for clients that have no database transaction of their own.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    static let settings = Settings.facts(of: .process, .database, .generator, .keys, .sockets)
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await flags.read()
        try await runServices(settings, label: "evt-generator", as: [.generator]) { logger in
            [RoleService(try settings.generator(), logger: logger)]
        }
    }
}
