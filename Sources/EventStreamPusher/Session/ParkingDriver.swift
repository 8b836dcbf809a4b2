import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// What receivers cannot process: stores how often it has failed, sets it aside, and delivers it again (protocol, section 8.3).
final class ParkingDriver {
    /// Parked events that a consumer may have.
    private let limit: Int
    private let loop: any LoopPort
    private let table: SessionTable
    private let reads: EventReads
    private let membership: Membership
    private let positions: PositionWriter
    private let sessions: SessionDriver
    private let deliveries: DeliveryDriver
    private let logger: Logger
    private var full = PeerLog(each: .init(burst: 1, interval: .seconds(60)))

    init(
        limit: Int, loop: any LoopPort, table: SessionTable, reads: EventReads, membership: Membership, positions: PositionWriter,
        sessions: SessionDriver, deliveries: DeliveryDriver, logger: Logger
    ) {
        self.limit = limit
        self.loop = loop
        self.table = table
        self.reads = reads
        self.membership = membership
        self.positions = positions
        self.sessions = sessions
        self.deliveries = deliveries
        self.logger = logger
        deliveries.onFailure = { [weak self] in self?.failed($0) }
        deliveries.onPark = { [weak self] in self?.park($0) }
        deliveries.onFollowers = { [weak self] in self?.follow($0, $1) }
        deliveries.onRoom = { [weak self] in self?.retryNext($0) }
        deliveries.onRetried = { [weak self] in self?.retried($0, $1, $2) }
    }

    /// The count outlives the session, as far as the database can be reached.
    private func failed(_ session: ReliableSession) {
        guard let failing = session.machine.attempts.failing, let generation = membership.trusted?.generation else { return }
        membership.consumers?.failed(failing, of: session.consumer, epoch: session.machine.epoch, generation) { _ in }
    }

    // MARK: Setting aside

    private func park(_ session: ReliableSession) {
        failed(session)
        guard let failing = session.machine.attempts.failing else { return session.machine.parkingFailed() }
        let epoch = session.machine.epoch
        reads.readWhole(
            after: EventID(failing.event.rawValue - 1), through: failing.event, want: session.want,
            limits: .init(rows: 1, bytes: 2 * MessageLimit.events)
        ) { result in
            guard !session.isOver, session.machine.epoch == epoch else { return }
            guard case .success(let pages) = result, let event = ParkingDriver.event(failing.event, in: pages, session.want),
                let port = self.membership.consumers, let generation = self.membership.trusted?.generation
            else { return self.notParked(session) }
            let parking = ParkedStore.Parking(
                session.consumer, epoch: epoch, event, attempts: failing.count, error: failing.error)
            port.park(parking, limit: self.limit, of: generation) { self.ended(session, parking, $0) }
        }
    }

    private static func event(_ id: EventID, in pages: [EventPage], _ want: EventFilter) -> Event? {
        for page in pages {
            let index = page.index(after: EventID(id.rawValue - 1))
            if index < page.count, page.entries[index].id == id, want.wants(page.entries[index].type) {
                return page.event(at: index)
            }
        }
        return nil
    }

    private func ended(
        _ session: ReliableSession, _ parking: ParkedStore.Parking, _ result: Result<ParkedStore.Parked, PostgresError>
    ) {
        guard !session.isOver, session.machine.epoch == parking.epoch else { return }
        switch result {
        case .success(.parked(let epoch)):
            session.machine.parked(parking.event.id, key: parking.event.key, epoch: epoch)
            (session.number, session.retrying) = (table.nextNumber(at: loop.wallClock), nil)
            logger.warning(
                "an event was parked: it failed as often as it may; `evt parked` lists it",
                metadata: [
                    .consumer: "\(session.consumer)", .event: "\(parking.event.id)", .attempts: "\(parking.attempts)",
                    .error: "\(parking.error)",
                ])
            // The connection has closed meanwhile: what was given up then was the epoch before.
            if session.machine.isReleased { positions.release(session.consumer, epoch: epoch, position: parking.event.id) }
            deliveries.pump(session)
        case .success(.full):
            reportFull(session, parking.event.id)
            notParked(session, tryAgainIn: .seconds(5))
        case .success(.fenced): sessions.fenced(session.consumer, epoch: parking.epoch)
        case .failure: notParked(session)
        }
    }

    private func reportFull(_ session: ReliableSession, _ event: EventID) {
        guard let line = full.line("parked events", of: session.peer.account, at: loop.now) else { return }
        logger.error(
            "the consumer stands still: as many events are parked as may be (EVT_PARK_MAX); retry or drop parked events",
            metadata: line.metadata([.consumer: "\(session.consumer)", .event: "\(event)"]))
    }

    /// Sets aside what follows parked events of the same keys; nothing else is sent meanwhile.
    ///
    /// - Parameter limit: so many at once; what is left is asked for again.
    private func follow(_ session: ReliableSession, _ events: [Event], atOnce limit: Int = 100) {
        guard !session.isStoringParked, let port = membership.consumers, let generation = membership.trusted?.generation,
            let last = events.prefix(limit).last
        else { return }
        let epoch = session.machine.epoch
        session.machine.isFollowing = true
        storing(session) { stored in
            port.follow(.init(session.consumer, epoch: epoch, Array(events.prefix(limit))), limit: self.limit, of: generation) {
                stored()
                guard !session.isOver, session.machine.epoch == epoch else { return session.machine.isFollowing = false }
                switch $0 {
                case .success(.parked):
                    session.machine.followers.parked(events.prefix(limit), position: session.machine.position)
                    self.goOn(session)
                // There may be room for some of these.
                case .success(.full) where limit > 1: self.follow(session, events, atOnce: 1)
                case .success(.full):
                    self.reportFull(session, last.id)
                    self.loop.after(.seconds(5)) { [weak self] in self?.goOn(session) }
                case .success(.fenced): self.sessions.fenced(session.consumer, epoch: epoch)
                case .failure: self.loop.after(.seconds(1)) { [weak self] in self?.goOn(session) }
                }
            }
        }
    }

    private func goOn(_ session: ReliableSession) {
        session.machine.isFollowing = false
        deliveries.pump(session)
    }

    /// One after the other: that no event of a key is parked any more is true only where none is about to be.
    private func storing(_ session: ReliableSession, _ store: @escaping (_ stored: @escaping () -> Void) -> Void) {
        guard !session.isStoringParked else { return session.storeNext.append { self.storing(session, store) } }
        session.isStoringParked = true
        store {
            session.isStoringParked = false
            if !session.storeNext.isEmpty { session.storeNext.removeFirst()() }
        }
    }

    /// The event is sent again after a while.
    private func notParked(_ session: ReliableSession, tryAgainIn pause: Duration = .seconds(1)) {
        let epoch = session.machine.epoch
        loop.after(pause) { [weak self] in
            guard let self, !session.isOver, session.machine.epoch == epoch else { return }
            session.machine.parkingFailed()
            self.deliveries.sendDue(session, at: self.loop.now)
        }
    }

    // MARK: Delivering again

    /// An operator says that parked events of a consumer are to be delivered again.
    func retry(_ consumer: ConsumerIdentity, epoch: Int64) {
        guard let session = table.reliable(consumer), session.machine.epoch == epoch else { return }
        keepPlace(in: session)
    }

    /// The next place among the groups in flight is for a parked event.
    private func keepPlace(in session: ReliableSession) {
        guard !session.isOver, session.machine.isPartial, session.machine.delivery.parkedInFlight == nil else { return }
        session.machine.awaitsParked = true
        retryNext(session)
    }

    private func awaitsNoMore(_ session: ReliableSession) {
        session.machine.awaitsParked = false
        deliveries.pump(session)
    }

    private func retryNext(_ session: ReliableSession) {
        guard !session.isOver, session.machine.mayRetryParked, !session.isFetchingParked, !session.isStoringParked,
            session.unstoredOutcomes == 0
        else { return }
        guard let port = membership.consumers else { return session.machine.awaitsParked = false }
        session.isFetchingParked = true
        let epoch = session.machine.epoch
        port.nextParked(of: session.consumer, epoch: epoch, through: session.machine.delivery.cursor) { result in
            session.isFetchingParked = false
            guard case .success(let retry?) = result, !session.isOver, session.machine.epoch == epoch,
                session.machine.mayRetryParked
            else { return self.awaitsNoMore(session) }
            let event = EventGroup(
                from: [retry.page], after: retry.page.after, want: session.want, fields: session.fields,
                limits: .init(events: 1, bytes: .max))
            session.retryGeneration = retry.generation
            guard event.count == 1 else {
                return self.retried(session, retry.id, .failed("the receiver does not want events of this type"))
            }
            // Otherwise the next sign of life tries again.
            if self.deliveries.hasRoom(for: event, to: session) { self.deliveries.retry(retry.id, event, to: session) }
            self.awaitsNoMore(session)
        }
    }

    private func retried(_ session: ReliableSession, _ id: EventID, _ outcome: ParkedStore.Retried) {
        session.unstoredOutcomes += 1
        store(outcome, of: id, session.retryGeneration, session, epoch: session.machine.epoch)
    }

    /// Until it is stored no parked event is delivered again in this session.
    private func store(
        _ outcome: ParkedStore.Retried, of id: EventID, _ generation: String, _ session: ReliableSession, epoch: Int64
    ) {
        storing(session) { stored in
            guard let port = self.membership.consumers else {
                stored()
                return self.storeLater(outcome, of: id, generation, session, epoch: epoch)
            }
            port.retried(id, of: generation, outcome, session.consumer, epoch: epoch) { result in
                stored()
                guard case .success(let key) = result else {
                    return self.storeLater(outcome, of: id, generation, session, epoch: epoch)
                }
                session.unstoredOutcomes -= 1
                if let key, !session.isOver {
                    session.machine.followers.unblock(key, position: session.machine.position)
                }
                self.keepPlace(in: session)
            }
        }
    }

    private func storeLater(
        _ outcome: ParkedStore.Retried, of id: EventID, _ generation: String, _ session: ReliableSession, epoch: Int64
    ) {
        loop.after(.seconds(1)) { [weak self] in
            guard let self, !session.isOver else { return }
            self.store(outcome, of: id, generation, session, epoch: epoch)
        }
    }
}
