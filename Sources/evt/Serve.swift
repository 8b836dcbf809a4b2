import ArgumentParser
import CommandLineSupport
import EventStreamServices

struct Serve: AsyncParsableCommand {
    enum Role: String, CaseIterable, ExpressibleByArgument { case generator, pusher, archiver, discarder }

    static let configuration = CommandConfiguration(
        abstract: "Runs any of the four roles in one process.",
        discussion: "Without --role it runs all; the archiver only if EVT_ARCHIVE_URL is set.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var database: DatabaseOptions
    @OptionGroup var archive: ArchiveOptions
    @OptionGroup var generator: GeneratorOptions
    @OptionGroup var pusher: PusherOptions
    @OptionGroup var archiver: ArchiverOptions
    @OptionGroup var discarder: DiscarderOptions
    @OptionGroup var sockets: SocketOptions
    @OptionGroup var connect: ConnectOptions
    @Option(help: "A role to run; may be given several times.") var role: [Role] = []

    func run() async throws {
        let settings = try await SettingsReader(
            common, database, archive, generator, pusher, archiver, discarder, sockets, connect)
        let roles = Swift.Set(role.isEmpty ? Role.allCases.filter { $0 != .archiver || settings.archiveURL() != nil } : role)
        try await runServices(settings, label: "evt") { logger in
            [
                EventStreamApp(
                    generator: roles.contains(.generator) ? try settings.generator() : nil,
                    pusher: roles.contains(.pusher) ? try settings.pusher() : nil,
                    archiver: roles.contains(.archiver) ? try settings.archiver() : nil,
                    discarder: roles.contains(.discarder) ? try settings.discarder() : nil, logger: logger)
            ]
        }
    }
}
