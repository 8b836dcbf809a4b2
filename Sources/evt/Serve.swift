import ArgumentParser
import CommandLineSupport
import EventStreamServer
import EventStreamServices

struct Serve: AsyncParsableCommand, ReadsSettings {
    static let configuration = CommandConfiguration(
        abstract: "Runs any of the roles in one process.",
        discussion:
            "Without --role it runs all; the archiver only if EVT_ARCHIVE_URL or EVT_ARCHIVE_URL_FILE is set, and the relay only if "
            + "EVT_RELAY_TO is set.")

    static let settings = Settings.facts(
        of: .process, .database, .archive, .generator, .pusher, .archiver, .discarder, .relay, .keys, .sockets, .connect)
    @OptionGroup var flags: SettingFlags<Self>
    @Option(
        help: "A role to run: generator, pusher, archiver, discarder or relay; may be given several times.",
        transform: {
            guard let role = Role(rawValue: $0) else { throw ValidationError("\($0) is no role") }
            return role
        }) var role: [Role] = []

    func run() async throws {
        let settings = try await flags.read()
        let hasWarehouse = try settings.archiveURL() != nil
        let left = (hasWarehouse ? [] : [Role.archiver]) + (try settings.relayTo == nil ? [.relay] : [])
        let roles = Swift.Set(role.isEmpty ? Role.allCases.filter { !left.contains($0) } : role)
        try await runServices(settings, label: "evt", as: Role.allCases.filter { roles.contains($0) }) { logger in
            [
                EventStreamApp(
                    generator: roles.contains(.generator) ? try settings.generator() : nil,
                    pusher: roles.contains(.pusher) ? try settings.pusher() : nil,
                    archiver: roles.contains(.archiver) ? try settings.archiver() : nil,
                    discarder: roles.contains(.discarder) ? try settings.discarder() : nil,
                    relay: roles.contains(.relay) ? try settings.relay() : nil, logger: logger)
            ]
        }
    }
}
