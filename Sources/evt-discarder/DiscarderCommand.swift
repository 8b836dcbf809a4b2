import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct DiscarderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt-discarder",
        abstract: "Removes events that every registered consumer has confirmed.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var process: ProcessOptions
    @OptionGroup var database: DatabaseOptions
    @OptionGroup var archive: ArchiveOptions
    @OptionGroup var discarder: DiscarderOptions

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await SettingsReader(common, process, database, archive, discarder)
        try await runServices(settings, label: "evt-discarder", as: [.discarder]) { logger in
            [RoleService(try settings.discarder(), logger: logger)]
        }
    }
}
