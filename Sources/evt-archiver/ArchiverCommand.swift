import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct ArchiverCommand: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        commandName: "evt-archiver",
        abstract: "Copies the stream into a warehouse database, each event exactly once.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    static let settings = Settings.facts(of: .process, .archive, .archiver, .keys, .connect)
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await flags.read()
        try await runServices(settings, label: "evt-archiver", as: [.archiver]) { logger in
            [RoleService(try settings.archiver(), logger: logger)]
        }
    }
}
