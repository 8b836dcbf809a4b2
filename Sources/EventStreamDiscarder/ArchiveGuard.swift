public import EventStream
package import EventStreamDatabase
package import EventStreamServer
import LibPQ
import PosixLoop
import ServiceLifecycle

/// Lets events go only once an archive has been seen to hold them: the same events, by count and checksum.
final class ArchiveGuard {
    private let required: RequiredArchive
    private let info: StreamInfo
    private let discards: DiscardStore
    private let tokens: ArchiveTokens
    private let loop: EventLoop
    /// How long a refusal stands before the range is compared again.
    private let retryInterval: Duration
    private var warehouse: (connection: Connection, store: HistoryStore)?
    /// Up to here the archive was equal to the active table.
    private var verified: EventID?
    /// The event types in which it was.
    private var want: EventFilter?
    /// What the active database knows of it.
    private var noted: (id: EventID, want: EventFilter?) = (.none, nil)
    /// Why events past an id are kept; whether for what the archive holds, or does not: it could be asked; when, and up to
    /// which id was to be discarded then.
    private(set) var refusal: (reason: String, lacksEvents: Bool, at: ContinuousClock.Instant, through: EventID)?

    init(_ required: RequiredArchive, _ info: StreamInfo, period: Duration, loop: EventLoop) {
        (self.required, self.info, self.loop) = (required, info, loop)
        discards = DiscardStore(info)
        tokens = ArchiveTokens(info)
        retryInterval = min(max(period, .seconds(1)), .seconds(60))
    }

    private var consumer: ConsumerIdentity { required.consumer }

    func close() { warehouse?.connection.close() }

    /// Compares the archive with what is to go, and notes what it was seen to hold.
    ///
    /// - Parameters:
    ///   - target: up to here events are to be discarded.
    ///   - discarded: up to here they have been.
    /// - Returns: up to where they may go.
    /// - Throws: only what is wrong with the active database; an archive that cannot be asked refuses.
    func verify(through target: EventID, after discarded: EventID, active: Connection) async throws -> EventID {
        let bound = try await check(through: target, after: discarded, active: active)
        if let verified, verified > noted.id || want != noted.want {
            try await discards.note(verified: verified, ofAll: want == .all, by: consumer, on: active)
            noted = (verified, want)
        }
        return bound
    }

    private func check(through target: EventID, after discarded: EventID, active: Connection) async throws -> EventID {
        // What was seen over a connection that is gone was perhaps another warehouse.
        if warehouse?.connection.isOpen != true { verified = nil }
        if let refusal, .now - refusal.at < retryInterval { return max(verified ?? .none, discarded) }
        // All of the range again, not only its beginning.
        let target = max(target, refusal?.through ?? .none)
        refusal = nil
        do {
            return try await compare(through: target, after: discarded, active: active)
        } catch {
            guard active.isOpen else { throw error }
            close()
            (warehouse, verified) = (nil, nil)
            return refuse(discarded, of: target, "the archive of \(consumer) cannot be asked: \(error)", lacksEvents: false)
        }
    }

    private func compare(through target: EventID, after discarded: EventID, active: Connection) async throws -> EventID {
        let (warehouse, store) = try await connected()
        guard let confirmed = try await discards.position(of: consumer, on: active),
            let standing = try await store.standing(on: warehouse)
        else {
            let start = max(verified ?? .none, discarded)
            let missing = MissingArchiver(
                consumer.description, registered: try await discards.consumers(on: active),
                archivers: try await store.archivers(on: warehouse))
            return refuse(start, of: target, missing.description)
        }
        if let stranger = try await stranger(standing, store, active: active) {
            verified = nil
            return refuse(discarded, of: target, stranger)
        }
        // Of other types nothing was compared.
        if standing.want != want { verified = nil }
        want = standing.want
        let start = max(verified ?? .none, discarded)
        let audit = ArchiveAudit(info, store, want: standing.want)
        let (sums, erasures) = (ArchiveSums(store), ArchiveErasures(store))
        // Also where there is nothing left to compare: the warehouse answers, and still has what was recorded.
        let recorded = try await sums.end(on: warehouse)
        var done = recorded < start ? discarded : start
        while done < target, !Task.isShuttingDownGracefully {
            // What was recorded before a restart is compared once more, and not recorded again.
            let isRecorded = done < recorded
            let erased = try await erasures.newest(on: warehouse)
            let found = try await audit.compare(
                after: done, through: isRecorded ? min(target, recorded) : target, active: active, warehouse: warehouse)
            let wrong = found.blocks.first { !$0.isEqual }
            if !isRecorded {
                let good = found.blocks.prefix { $0.isEqual }
                guard
                    try await sums.record(Array(good), want: standing.want, unlessErasedSince: erased, on: warehouse)
                else { continue }
            }
            if let wrong {
                let differences = try await audit.differences(in: wrong, active: active, warehouse: warehouse)
                let last = max(done, EventID(wrong.first.rawValue - 1))
                verified = last
                // What was recorded of the blocks before stays: only this one differs in what was being erased.
                guard try await erasures.newest(on: warehouse) == erased else {
                    return refuse(last, of: wrong.last, "data is being erased in the archive of \(consumer)", lacksEvents: false)
                }
                if let reason = try await erasing(differences, erasures, active: active, warehouse: warehouse) {
                    return refuse(last, of: wrong.last, reason, lacksEvents: false)
                }
                return refuse(last, of: wrong.last, describe(differences, in: wrong, position: standing.position, confirmed))
            }
            done = found.through
            verified = done
        }
        verified = done
        return done
    }

    /// Whether the archive was compared in all event types.
    var isOfAll: Bool { noted.want == .all }

    /// Why the archive is none of this database's, or has been used by a copy of it; nil if it is its own.
    private func stranger(
        _ standing: HistoryStore.Standing, _ store: HistoryStore, active: Connection
    ) async throws -> String? {
        let mine = try await tokens.origin(of: standing.token, of: consumer, on: active)
        if let other = standing.generation?.stream, other != mine.stream {
            return
                "the archive of \(consumer), \(store.tables.history), is that of another stream, \(other); this one is \(mine.stream)"
        }
        guard !mine.isKnown else { return nil }
        return
            "the archive of \(consumer) has been used by a copy of this database, or belongs to another: if it is the right one, "
            + "`evt archive adopt`"
    }

    /// Whether the archive differs only in data that was erased in one of the two databases and not yet in the other, in words; nil if
    /// it differs in more.
    private func erasing(
        _ differences: ArchiveAudit.Differences, _ erasures: ArchiveErasures, active: Connection, warehouse: Connection
    ) async throws -> String? {
        guard differences.missing.isEmpty, differences.extra.isEmpty, !differences.changed.isEmpty else { return nil }
        let half = try await ErasureStore(info).lacking(erasures, active: active, warehouse: warehouse)
        guard differences.changed.allSatisfy({ half[$0] != nil }), let first = differences.changed.first, let number = half[first]
        else { return nil }
        return "the erasure \(number) has not reached the archive of \(consumer) yet; if it does not go on by itself, "
            + "`evt archive erase --resume` with that archive (EVT_ARCHIVE_URL)"
    }

    private func refuse(_ id: EventID, of target: EventID, _ reason: String, lacksEvents: Bool = true) -> EventID {
        refusal = ("events past \(id) are kept: \(reason)", lacksEvents, .now, target)
        return id
    }

    private func describe(
        _ differences: ArchiveAudit.Differences, in block: ArchiveAudit.Block, position: EventID, _ confirmed: EventID
    ) -> String {
        func list(_ ids: [EventID]) -> String {
            ids.prefix(5).map(\.description).joined(separator: ", ") + (ids.count > 5 ? ", …" : "")
        }
        let parts = [
            ("lacks", differences.missing), ("differs in", differences.changed), ("has too many", differences.extra),
        ].filter { !$0.1.isEmpty }.map { "\($0.0) \($0.1.count): \(list($0.1))" }
        // Not if both were set back on purpose.
        let isBehind = differences.missing.contains { $0 > position && $0 <= confirmed }
        return "of ids \(block.first) to \(block.last) the archive of \(required.consumer) "
            + (parts.isEmpty ? "differed a moment ago" : parts.joined(separator: "; "))
            + (isBehind ? "; it has confirmed more than its warehouse holds, which is at \(position): was that restored?" : "")
            + "; see `evt archive verify` and `evt archive rewind`"
    }

    private func connected() async throws -> (Connection, HistoryStore) {
        if let warehouse, warehouse.connection.isOpen { return warehouse }
        let connection = try await Connection.open(
            ConnectionOptions(
                required.url, in: required.file, applicationName: "evt-discarder",
                settings: [
                    "default_transaction_isolation": "read committed", "lock_timeout": "5s", "statement_timeout": "0",
                ]),
            on: loop)
        do {
            let store = try await HistoryStore.load(required.tables, archiver: required.consumer, from: connection)
            warehouse = (connection, store)
            return (connection, store)
        } catch {
            connection.close()
            throw error
        }
    }
}

/// An archive that must hold events before they are discarded.
public struct RequiredArchive: Hashable, Sendable {
    /// The archiver, as a consumer.
    public var consumer: ConsumerIdentity
    /// Its warehouse: a libpq URI or keyword/value string.
    public var url: String { didSet { file = nil } }
    /// The file the URL was in: what it holds now counts for new connections.
    package var file: SecretFile?
    package var tables = ArchiveTables.standard

    public init(consumer: ConsumerIdentity, url: String) {
        self.consumer = consumer
        self.url = url
    }
}

extension SettingsReader {
    /// The archivers of EVT_DISCARD_REQUIRE.
    func requiredArchives() throws(ConfigurationError) -> [RequiredArchive] {
        let setting = Settings.all.discardRequire.facts.name
        var archives: [RequiredArchive] = []
        for entry in (try self.discardRequire ?? "").split(separator: ",").map({ $0.trimmed }) where !entry.isEmpty {
            var name = entry[...]
            var url: String?
            var tables = try archiveTables()
            if let at = name.lastIndex(of: "@") {
                let service = name[name.index(after: at)...]
                guard !service.isEmpty,
                    service.utf8.allSatisfy({ $0 > 0x20 && $0 != UInt8(ascii: "'") && $0 != UInt8(ascii: "\\") })
                else { throw ConfigurationError("\(setting): \(shown(entry)) names no service; an entry is COMPONENT@service") }
                url = "service=\(service)"
                name = name[..<at]
            }
            if let equals = name.firstIndex(of: "=") {
                guard let table = TableName(String(name[name.index(after: equals)...])) else {
                    throw ConfigurationError("\(setting): \(shown(entry)) names no table; an entry is COMPONENT=schema.table")
                }
                tables = ArchiveTables(history: table)
                name = name[..<equals]
            }
            guard let consumer = ConsumerIdentity(String(name)), !consumer.component.isLive else {
                throw ConfigurationError(
                    "\(setting): \(shown(entry)) names no component; an entry is COMPONENT or user:COMPONENT")
            }
            var required: RequiredArchive
            if let url {
                required = .init(consumer: consumer, url: url)
            } else {
                required = .init(consumer: consumer, url: try archive())
            }
            required.tables = tables
            if url == nil { required.file = archiveFile() }
            archives.append(required)
        }
        return archives
    }
}
