import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct DiscarderCommand: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        commandName: "evt-discarder",
        abstract: "Removes events that every registered consumer has confirmed.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    static let settings = Settings.facts(of: .process, .database, .archive, .discarder)
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await flags.read()
        try await runServices(settings, label: "evt-discarder", as: [.discarder]) { logger in
            [RoleService(try settings.discarder(), logger: logger)]
        }
    }
}
