import ArgumentParser
import CommandLineSupport
import EventStreamGenerator
import EventStreamServer
import Logging

@main
struct GeneratorCommand: RoleCommand {
    static let role = Role.generator
    @OptionGroup var flags: SettingFlags<Self>

    static func main() async { await runCommand(Self.self, isService: true) }

    func service(_ settings: SettingsReader, logger: Logger) throws -> RoleService {
        RoleService(try settings.generator(), logger: logger)
    }
}
