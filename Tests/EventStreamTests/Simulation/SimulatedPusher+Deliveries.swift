import EventStream

/// Groups on their way to receivers, and what comes back.
extension SimulatedPusher {
    func pumpAll() { for session in sessions { pump(session) } }

    func pump(_ session: SimulatedSession) {
        guard !session.isOver, !isStopping, let window, !session.lease.isDisconnected, !session.isReleased else { return }
        while session.delivery.canTakeGroup {
            let group: EventGroup
            let cursor = session.delivery.cursor
            if let page = session.feed.page(after: cursor) {
                group = self.group([page], for: session, after: cursor)
            } else if window.covers(after: surroundings.fault == .rejoinOffByOne ? cursor.next : cursor) {
                group = self.group(window.pages(after: cursor), for: session, after: cursor)
            } else {
                break
            }
            guard let last = group.last else {
                guard group.through > cursor else { return }
                if let position = session.delivery.passedOver(through: group.through) {
                    store.note(session.consumer, epoch: session.epoch, position: position)
                }
                continue
            }
            guard hasRoom() else {
                session.feed.clear()
                return keepTime(within: .milliseconds(20))
            }
            let taken = session.delivery.took(last: last, count: group.count, through: group.through, at: surroundings.now)
            if surroundings.fault == .positionBeforeAnswer {
                store.note(session.consumer, epoch: session.epoch, position: taken.through)
            }
            send(taken, group, to: session)
        }
        checkMemory(session)
        readHistory(session)
    }

    private func group(_ pages: some Sequence<EventPage>, for session: SimulatedSession, after: EventID) -> EventGroup {
        EventGroup(from: pages, after: after, want: session.want, precise: false, limits: configuration.groupLimits)
    }

    private func checkMemory(_ session: SimulatedSession) {
        if let window, window.byteCount > configuration.windowBytes + largestPage {
            surroundings.broken("the window of pusher \(run) has \(window.byteCount) bytes")
        }
        let (count, limit) = (session.delivery.inFlight.count, configuration.delivery.requestMax)
        guard count > limit else { return }
        let unanswered = session.delivery.due(at: surroundings.now + .seconds(86_400)).count
        if unanswered > limit || count > limit * 16 {
            surroundings.broken("\(count) groups are in flight to consumer \(session.consumer), \(unanswered) unanswered")
        }
    }

    // MARK: History

    private func readHistory(_ session: SimulatedSession) {
        guard let read = nextRead(session), history.mayBegin(session.consumer) else { return }
        begin(read, session)
    }

    private func nextRead(_ session: SimulatedSession) -> ConsumerFeed.Read? {
        guard !session.isOver, let window, hasRoom() else { return nil }
        return session.feed.nextRead(after: session.delivery.cursor, window: window, room: session.delivery.room)
    }

    private func begin(_ read: ConsumerFeed.Read, _ session: SimulatedSession) {
        session.feed.began(read)
        historyReads += 1
        if historyReads > 2 { surroundings.broken("pusher \(run) has \(historyReads) reads of history under way") }
        let limits = (rows: configuration.groupLimits.events, bytes: configuration.groupLimits.bytes * 7 / 8)
        store.read(
            after: read.after, through: read.through, types: session.typesToRead, stretch: configuration.longestScan,
            limits: limits
        ) { [unowned self] rows in
            self.historyReads -= 1
            guard let rows else {
                session.feed.failed(read)
                self.readEnded()
                _ = self.timers.schedule(at: self.surroundings.now + .milliseconds(100)) { [unowned self] in self.pump(session) }
                return
            }
            session.feed.returned(read, through: rows.through)
            self.readEnded()
            self.readHistory(session)
            guard !session.isOver else { return }
            self.add(rows.page(), to: session)
            self.pump(session)
        }
    }

    private func add(_ page: EventPage, to session: SimulatedSession) {
        session.feed.add(page)
        surroundings.note("pusher \(run): history for consumer \(session.consumer) from \(page.after) to \(page.through)")
        session.pages.removeAll { $0.page == nil }
        session.pages.append(.init(page: page))
        if session.pages.count > configuration.delivery.requestMax {
            surroundings.broken("\(session.pages.count) pages of history wait for consumer \(session.consumer)")
        }
    }

    private func readEnded() {
        while let next = history.ended() {
            if let session = session(of: next), let read = nextRead(session) { return begin(read, session) }
        }
    }

    // MARK: Sending

    private func send(_ group: ConsumerDelivery.Group, _ events: EventGroup, to session: SimulatedSession) {
        let (rid, now) = (nextRid(), surroundings.now)
        guard let rows = SimulatedEvent.rows(of: events.list), rows.count == events.count else {
            return surroundings.broken("group \(group.sequence) is no EventList: \(String(decoding: events.list, as: UTF8.self))")
        }
        switch send(.events(sequence: group.sequence, rows, rid: rid, session: session.epoch), to: session.peer) {
        case .sent:
            surroundings.note(
                "pusher \(run): consumer \(session.consumer) gets seq \(group.sequence), \(rows.map(\.id)), rid \(rid)")
            session.delivery.sent(group.sequence, rid: rid, at: now)
            if let last = rows.last?.id { database.oracle.sent(last, to: session.consumer, epoch: session.epoch) }
        case .full:
            session.delivery.postponed(group.sequence, until: now + .milliseconds(20))
            keepTime(within: .milliseconds(20))
        case .unreachable:
            session.delivery.postponed(group.sequence, until: now)
            disconnected(session.peer)
        }
    }

    func sendDue(_ session: SimulatedSession, at now: MonotonicTime) {
        guard !session.lease.isDisconnected, !session.isReleased else { return }
        for group in session.delivery.due(at: now) where !session.rereading.contains(group.sequence) {
            guard hasRoom() else {
                keepTime(within: .milliseconds(20))
                break
            }
            session.rereading.append(group.sequence)
            sendAgain(group, to: session)
        }
        pump(session)
    }

    private func sendAgain(_ group: ConsumerDelivery.Group, to session: SimulatedSession) {
        let limits = GroupLimits(events: group.count, bytes: .max)
        if let window, window.covers(after: group.after) {
            return sendAgain(
                group,
                EventGroup(
                    from: window.pages(after: group.after), after: group.after, through: group.last, want: session.want,
                    precise: false, limits: limits), to: session)
        }
        store.read(
            after: group.after, through: group.last, types: session.typesToRead,
            stretch: surroundings.fault == .resendCutShort ? configuration.longestScan : nil,
            limits: (rows: group.count, bytes: 16 << 20)
        ) { [unowned self] rows in
            guard let rows else { return session.rereading.removeAll { $0 == group.sequence } }
            self.sendAgain(
                group,
                EventGroup(
                    from: [rows.page()], after: group.after, through: group.last, want: session.want, precise: false,
                    limits: limits),
                to: session)
        }
    }

    private func sendAgain(_ group: ConsumerDelivery.Group, _ events: EventGroup, to session: SimulatedSession) {
        session.rereading.removeAll { $0 == group.sequence }
        guard !session.isOver, session.delivery.due(at: surroundings.now).contains(where: { $0.sequence == group.sequence })
        else { return }
        send(group, events, to: session)
    }

    // MARK: Answers

    func answered(_ rid: UInt64, isGood: Bool, by peer: Int) {
        for session in sessions where session.peer == peer {
            switch session.delivery.answered(rid, isGood ? .processed : .failed("no"), at: surroundings.now) {
            case .confirmed(let position):
                store.note(session.consumer, epoch: session.epoch, position: position)
                pump(session)
            case .retry(_, let pause): keepTime(within: pause)
            case .waiting, .unknown: break
            }
        }
    }
}
