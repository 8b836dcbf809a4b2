import EventLoop
import EventStore
import EventStream
import Postgres

/// An archiver introduces itself: which warehouse its session archives into (protocol, section 5).
extension PusherEngine {
    /// Each call takes a connection of its own, so that a commit that waits for a standby holds up nobody else; so there are
    /// pauses between those of one peer.
    private static let pause = Duration.milliseconds(100)

    func archive(
        _ component: ConsumerComponent, known: String?, token: String, rid: RequestID?, peer: Peer
    ) throws(FutoInError) {
        guard !component.isLive else { throw .liveNotAllowed("live receivers archive nothing") }
        try requireReliable()
        try inTurn(peer) { [unowned self] in
            let consumer = ConsumerIdentity(user: peer.user, component: component)
            guard let session = self.sessions.session(of: peer, component), !session.isReleased,
                case .reliable(_, let epoch) = session.kind, let generation = self.tail.identity?.generation
            else { return self.answerArchive(peer, rid, .failure(.consumerBusy("this peer has no session of \(consumer)"))) }
            let (box, home) = (Unchecked((self, peer)), LoopActor(loop: self.loop))
            Task {
                await home.run { loop in
                    let outcome = await PusherEngine.admit(
                        token, of: consumer, known: known, epoch: epoch, generation: generation,
                        in: box.value.0.configuration.database, on: loop)
                    let (engine, peer) = box.value
                    if !engine.isStopped { engine.answerArchive(peer, rid, outcome) }
                }
            }
        }
    }

    private func answerArchive(_ peer: Peer, _ rid: RequestID?, _ outcome: Result<RawJSON, FutoInError>) {
        if access.isCurrent(peer.caller) { server?.answer(peer, .init(outcome: outcome, rid: rid)) }
        loop.schedule(after: PusherEngine.pause) { [weak self] in self?.turnEnded(peer) }
    }

    private static func admit(
        _ token: String, of consumer: ConsumerIdentity, known: String?, epoch: Int64, generation: StreamGeneration,
        in database: DatabaseConfiguration, on loop: EventLoop
    ) async -> Result<RawJSON, FutoInError> {
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
            case .admitted: return .success(.true)
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
