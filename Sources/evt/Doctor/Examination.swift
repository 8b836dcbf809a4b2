import CommandLineSupport
import EventStream
import EventStreamDatabase
import EventStreamDiscarder
import EventStreamServer
import LibPQ

/// Looks at the databases; what it finds is judged by ``ServerChecks`` and ``StreamChecks``.
struct Examination: Sendable {
    private let database: DatabaseConfiguration
    private let archive: String?
    private let archiveTables: ArchiveTables
    private let archiver: ConsumerIdentity
    private let archivers: Set<String>
    private let required: Set<String>
    private let warnEvents: Int
    private let limits: [String: String]

    init(_ settings: SettingsReader) throws {
        database = try settings.database()
        archive = try settings.archiveURL()
        archiveTables = try settings.archiveTables()
        archiver = try settings.archiverComponent
        let discarding = try settings.discarder()
        required = Set(discarding.required.map(\.consumer.description))
        archivers = Set((discarding.required.map(\.consumer) + [archiver]).map(\.description))
        warnEvents = discarding.warnEvents
        limits = ["statement_timeout": "8s", "lock_timeout": "4s"]
    }

    /// The stream of the database; nil where that cannot be seen.
    var served: ServedStream? {
        get async {
            await Answer(.seconds(4), otherwise: nil) { [database, limits] answer in
                Task {
                    answer(
                        try? await withConnection(to: database.url, settings: limits) { connection in
                            let info = try await StreamInfo.load(database.tables, from: connection)
                            let identity = try await GenerationStore(info).identity(on: connection)
                            return ServedStream(
                                stream: identity.generation.stream, place: identity.place, table: "\(info.tables.events)")
                        })
                }
            }.value
        }
    }

    func active() async -> [Finding] {
        do {
            return try await withConnection(to: database.url, settings: limits) { connection in
                var findings = ServerChecks(
                    subject: "database", facts: try await ServerFacts.load(from: connection), isActive: true
                ).findings
                // From catalogs alone, and first: what comes after may wait for one of these.
                findings +=
                    LockChecks(
                        tables: try await TableLock.load(database.tables.lockScope, from: connection),
                        roles: try await RoleLock.load(database.tables, from: connection).filter { $0.isStrange || $0.isLate }
                    ).findings
                do {
                    findings += try await stream(over: connection)
                } catch let error as StoreError {
                    findings.append(Finding(.critical, "schema", error.message))
                } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
                    findings.append(locked("stream", error))
                }
                return findings
            }
        } catch {
            return [unreachable("database", error)]
        }
    }

    private func stream(over connection: Connection) async throws -> [Finding] {
        let info = try await StreamInfo.load(database.tables, from: connection)
        let first = try await StreamStatus.load(info, from: connection)
        try await wait(for: first.pushers, info, on: connection)
        let checks = StreamChecks(
            status: try await StreamStatus.load(info, from: connection),
            facts: try await StreamFacts.load(info, from: connection), earlier: first, archivers: archivers,
            required: required, warnEvents: warnEvents)
        let doubt = try await GenerationStore(info).doubt(on: connection)
        let open = try await ErasureStore(info).open(on: connection).map { erasure in
            Finding(
                .warning, "erasure",
                "erasure \(erasure.number) of \(erasure.events.count) events, begun \(erasure.at) by \(erasure.role), is not complete",
                advice: "evt archive erase --resume")
        }
        return [doubt.map { Finding(.critical, "place", $0) }].compactMap { $0 } + open + checks.findings
    }

    /// Until every pusher has given a sign of life, and consumers have had a moment to confirm something.
    private func wait(for pushers: [PusherStatus], _ info: StreamInfo, on connection: Connection) async throws {
        let beats = Dictionary(pushers.map { ($0.id, $0.beat) }, uniquingKeysWith: { $1 })
        let interval = pushers.filter(\.isConnected).map(\.interval).max() ?? 0
        let begun = ContinuousClock.now
        while .now - begun < .seconds(min(interval + 1, 6)) {
            try await Task.sleep(for: .milliseconds(250))
            let present = try await PusherStatus.load(info, from: connection).filter(\.isConnected)
            if .now - begun > .seconds(2), present.allSatisfy({ beats[$0.id] != $0.beat }) { return }
        }
    }

    func warehouse() async -> [Finding] {
        guard let archive else { return [Finding(.note, "warehouse", "EVT_ARCHIVE_URL is not set: it was not looked at")] }
        do {
            return try await withConnection(to: archive, settings: limits) { connection in
                let checks = ServerChecks(
                    subject: "warehouse", facts: try await ServerFacts.load(from: connection), isActive: false)
                let locks = LockChecks(tables: try await TableLock.load(archiveTables.lockScope, from: connection)).findings
                do {
                    let store = try await HistoryStore.load(archiveTables, archiver: archiver, from: connection)
                    try await store.checkColumns(on: connection)
                    return try await checks.findings + locks + [aside(store, on: connection)].compactMap { $0 }
                } catch let error as StoreError {
                    return checks.findings + locks + [Finding(.critical, "warehouse", error.message)]
                } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
                    return checks.findings + locks + [locked("warehouse", error)]
                }
            }
        } catch {
            return [unreachable("warehouse", error)]
        }
    }

    private func aside(_ store: HistoryStore, on connection: Connection) async throws -> Finding? {
        guard let open = try await LostEvents(store).open(on: connection) else { return nil }
        return Finding(
            .warning, "archive",
            "\(open.events) events, \(open.first) to \(open.last), were moved out of the history, for the active database lacked them",
            advice:
                "evt archive lost list; if that database was the wrong one, evt archive lost restore; else evt archive lost accept"
        )
    }

    private func locked(_ subject: String, _ error: PostgresError) -> Finding {
        Finding(
            .critical, subject, "it cannot be looked at: \(error)", advice: "end what has the lock; the finding \"lock\" names it"
        )
    }

    private func unreachable(_ subject: String, _ error: any Error) -> Finding {
        let isRefused = (error as? PostgresError)?.sqlState == .insufficientPrivilege
        return Finding(
            .critical, subject, "it cannot be looked at: \(error)",
            advice: isRefused
                ? "log in as the tables' owner, or as a member of evt_monitor; after an upgrade evt migrate --roles once more"
                : "is the server running, the address right, the password known? Everything waits, and goes on by itself")
    }
}
