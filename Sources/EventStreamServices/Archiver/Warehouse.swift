import EventLoop
import EventStore
import EventStream
import FoundationEssentials
import Logging
import Postgres
import ServiceLifecycle

/// The archiver's connection to the warehouse, made anew after a failure, and how far it has come there.
///
/// Events are copied only by whoever has the pusher's session, the lock of the archiver's name in the warehouse, and a token
/// beside the position that the active database knows.
final class Warehouse {
    /// Somebody else archives under this name.
    struct OtherArchiver: Error, CustomStringConvertible {
        let archiver: ConsumerIdentity
        let holder: HistoryStore.Holder?
        var description: String {
            "another archiver of this name, \(archiver), is at work in the warehouse (\(holder?.description ?? "its session has just ended")): "
                + "this is a copy of the stream's database, or the other has not ended yet. A copy needs a warehouse of its own "
                + "(EVT_ARCHIVE_URL), and `evt generation --fork`"
        }
    }

    let configuration: Archiver.Configuration
    private let identity: ConsumerIdentity
    let loop: EventLoop
    let logger: Logger
    private var connection: Connection?
    private var store: HistoryStore?
    var standing: HistoryStore.Standing?
    /// The UUID of the stream that is archived here.
    var stream: String? { standing?.generation?.stream }
    /// Whether nothing is missing before what the pusher sends, as far as it can know.
    var isComplete = false
    /// Why nothing can be archived; nil if something can.
    private(set) var trouble: String?
    private let reconnects = Metric.reconnects.counter()
    var backoff = Backoff()
    private var told = TroubleLog()
    /// Months, as `2026-11`, whose partitions have been seen to.
    var months: Set<String> = []
    var partitionsMade: ContinuousClock.Instant?
    /// When the history was last seen to have the columns it should have.
    var checked: ContinuousClock.Instant?

    /// One piece of work at a time uses the connection.
    private let turn = OneAtATime()
    /// Whether the present connection has the lock; and the session that has introduced itself over it.
    private var hasLock = false
    private var introducedSession: Int?
    /// What was written beside the position, and in which session.
    private var token: (text: String, session: Int)?
    private var silence = SilenceWatch()
    private var oldPusherTold = false
    let upkeep: TableUpkeep

    /// Tells the pusher which token was found in the warehouse, and which one will be there.
    var introduce: (_ known: String?, _ token: String) async throws -> Void = { _, _ in }
    /// The connection was lost.
    var onLost: () -> Void = {}

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        identity = configuration.consumer
        upkeep = TableUpkeep(
            ConnectionOptions(
                configuration.url, in: configuration.file, applicationName: "evt-archiver upkeep",
                settings: TableRewriting.settings.merging(["default_transaction_isolation": "read committed"]) { mine, _ in mine }
            ),
            loop: loop, logger: logger)
    }

    /// Connects until it succeeds; nil if told to stop before.
    func open() async -> EventID? {
        while true {
            do {
                let (_, _, standing) = try await connected()
                return standing.position
            } catch {
                if told.isNews("\(error)") {
                    logger.warning("no warehouse; trying again", metadata: [.error: "\(error)"])
                }
                guard await pause() else { return nil }
            }
        }
    }

    func close() {
        upkeep.stop()
        connection?.close()
    }

    // MARK: Whose position it is

    var isBusy: Bool { turn.isTaken }

    /// Runs `work` alone, once the position is the session's.
    func alone<Value>(in session: Int, _ work: () async throws -> Value) async throws -> Value {
        await turn.begin()
        defer { turn.end() }
        try await takeUp(in: session)
        return try await work()
    }

    /// A sign of life; and what the session needs, or gives up with its end.
    ///
    /// - Parameter session: nil for none.
    func look(in session: Int?) async throws {
        await turn.begin()
        defer { turn.end() }
        if let session { try await takeUp(in: session) } else { try await letGo() }
        let (connection, store, _) = try await connected()
        try await store.ping(on: connection)
        trouble = nil
    }

    private func letGo() async throws {
        guard hasLock, let connection, let store, connection.isOpen else { return }
        (hasLock, introducedSession) = (false, nil)
        try await store.giveUpLock(on: connection)
    }

    private func takeUp(in session: Int) async throws {
        let (connection, store, _) = try await connected()
        guard !hasLock || introducedSession != session else { return }
        do {
            if !hasLock { try await takeLock(store, on: connection) }
            try await introduceItself(in: session, store, on: connection)
            (introducedSession, trouble) = (session, nil)
        } catch {
            trouble = "\(error)"
            // Who may not archive here keeps nobody out.
            if (error as? EventStreamError)?.code == .archiveUnknown { try await letGo() }
            throw error
        }
    }

    private func takeLock(_ store: HistoryStore, on connection: Connection) async throws {
        guard try await !store.takeLock(keepAlive: configuration.keepAlive, on: connection) else {
            (hasLock, silence) = (true, SilenceWatch())
            return
        }
        throw OtherArchiver(archiver: identity, holder: try await holder(store, on: connection))
    }

    /// Who keeps this archiver from its position; one that is frozen or gone is ended.
    func holder(_ store: HistoryStore, on connection: Connection) async throws -> HistoryStore.Holder? {
        let holder = try await store.holder(on: connection)
        guard let holder, silence.isGone(holder) else { return holder }
        logger.warning(
            "another archiver of this name is frozen or gone: its connection to the warehouse is ended",
            metadata: [.holder: "\(holder)"])
        try await store.end(holder, on: connection)
        return holder
    }

    /// The active database first, then the warehouse: whatever happens in between, it knows what is there.
    private func introduceItself(in session: Int, _ store: HistoryStore, on connection: Connection) async throws {
        let found = try await store.present(on: connection)
        moved(to: found)
        if let token, token.session == session, found.token == token.text { return }
        let mine = UUID().uuidString.lowercased()
        do {
            try await introduce(found.token, mine)
        } catch let error as EventStreamError where [.notImplemented, .invalidRequest].contains(error.code) {
            if !oldPusherTold {
                logger.notice(
                    "the pusher does not know yet which warehouses its database has: upgrade it", metadata: [.error: "\(error)"])
            }
            oldPusherTold = true
            return
        }
        try await store.sign(mine, insteadOf: found.token, on: connection)
        token = (mine, session)
        standing?.token = mine
    }

    func moved(to found: HistoryStore.Standing) {
        var now = found
        (now.want, now.newest) = (configuration.want, standing?.newest)
        standing = now
    }

    /// Somebody else has taken the position over: what was known of it counts no more.
    func lostPosition() { (introducedSession, token) = (nil, nil) }

    // MARK: The connection

    static let connectionLost = StoreError("the connection to the warehouse was lost")

    /// The connection that has the lock.
    func held() throws -> (Connection, HistoryStore, HistoryStore.Standing) {
        guard hasLock, let connection, let store, let standing, connection.isOpen else { throw Warehouse.connectionLost }
        return (connection, store, standing)
    }

    private func connected() async throws -> (Connection, HistoryStore, HistoryStore.Standing) {
        if let connection, let store, let standing, connection.isOpen { return (connection, store, standing) }
        do {
            let found = try await connect()
            trouble = nil
            return found
        } catch {
            reconnects.add()
            trouble = "the warehouse cannot be used: \(error)"
            throw error
        }
    }

    private func connect() async throws -> (Connection, HistoryStore, HistoryStore.Standing) {
        let connection = try await Connection.open(
            ConnectionOptions(
                configuration.url, in: configuration.file, applicationName: "evt-archiver", settings: settings), on: loop)
        do {
            let store = try await HistoryStore.load(configuration.tables, archiver: identity, from: connection)
            let rewriting = try await TableRewriting.positions(of: store.tables, on: connection)
            upkeep.rewriting = { _ in rewriting }
            let found = try await begin(store, rewriting, on: connection)
            (months, partitionsMade, checked, isComplete) = ([], nil, nil, false)
            (self.connection, self.store, standing) = (connection, store, found)
            (hasLock, introducedSession) = (false, nil)
            connection.onLost = { [weak self] error in
                self?.trouble = "the connection to the warehouse was lost: \(error)"
                self?.onLost()
            }
            return (connection, store, found)
        } catch {
            let blamed = await blamed(error, over: connection)
            connection.close()
            throw blamed
        }
    }

    private func begin(
        _ store: HistoryStore, _ rewriting: TableRewriting, on connection: Connection
    ) async throws -> HistoryStore.Standing {
        do {
            return try await store.begin(configuration.want, on: connection)
        } catch let error as PostgresError where error.sqlState == .lockNotAvailable {
            // Somebody has the positions locked: perhaps an archiver that was making the table anew, and is frozen.
            if try await rewriting.endFrozen(on: connection) > 0 {
                logger.warning("a frozen process had the table of positions locked; its connection was ended")
            }
            throw error
        }
    }

    /// The error, with those who are to blame for it where a lock was not to be had in time.
    func blamed(_ error: any Error) async -> any Error {
        guard let connection else { return error }
        return await blamed(error, over: connection)
    }

    private func blamed(_ error: any Error, over connection: Connection) async -> any Error {
        guard (error as? PostgresError)?.sqlState == .lockNotAvailable, connection.isOpen,
            let found = try? await Hindrance.load(configuration.tables, from: connection).text
        else { return error }
        return StoreError("\(error): \(found)")
    }

    private var settings: [String: String] {
        [
            // A database may have another default; what is copied here conflicts with nobody.
            "default_transaction_isolation": "read committed",
            // Another archiver of this name, frozen in its transaction, must not keep this one waiting; nor this one others.
            "lock_timeout": "2s",
            "idle_in_transaction_session_timeout": "\(Int64(configuration.keepAlive * 3 / .milliseconds(1)))",
        ]
    }

    /// Waits a growing while; false if told to stop.
    func pause() async -> Bool {
        let pause = backoff.next()
        do {
            try await cancelWhenGracefulShutdown { try await Task.sleep(for: pause) }
            return true
        } catch {
            return false
        }
    }
}
