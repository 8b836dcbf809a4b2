import ArgumentParser
import CommandLineSupport
import EventStreamRelay
import EventStreamServer
import Logging

@main
struct RelayCommand: RoleCommand {
    static let role = Role.relay
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func service(_ settings: SettingsReader, logger: Logger) throws -> RoleService {
        RoleService(try settings.relay(), logger: logger)
    }
}
