import ArgumentParser
import CommandLineSupport
import EventStreamDiscarder
import EventStreamServer
import Logging

@main
struct DiscarderCommand: RoleCommand {
    static let role = Role.discarder
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func service(_ settings: SettingsReader, logger: Logger) throws -> RoleService {
        RoleService(try settings.discarder(), logger: logger)
    }
}
