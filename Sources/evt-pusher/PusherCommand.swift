import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct PusherCommand: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        commandName: "evt-pusher",
        abstract: "Pushes every committed event, in order, to every registered consumer.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    static let settings = Settings.facts(of: .process, .database, .pusher, .keys, .sockets)
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await flags.read()
        try await runServices(settings, label: "evt-pusher", as: [.pusher]) { logger in
            [RoleService(try settings.pusher(), logger: logger)]
        }
    }
}
