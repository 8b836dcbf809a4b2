import ArgumentParser
import CommandLineSupport
import EventStreamServices

@main
struct PusherCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evt-pusher",
        abstract: "Pushes every committed event, in order, to every registered consumer.",
        discussion: "Settings come from flags, then the environment, then a file, then the defaults.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var process: ProcessOptions
    @OptionGroup var database: DatabaseOptions
    @OptionGroup var pusher: PusherOptions
    @OptionGroup var keys: KeyOptions
    @OptionGroup var socket: SocketOptions

    static func main() async { await runCommand(Self.self, isService: true) }

    func run() async throws {
        let settings = try await SettingsReader(common, process, database, pusher, keys, socket)
        try await runServices(settings, label: "evt-pusher", as: [.pusher]) { logger in
            [RoleService(try settings.pusher(), logger: logger)]
        }
    }
}
