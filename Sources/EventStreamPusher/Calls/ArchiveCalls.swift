import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import PosixLoop

/// An archiver introduces itself: which warehouse its session archives into (protocol, section 5).
final class ArchiveCalls {
    private let port: any ArchivePort
    private let loop: any LoopPort
    private let head: HeadDriver
    private let table: SessionTable
    private let peers: any PeerPort
    private let turns: CallTurns
    private var isStopped = false

    /// Each call takes a connection of its own, so that a commit that waits for a standby holds up nobody else; so there are
    /// pauses between those of one peer.
    private static let pause = Duration.milliseconds(100)

    init(
        _ port: any ArchivePort, loop: any LoopPort, head: HeadDriver, table: SessionTable, peers: any PeerPort, turns: CallTurns
    ) {
        self.port = port
        self.loop = loop
        self.head = head
        self.table = table
        self.peers = peers
        self.turns = turns
    }

    func stop() { isStopped = true }

    func archive(
        _ component: ConsumerComponent, known: String?, token: String, rid: RequestID?, peer: Peer
    ) throws(EventStreamError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers archive nothing") }
        try turns.inTurn(peer) {
            let consumer = ConsumerIdentity(user: peer.user, component: component)
            guard let session = self.table.session(of: peer, component) as? ReliableSession, !session.machine.isReleased,
                let generation = self.head.identity?.generation
            else { return self.answer(peer, rid, .failure(.consumerBusy("this peer has no session of \(consumer)"))) }
            self.port.admit(token, of: consumer, known: known, epoch: session.machine.epoch, generation: generation) {
                if !self.isStopped { self.answer(peer, rid, $0) }
            }
        }
    }

    private func answer(_ peer: Peer, _ rid: RequestID?, _ outcome: Result<RawJSON, EventStreamError>) {
        if peers.isCurrent(peer.caller) { peers.answer(peer, .init(outcome: outcome, rid: rid)) }
        loop.after(ArchiveCalls.pause) { self.turns.ended(peer) }
    }
}

/// Notes the warehouse in PostgreSQL.
final class ArchiveLink: ArchivePort {
    private let database: DatabaseConfiguration
    private let loop: EventLoop

    init(_ database: DatabaseConfiguration, loop: EventLoop) {
        self.database = database
        self.loop = loop
    }

    func admit(
        _ token: String, of consumer: ConsumerIdentity, known: String?, epoch: Int64, generation: StreamGeneration,
        _ completion: @escaping (Result<RawJSON, EventStreamError>) -> Void
    ) {
        let (loop, database) = (loop, database)
        loop.begin(with: completion) { completion in
            completion(
                await ArchiveLink.admit(
                    token, of: consumer, known: known, epoch: epoch, generation: generation, in: database, on: loop))
        }
    }

    private static func admit(
        _ token: String, of consumer: ConsumerIdentity, known: String?, epoch: Int64, generation: StreamGeneration,
        in database: DatabaseConfiguration, on loop: EventLoop
    ) async -> Result<RawJSON, EventStreamError> {
        do {
            // What is known here must be known wherever the stream goes on.
            let connection = try await Connection.open(
                database.options(
                    application: "evt-pusher archive", settings: ["lock_timeout": "2s", "synchronous_commit": "on"]), on: loop)
            defer { connection.close() }
            let info = try await StreamInfo.load(database.tables, from: connection, writing: true)
            let admission = try await ArchiveTokens(info).admit(
                token, of: consumer, known: known, epoch: epoch, generation: generation, on: connection)
            switch admission {
            case .admitted(let discarded): return .success(ArchiveAdmission(discarded: discarded).json)
            case .fenced: return .failure(.consumerBusy("another session has \(consumer)"))
            case .unknown:
                return .failure(
                    .archiveUnknown(
                        "the warehouse has been used by a copy of this database, or belongs to another: nothing is archived. If it is "
                            + "the right one for \(consumer), `evt archive adopt`; if not, correct EVT_ARCHIVE_URL"))
            }
        } catch {
            return .failure(.internalError("the archive could not be noted: \(error)"))
        }
    }
}
