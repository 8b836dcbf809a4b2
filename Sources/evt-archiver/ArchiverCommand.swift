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
    @OptionGroup var archive: ArchiveOptions
    @OptionGroup var archiver: ArchiverOptions
    @OptionGroup var connect: ConnectOptions

    func run() async throws {
        let settings = try await SettingsReader(common, archive, archiver, connect)
        try await runServices(settings, label: "evt-archiver") { logger in
            [Archiver(try settings.archiver(), logger: logger)]
        }
    }
}
