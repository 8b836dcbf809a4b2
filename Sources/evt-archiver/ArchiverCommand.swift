import ArgumentParser
import CommandLineSupport
import EventStreamArchiver
import EventStreamServer
import Logging

@main
struct ArchiverCommand: RoleCommand {
    static let role = Role.archiver
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func service(_ settings: SettingsReader, logger: Logger) throws -> RoleService {
        RoleService(try settings.archiver(), logger: logger)
    }
}
