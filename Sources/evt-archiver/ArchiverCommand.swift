import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct ArchiverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt-archiver",
        abstract: "Copies the stream into a warehouse database, each event exactly once.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var process: ProcessOptions
    @OptionGroup var archive: ArchiveOptions
    @OptionGroup var archiver: ArchiverOptions
    @OptionGroup var keys: KeyOptions
    @OptionGroup var connect: ConnectOptions

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await SettingsReader(common, process, archive, archiver, keys, connect)
        try await runServices(settings, label: "evt-archiver", as: [.archiver]) { logger in
            [RoleService(try settings.archiver(), logger: logger)]
        }
    }
}
