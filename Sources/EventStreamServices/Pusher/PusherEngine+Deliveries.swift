import EventLoop
import EventStore
import EventStream
import Logging
import Postgres
import ZeroMQ

/// Groups on their way to receivers, and what comes back.
extension PusherEngine {
    func pumpAll() { for session in sessions.all { pump(session) } }

    /// Sends what the session's window has room for.
    func pump(_ session: Session) {
        guard !session.isOver, mayStartGroups else { return }
        if session.isLive { pumpLive(session) } else { pumpReliable(session) }
    }

    // MARK: Reliable

    private func pumpReliable(_ session: Session) {
        guard let server, let window, !session.lease.isDisconnected, !session.isReleased else { return }
        while case .reliable(var delivery, let epoch) = session.kind, delivery.canTakeGroup {
            let group: EventGroup
            if let page = session.feed.page(after: delivery.cursor) {
                group = self.group([page], for: session, after: delivery.cursor)
            } else if window.covers(after: delivery.cursor) {
                group = self.group(window.pages(after: delivery.cursor), for: session, after: delivery.cursor)
            } else {
                break
            }
            guard let last = group.last else {
                guard group.through > delivery.cursor else { return }
                let position = delivery.passedOver(through: group.through)
                session.kind = .reliable(delivery, epoch: epoch)
                if let position { store.note(session.consumer, epoch: epoch, position: position) }
                continue
            }
            guard server.hasRoom(for: group.bytes, to: session.peer) else {
                // It is read again when there is room: what waits must not also fill the memory here.
                session.feed.clear()
                session.neededRoom = group.bytes
                return keepTime(within: .milliseconds(20))
            }
            session.neededRoom = 0
            let taken = delivery.took(last: last, count: group.count, through: group.through, at: .now)
            session.kind = .reliable(delivery, epoch: epoch)
            if let id = group.first, let time = group.firstTimestamp {
                session.took(taken.sequence, waitingSince: store.times.waitingSince(id, time, now: .now))
            }
            send(taken, group, to: session)
        }
        readHistory(session)
    }

    private func group(_ pages: some Sequence<EventPage>, for session: Session, after: EventID) -> EventGroup {
        EventGroup(
            from: pages, after: after, want: session.want, precise: session.precise,
            limits: configuration.groupLimits)
    }

    /// Begins the next read of history, if the session needs one and it is its turn.
    private func readHistory(_ session: Session) {
        guard let read = nextRead(session), history.mayBegin(session.consumer) else { return }
        begin(read, session)
    }

    private func nextRead(_ session: Session) -> ConsumerFeed.Read? {
        guard !session.isOver, !session.lease.isDisconnected, !session.isReleased, let window, let server,
            case .reliable(let delivery, _) = session.kind,
            let read = session.feed.nextRead(after: delivery.cursor, window: window, room: delivery.room)
        else { return nil }
        guard server.hasRoom(for: max(session.neededRoom, configuration.groupLimits.bytes), to: session.peer) else {
            keepTime(within: .milliseconds(20))
            return nil
        }
        return read
    }

    private func begin(_ read: ConsumerFeed.Read, _ session: Session) {
        session.feed.began(read)
        // A little less than a group has, so that a page makes one.
        let limits = QueueReader.Limits(rows: configuration.groupLimits.events, bytes: configuration.groupLimits.bytes * 7 / 8)
        store.read(after: read.after, through: read.through, want: session.want, limits: limits) { [unowned self] result in
            switch result {
            case .success(let rows):
                session.feed.returned(read, through: rows.through)
                // First the next read: the database works on it while this page is put into its wire form and sent.
                self.readEnded()
                self.readHistory(session)
                guard !session.isOver else { return }
                session.feed.add(rows.page())
                self.pump(session)
            case .failure(let error):
                session.feed.failed(read)
                self.readEnded()
                self.logger.debug("history could not be read", metadata: [.error: "\(error)"])
                self.keepTime(within: .milliseconds(100))
            }
        }
    }

    private func readEnded() {
        while let next = history.ended() {
            if let session = sessions.reliable(next), let read = nextRead(session) { return begin(read, session) }
        }
    }

    private func send(_ group: ConsumerDelivery.Group, _ events: EventGroup, to session: Session) {
        guard let server, case .reliable(var delivery, let epoch) = session.kind else { return }
        let rid = nextRid()
        let now = MonotonicTime.now
        let message = OnEvents.encoded(sequence: group.sequence, group: events, rid: .server(rid))
        switch server.send(session.peer, message) {
        case .sent: delivery.sent(group.sequence, rid: rid, at: now)
        case .full:
            delivery.postponed(group.sequence, until: now + .milliseconds(20))
            keepTime(within: .milliseconds(20))
        case .unreachable:
            delivery.postponed(group.sequence, until: now)
            session.kind = .reliable(delivery, epoch: epoch)
            return disconnected(session.peer.identity)
        }
        session.kind = .reliable(delivery, epoch: epoch)
    }

    /// Sends again what is overdue, and what could not be sent before.
    func sendDue(_ session: Session, at now: MonotonicTime) {
        guard case .reliable(let delivery, _) = session.kind, !session.lease.isDisconnected, !session.isReleased else {
            if session.isLive { pump(session) }
            return
        }
        for group in delivery.due(at: now) where !session.rereading.contains(group.sequence) {
            guard server?.hasRoom(for: session.neededRoom, to: session.peer) ?? false else {
                keepTime(within: .milliseconds(20))
                break
            }
            session.rereading.insert(group.sequence)
            sendAgain(group, to: session)
        }
        pump(session)
    }

    /// The group's events are taken from the window or read again; the range of ids gives the same ones.
    private func sendAgain(_ group: ConsumerDelivery.Group, to session: Session) {
        let again: (EventGroup) -> Void = { [unowned self] events in
            session.rereading.remove(group.sequence)
            guard !session.isOver, case .reliable(let delivery, _) = session.kind,
                delivery.due(at: .now).contains(where: { $0.sequence == group.sequence })
            else { return }
            guard self.server?.hasRoom(for: events.bytes, to: session.peer) ?? false else {
                session.neededRoom = events.bytes
                return self.keepTime(within: .milliseconds(20))
            }
            session.neededRoom = 0
            self.send(group, events, to: session)
        }
        if let window, window.covers(after: group.after) {
            let pages = window.pages(after: group.after)
            return again(
                EventGroup(
                    from: pages, after: group.after, through: group.last, want: session.want, precise: session.precise,
                    limits: .init(events: group.count, bytes: .max)))
        }
        store.read(
            after: group.after, through: group.last, want: session.want, stretch: .whole,
            limits: .init(rows: group.count, bytes: 16 << 20)
        ) { result in
            guard case .success(let rows) = result else {
                session.rereading.remove(group.sequence)
                return
            }
            again(
                EventGroup(
                    from: [rows.page()], after: group.after, through: group.last, want: session.want, precise: session.precise,
                    limits: .init(events: group.count, bytes: .max)))
        }
    }

    // MARK: Answers

    /// - Returns: whether it answers something.
    func answered(_ response: WireMessage.Response, by peer: Peer) -> Bool {
        let now = MonotonicTime.now
        guard response.rid?.contents.first == UInt8(ascii: "S"), let number = response.rid?.number else { return false }
        let own = sessions.sessions(of: peer.identity).filter { $0.peer.caller.isSameUser(as: peer.caller) }
        return own.map { answered($0, number, response.outcome, at: now) }.contains(true)
    }

    private func answered(
        _ session: Session, _ rid: UInt64, _ outcome: Result<RawJSON, FutoInError>, at now: MonotonicTime
    ) -> Bool {
        switch session.kind {
        case .live(var delivery):
            guard delivery.answered(rid) else { return false }
            session.kind = .live(delivery)
            pump(session)
        case .reliable(var delivery, let epoch):
            let answer: ConsumerDelivery.Answer
            switch outcome {
            case .success(let result): answer = result == .true ? .processed : .failed("answered \(result), not true")
            case .failure(let error): answer = .failed(error.description)
            }
            let before = delivery.eventsInFlight
            let result = delivery.answered(rid, answer, at: now)
            session.kind = .reliable(delivery, epoch: epoch)
            switch result {
            case .confirmed(let position):
                store.note(session.consumer, epoch: epoch, position: position)
                measure(session, confirmed: before - delivery.eventsInFlight, before: delivery.firstInFlight)
                pump(session)
            case .retry(let group, let pause):
                keepTime(within: pause)
                reportFailure(of: group, answer, session, at: now)
            case .waiting: break
            case .unknown: return false
            }
        }
        return true
    }

    func metrics(of consumer: ConsumerIdentity) -> PusherMetrics.OfConsumer {
        metrics.of(consumer) { self.sessions.reliable($0) != nil }
    }

    private func measure(_ session: Session, confirmed count: Int, before sequence: UInt64) {
        let figures = metrics(of: session.consumer)
        figures.delivered.add(count)
        let now = EventTimestamp.now
        for time in session.confirmed(before: sequence) {
            figures.latency.record(.microseconds(max(0, now.microseconds - time.microseconds)))
        }
    }

    private func reportFailure(
        of group: ConsumerDelivery.Group, _ answer: ConsumerDelivery.Answer, _ session: Session, at now: MonotonicTime
    ) {
        guard case .failed(let text) = answer,
            let line = failureLog.line("cannot process", of: session.peer.account, at: now)
        else { return }
        logger.warning(
            "a receiver cannot process a group; it is sent again",
            metadata: line.metadata([
                .consumer: "\(session.consumer)", .first: "\(group.after.next)", .last: "\(group.last)",
                .attempts: "\(group.attempts)", .error: "\(text.prefix(500))",
            ]))
    }

    // MARK: Live

    func liveEventsArrived(_ page: EventPage) {
        for session in sessions.all where session.isLive { arrived(page, after: page.after, for: session) }
    }

    /// What a live session that starts has missed while it was looked up where.
    func catchUp(_ session: Session, after position: EventID) {
        guard let window, window.covers(after: position) else { return }
        for page in window.pages(after: position) { arrived(page, after: max(position, page.after), for: session) }
        pump(session)
    }

    private func arrived(_ page: EventPage, after start: EventID, for session: Session) {
        guard case .live(var delivery) = session.kind else { return }
        var limits = configuration.groupLimits
        limits.events = delivery.groupLimit(limits.events)
        var after = start
        while after < page.through {
            let extent = EventGroup(
                from: [page], after: after, want: session.want, besides: session.known, precise: session.precise, limits: limits)
            metrics.liveDropped.add(
                delivery.arrived(through: extent.through, count: extent.count, bytes: extent.bytes, limits: limits))
            after = extent.through
        }
        session.kind = .live(delivery)
    }

    private func pumpLive(_ session: Session) {
        guard let server, let window else { return }
        while case .live(var delivery) = session.kind {
            guard let bytes = delivery.nextBytes else { return }
            guard server.hasRoom(for: bytes, to: session.peer) else { return keepTime(within: .milliseconds(20)) }
            let (rid, dropped) = (nextRid(), delivery.dropped)
            guard let group = delivery.next(rid: rid, at: .now) else {
                session.kind = .live(delivery)
                return
            }
            let events =
                window.covers(after: group.after)
                ? EventGroup(
                    from: window.pages(after: group.after), after: group.after, through: group.through, want: session.want,
                    besides: session.known, precise: session.precise, limits: .init(events: 1000, bytes: 8 << 20 - 4096))
                : nil
            if let events, events.count > 0 {
                let message = OnEvents.encoded(sequence: group.sequence, group: events, rid: .server(rid))
                if server.send(session.peer, message) != .sent { delivery.lost(group, rid: rid) }
            } else {
                delivery.lost(group, rid: rid)
            }
            metrics.liveDropped.add(delivery.dropped - dropped)
            session.kind = .live(delivery)
        }
    }
}
