import ArgumentParser
import CommandLineSupport
import EventStreamPusher
import EventStreamServer
import Logging

@main
struct PusherCommand: RoleCommand {
    static let role = Role.pusher
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func service(_ settings: SettingsReader, logger: Logger) throws -> RoleService {
        RoleService(try settings.pusher(), logger: logger)
    }
}
