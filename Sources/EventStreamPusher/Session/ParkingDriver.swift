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
        let group = EventGroup(
            from: pages, after: EventID(id.rawValue - 1), through: id, want: want, fields: .all,
            limits: .init(events: 1, bytes: .max))
        return (try? Event.list(decoding: RawJSON(unchecked: group.list)))?.first { $0.id == id }
    }

    private func ended(
        _ session: ReliableSession, _ parking: ParkedStore.Parking, _ result: Result<ParkedStore.Parked, PostgresError>
    ) {
        guard !session.isOver, session.machine.epoch == parking.epoch else { return }
        switch result {
        case .success(.parked(let epoch)):
            session.machine.parked(parking.event.id, epoch: epoch)
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
            if let line = full.line("parked events", of: session.peer.account, at: loop.now) {
                logger.error(
                    "the consumer stands still: as many events are parked as may be (EVT_PARK_MAX); retry or drop parked events",
                    metadata: line.metadata([.consumer: "\(session.consumer)", .event: "\(parking.event.id)"]))
            }
            notParked(session, tryAgainIn: .seconds(5))
        case .success(.fenced): sessions.fenced(session.consumer, epoch: parking.epoch)
        case .failure: notParked(session)
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
        guard !session.isOver, session.machine.mayRetryParked, !session.isFetchingParked else { return }
        guard let port = membership.consumers else { return session.machine.awaitsParked = false }
        session.isFetchingParked = true
        let epoch = session.machine.epoch
        port.nextParked(of: session.consumer, epoch: epoch) { result in
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
        guard let port = membership.consumers else { return }
        port.retried(id, of: session.retryGeneration, outcome, session.consumer, epoch: session.machine.epoch) { result in
            // What cannot be stored is not tried again at once.
            if case .success = result { self.keepPlace(in: session) }
        }
    }
}
