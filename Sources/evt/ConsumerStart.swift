import ArgumentParser
import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ

// Where a consumer begins: what a command is given, and what the command says of it.

/// For the help of options.
let startHelp = "first, now, the id of the event before, or a time (UTC) like 2026-11-24 or 2026-11-24T08:30:00Z."

/// Reads a position of the command line; `0` is `first`, and `head` is `now`.
func startPosition(_ text: String, of option: String) throws -> StartPosition {
    switch text {
    case "0": return .first
    case "head": return .now
    default:
        if let start = StartPosition(text) ?? eventTime(text).map({ .since($0) }) { return start }
        throw ValidationError("\(option): \(text) is no position; one is \(startHelp)")
    }
}

/// The archive of the settings, if they name one.
struct ArchiveSetting: Sendable {
    private let url: String?
    private let tables: ArchiveTables

    init(_ settings: SettingsReader) throws { (url, tables) = (try settings.archiveURL(), try settings.archiveTables()) }

    var link: ArchiveOnDemand? {
        url.map { ArchiveOnDemand(ConnectionOptions($0, applicationName: "evt", settings: commandLimits), tables) }
    }
}

/// What is said of a consumer's new position.
struct StartReport {
    private let consumer: String
    private let placement: ConsumerAdmin.Placement
    private let starts: StartResolver

    init(_ consumer: String, _ placement: ConsumerAdmin.Placement, _ starts: StartResolver) {
        (self.consumer, self.placement, self.starts) = (consumer, placement, starts)
    }

    var place: String {
        "\(consumer) " + (placement.position == .none ? "before the first event" : "after \(placement.position)")
    }

    /// How many events are to come, and since when.
    func following(on connection: Connection) async throws -> String {
        let found = try await starts.following(placement.position, discarded: placement.discarded, on: connection)
        guard let since = found.since else { return "no event follows yet" }
        if found.areMore {
            return "more than \(events(found.count)) follow, up to \(found.last), the first recorded \(since)"
        }
        return "\(events(found.count)) follow\(found.count == 1 ? "s" : ""), the first recorded \(since)"
    }

    /// What a consumer misses that begins with the oldest event of the table.
    func leftOut(_ admin: ConsumerAdmin, on connection: Connection) async throws -> [String] {
        let discarded = placement.discarded
        guard discarded > .none, try await !admin.isArchiver(consumer, on: connection) else { return [] }
        let gone = "events up to \(discarded) were discarded"
        let reach: ArchiveReach?
        do {
            reach = try await starts.reach(on: connection)
        } catch let error as StoreError {
            return ["\(gone); \(printable(error.message))"]
        }
        guard let least = reach?.leastStart(discarded: discarded), least < discarded else { return [gone] }
        let command = "`evt consumers set \(consumer) --to \(least == .none ? "first" : "\(least)")`"
        return ["\(gone) and are in the archive\(least == .none ? "" : " from \(least) on"): \(command) brings these events, too"]
    }

    /// Where the consumer goes on.
    var moved: String {
        let position = placement.position
        return "\(consumer) is at \(position)" + (placement.wasServed ? "; its session begins anew" : "")
            + (position < placement.discarded ? "; events up to \(placement.discarded) come from the archive" : "")
    }

    /// What has to be done for events of the archive to come.
    func unread(on connection: Connection) async throws -> [String] {
        guard placement.position < placement.discarded, try await starts.isUnread(on: connection) else { return [] }
        return ["no pusher at work reads the archive, so these events do not come yet: give EVT_ARCHIVE_URL to evt-pusher"]
    }
}
