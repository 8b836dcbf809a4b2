import EventStream
import EventStreamClient
import EventStreamDatabase
import EventStreamServer
import FoundationEssentials
import LibPQ
import Logging
import PosixLoop
import ServiceLifecycle

/// The warehouse: carries out what ``ArchivePlan`` decides.
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

    let link: WarehouseLink
    var plan: ArchivePlan
    /// The step that failed last.
    var failure: any Error = WarehouseLink.connectionLost
    var backoff = PersistentConnection.standardBackoff
    /// One piece of work at a time uses the connection.
    private let turn = OneAtATime()
    private var silence = SilenceWatch()
    private var oldPusherTold = false
    /// Asked for events that the warehouse lacks.
    var poller: (endpoint: Int, client: PollClient)?
    /// Tells the pusher which token was found in the warehouse, and which one will be there.
    var introduce: (_ known: String?, _ token: String) async throws -> ArchiveAdmission? = { _, _ in nil }

    var configuration: Archiver.Configuration { link.configuration }
    var logger: Logger { link.logger }
    /// The UUID of the stream that is archived here.
    var stream: String? { plan.standing?.generation?.stream }
    /// Why nothing can be archived; nil if something can.
    var trouble: String? { link.trouble }
    var isBusy: Bool { turn.isTaken }

    init(_ configuration: Archiver.Configuration, loop: EventLoop, logger: Logger) {
        link = WarehouseLink(configuration, loop: loop, logger: logger)
        plan = ArchivePlan(want: configuration.want, endpoints: configuration.connect.list.count)
    }

    /// Connects until it succeeds; nil if told to stop before.
    func open() async -> EventID? {
        var told = TroubleLog()
        while true {
            do {
                try await look(in: nil)
                return plan.standing?.position
            } catch {
                if told.isNews("\(error)") {
                    logger.warning("no warehouse; trying again", metadata: [.error: "\(error)"])
                }
                guard await pause() else { return nil }
            }
        }
    }

    func close() { link.close() }

    /// A sign of life; and what the session needs, or gives up with its end.
    ///
    /// - Parameter session: nil for none.
    func look(in session: Int?) async throws {
        _ = try await work(.look(session: session))
        link.trouble = nil
    }

    /// Copies what the warehouse does not have yet.
    ///
    /// - Parameters:
    ///   - origin: which stream the events are of, and what they follow.
    ///   - session: the one they came in.
    /// - Returns: how many events were new.
    func append(_ events: [Event], of origin: StreamOrigin?, in session: Int) async throws -> Int {
        try await work(.append(events, of: origin, session: session))
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
    // MARK: The plan

    private func work(_ work: ArchivePlan.Work) async throws -> Int {
        await turn.begin()
        defer { turn.end() }
        let outcome = await carryOut(plan.begin(work, isConnected: link.isOpen))
        await forgetPoller()
        return try outcome.get()
    }

    private func carryOut(_ first: ArchivePlan.Action) async -> Result<Int, any Error> {
        var (action, wasTakingUp) = (first, false)
        while true {
            switch action {
            case .done(let count): return .success(count)
            case .fail(let refusal):
                let error = refusal.map(error) ?? failure
                if wasTakingUp { link.trouble = "\(error)" }
                return .failure(error)
            default: break
            }
            if wasTakingUp, !plan.isTakingUp { link.trouble = nil }
            wasTakingUp = plan.isTakingUp
            do {
                action = try await perform(action)
            } catch {
                failure = error
                action = plan.failed(isUnknown: (error as? EventStreamError)?.code == .archiveUnknown)
            }
        }
    }

    private func perform(_ action: ArchivePlan.Action) async throws -> ArchivePlan.Action {
        switch action {
        case .connect: return plan.connected(try await link.connect())
        case .takeLock:
            try await takeLock()
            return plan.lockTaken()
        case .giveUpLock:
            // With the connection it is gone anyway.
            if link.isOpen { try await giveUpLock() }
            return plan.lockGivenUp()
        case .readPosition:
            let (connection, store) = try link.current()
            return plan.found(try await store.standing(on: connection))
        case .introduce(let known): return try await introduce(known: known)
        case .sign(let token, let known):
            let (connection, store) = try link.current()
            try await store.sign(token, insteadOf: known, on: connection)
            return plan.signed()
        case .ping:
            let (connection, store) = try link.current()
            try await store.ping(on: connection)
            return plan.pinged()
        case .follow(let origin, let standing): return try await follow(origin, from: standing)
        case .poll(let endpoint, let after, let generation):
            return try await poll(endpoint, after: after, generation: generation)
        case .search(let first, let last, let want):
            let (connection, store) = try link.current()
            return plan.searched(try await store.holdsAny(want, from: first, through: last, on: connection))
        case .copy(let copy): return try await carryOut(copy)
        case .done, .fail: return action
        }
    }

    private func error(_ refusal: ArchivePlan.Refusal) -> any Error {
        let (archiver, tables) = (configuration.consumer, configuration.tables)
        switch refusal {
        case .positionGone: return StoreError("the position of \(archiver) is gone from \(tables.positions)")
        case .takenOver:
            return StoreError("the position of \(archiver) in \(tables.positions) has been taken over by another archiver")
        case .otherGeneration:
            return StoreError("another archiver of this name follows another generation of the stream")
        case .nobodyToAsk: return StoreError("there is no pusher to ask")
        }
    }

    // MARK: Whose position it is

    private func takeLock() async throws {
        let (connection, store) = try link.current()
        guard try await !store.takeLock(keepAlive: configuration.keepAlive, on: connection) else {
            silence = SilenceWatch()
            return
        }
        throw OtherArchiver(archiver: store.archiver, holder: try await holder(store, on: connection))
    }

    private func giveUpLock() async throws {
        let (connection, store) = try link.current()
        try await store.giveUpLock(on: connection)
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

    private func introduce(known: String?) async throws -> ArchivePlan.Action {
        let mine = UUID().uuidString.lowercased()
        do {
            _ = try await introduce(known, mine)
            return plan.introduced(as: mine)
        } catch let error as EventStreamError where [.notImplemented, .invalidRequest].contains(error.code) {
            if !oldPusherTold {
                logger.notice(
                    "the pusher does not know yet which warehouses its database has: upgrade it", metadata: [.error: "\(error)"])
            }
            oldPusherTold = true
            return plan.introducedInVain()
        }
    }
}
