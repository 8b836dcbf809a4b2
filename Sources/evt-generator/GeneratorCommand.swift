import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct GeneratorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt-generator",
        abstract: "Records events for clients that have no database transaction of their own.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var process: ProcessOptions
    @OptionGroup var database: DatabaseOptions
    @OptionGroup var generator: GeneratorOptions
    @OptionGroup var keys: KeyOptions
    @OptionGroup var socket: SocketOptions

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await SettingsReader(common, process, database, generator, keys, socket)
        try await runServices(settings, label: "evt-generator", as: [.generator]) { logger in
            [RoleService(try settings.generator(), logger: logger)]
        }
    }
}
