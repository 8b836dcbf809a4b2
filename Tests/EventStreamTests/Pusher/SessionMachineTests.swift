import EventStream
import TestSupport
import Testing

@testable import EventStreamPusher

/// A session's life, input by input.
@Suite struct SessionMachineTests {
    private static let timeout = Duration.seconds(15)

    private func session(at position: EventID = 0, requestMax: Int = 2, barrier: EventID? = nil) -> SessionMachine {
        SessionMachine(
            epoch: 7, want: .all, fields: [], limits: .init(events: 2, bytes: 10_000),
            lease: Lease(timeout: Self.timeout, at: start),
            delivery: ConsumerDelivery(after: position, configuration: .init(requestMax: requestMax)), barrier: barrier)
    }

    private func window(_ ids: ClosedRange<Int64>) -> EventWindow {
        var window = EventWindow(after: EventID(ids.lowerBound - 1), byteLimit: 1 << 20)
        window.append(page(after: EventID(ids.lowerBound - 1), events(ids)))
        return window
    }

    /// Takes the next group and sends it.
    @discardableResult
    private func send(_ session: inout SessionMachine, _ window: EventWindow, rid: UInt64) -> ConsumerDelivery.Group? {
        guard case .group(let group) = session.next(in: window) else { return nil }
        let taken = session.took(group, waitingSince: nil, at: start)
        session.sent(taken.sequence, rid: rid, at: start)
        return taken
    }

    // MARK: The life cycle

    @Test func `a session serves from its beginning`() {
        var session = session()
        #expect(session.state == .serving)
        #expect(session.heard(at: start) == false)
        #expect(session.state == .serving)
    }

    @Test func `the close of the connection releases the consumer with its position`() {
        var session = session(at: 5)
        #expect(session.disconnected(at: start) == 5)
        #expect(session.state == .released)
        #expect(session.lease.isDisconnected)
    }

    @Test func `a message takes the consumer back once`() {
        var session = session()
        _ = session.disconnected(at: start)
        #expect(session.heard(at: start) == true)
        #expect(session.heard(at: start) == false)
        #expect(session.resumed(true) == .serving)
        #expect(session.state == .serving)
    }

    @Test func `a consumer that another session has is lost`() {
        var session = session()
        _ = session.disconnected(at: start)
        _ = session.heard(at: start)
        #expect(session.resumed(false) == .lost)
        #expect(session.isOver)
    }

    @Test func `an answer that is not known leaves the consumer to the next message`() {
        var session = session()
        _ = session.disconnected(at: start)
        _ = session.heard(at: start)
        #expect(session.resumed(nil) == .waiting)
        #expect(session.state == .released)
        #expect(session.heard(at: start) == true)
    }

    @Test(arguments: [true, nil])
    func `a peer that leaves while the database is asked has the consumer released`(_ isOurs: Bool?) {
        var session = session(at: 3)
        _ = session.disconnected(at: start)
        _ = session.heard(at: start)
        #expect(session.disconnected(at: start) == 3)
        #expect(session.resumed(isOurs) == .waiting)
        #expect(session.state == .released)
    }

    @Test func `a peer that leaves and comes again while the database is asked asks again`() {
        var session = session()
        _ = session.disconnected(at: start)
        _ = session.heard(at: start)
        _ = session.disconnected(at: start)
        #expect(session.heard(at: start) == false)
        // The consumer was given up after the database was asked: its answer is out of date.
        #expect(session.resumed(true) == .askAgain)
        #expect(session.resumed(true) == .serving)
    }

    @Test func `a session ends once`() {
        var session = session(at: 4)
        #expect(session.ended() == 4)
        #expect(session.ended() == nil)
        #expect(session.disconnected(at: start) == nil)
        #expect(session.heard(at: start) == false)
        #expect(session.resumed(true) == .waiting)
        #expect(session.isOver)
    }

    // MARK: What comes next

    @Test func `groups are cut from the window until the requests are used up`() {
        var session = session()
        let window = window(1...9)
        #expect(send(&session, window, rid: 1)?.last == 2)
        #expect(send(&session, window, rid: 2)?.last == 4)
        #expect(send(&session, window, rid: 3) == nil)
    }

    @Test func `what the window does not have any more is read from history`() {
        var session = session(at: 2)
        let window = window(10...12)
        guard case .catchUp = session.next(in: window), let read = session.nextRead(in: window)?.read else {
            Issue.record("something else comes next")
            return
        }
        #expect((read.after, read.through) == (2, 12))
        session.readBegan(read)
        session.readReturned(read, through: 4)
        session.add(page(after: 2, events(3...4)))
        #expect(send(&session, window, rid: 1)?.last == 4)
    }

    @Test func `unwanted events move the position without a group`() {
        var session = SessionMachine(
            epoch: 1, want: EventFilter([EventType("OTHER")!])!, fields: [], limits: .init(events: 2, bytes: 10_000),
            lease: Lease(timeout: Self.timeout, at: start), delivery: ConsumerDelivery(after: 0, configuration: .init()))
        guard case .passed(5) = session.next(in: window(1...5)) else {
            Issue.record("something else comes next")
            return
        }
        #expect(session.position == 5)
    }

    @Test func `a group without room is cut again later`() {
        var session = session()
        let window = window(1...3)
        guard case .group(let group) = session.next(in: window) else {
            Issue.record("something else comes next")
            return
        }
        session.foundNoRoom(for: group)
        #expect(session.position == 0)
        #expect(send(&session, window, rid: 1)?.last == 2)
    }

    @Test(arguments: [false, true])
    func `nothing is sent to a peer that is away`(_ isResuming: Bool) {
        var session = session()
        let window = window(1...3)
        send(&session, window, rid: 1)
        _ = session.disconnected(at: start)
        if isResuming { _ = session.heard(at: start) }
        guard case .nothing = session.next(in: window) else {
            Issue.record("something else comes next")
            return
        }
        #expect(session.due(at: start + .seconds(100)).isEmpty)
        #expect(session.nextRead(in: window) == nil)
        #expect(session.nextDeadline == nil)
    }

    @Test func `what was not answered before the connection closed is sent again after`() throws {
        var session = session()
        let window = window(1...3)
        let group = try #require(send(&session, window, rid: 1))
        _ = session.disconnected(at: start)
        _ = session.heard(at: start)
        _ = session.resumed(true)
        let due = session.due(at: start)
        #expect(due.map(\.sequence) == [group.sequence])
        session.rereadBegan(due[0])
        #expect(session.due(at: start).isEmpty)
        #expect(session.reread(due[0], in: window.pages(after: due[0].after), at: start)?.count == 2)
    }

    // MARK: Answers

    @Test func `the position moves over the answered prefix and tells since when its events waited`() {
        var session = session()
        let window = window(1...4)
        for rid in 1...2 as ClosedRange<UInt64> {
            guard case .group(let group) = session.next(in: window) else {
                Issue.record("something else comes next")
                return
            }
            let taken = session.took(group, waitingSince: EventTimestamp(microseconds: Int64(rid)), at: start)
            session.sent(taken.sequence, rid: rid, at: start)
        }
        #expect(session.answered(2, .processed, at: start) == .waiting)
        let times = [1, 2].map { EventTimestamp(microseconds: $0) }
        #expect(session.answered(1, .processed, at: start) == .confirmed(4, events: 4, since: times))
        #expect(session.isIdle)
    }

    @Test func `an answer under a number that was never given is none`() {
        var session = session()
        send(&session, window(1...2), rid: 1)
        #expect(session.answered(9, .processed, at: start) == .unknown)
    }

    // MARK: Any order

    @Test func `whatever happens a session that is over stays over and a released one sends nothing`() {
        var random = SplitMix(seed: 1)
        for _ in 0..<2000 {
            var session = session()
            let window = window(1...20)
            var rid: UInt64 = 0
            var isOver = false
            var asked = 0
            for _ in 0..<40 {
                switch random.below(8) {
                case 0: if session.heard(at: start) { asked += 1 }
                case 1:
                    let position = session.disconnected(at: start)
                    #expect((position == nil) == isOver)
                case 2 where asked > 0:
                    asked -= 1
                    switch session.resumed([true, false, nil][random.below(3)]) {
                    case .askAgain: asked += 1
                    case .lost: isOver = true
                    case .serving: #expect(!session.lease.isDisconnected)
                    case .waiting: break
                    }
                case 3 where random.chance(5):
                    let position = session.ended()
                    #expect((position == nil) == isOver)
                    isOver = true
                case 4:
                    let answer = session.answered(UInt64(random.below(10)), .processed, at: start)
                    if isOver { #expect(answer == .unknown) }
                default:
                    rid += 1
                    let isServing = session.state == .serving
                    if send(&session, window, rid: rid) != nil { #expect(isServing) }
                }
                #expect(session.isOver == isOver)
                // There is an answer to wait for exactly while the database has been asked.
                if case .resuming = session.state { #expect(asked == 1) } else if !isOver { #expect(asked == 0) }
            }
        }
    }

    // MARK: Pauses

    @Test func `a session that is paused sends nothing, keeps what is answered, and goes on where it was`() {
        var session = session()
        let window = window(1...10)
        let first = send(&session, window, rid: 1)
        #expect(first?.last == 2)
        #expect(session.kept(isPaused: true, barrier: nil) == .asBefore)
        guard case .nothing = session.next(in: window) else { return #expect(Bool(false)) }
        #expect(session.due(at: start + .seconds(60)).isEmpty && session.nextDeadline == nil)
        #expect(session.answered(1, .processed, at: start) == .confirmed(2, events: 2, since: []))
        #expect(session.kept(isPaused: true, barrier: nil) == .asBefore)
        #expect(session.kept(isPaused: false, barrier: nil) == .mayGoOn)
        #expect(send(&session, window, rid: 2)?.last == 4)
        #expect(session.kept(isPaused: false, barrier: nil) == .asBefore)
    }

    @Test func `what is overdue at the end of a pause is due at once`() {
        var session = session()
        let window = window(1...10)
        send(&session, window, rid: 1)
        _ = session.kept(isPaused: true, barrier: nil)
        _ = session.kept(isPaused: false, barrier: nil)
        #expect(session.due(at: start + .seconds(60)).count == 1)
    }

    @Test func `a group whose events do not reach its end is not sent again`() throws {
        var session = session()
        send(&session, window(1...10), rid: 1)
        _ = session.disconnected(at: start)
        _ = session.heard(at: start)
        _ = session.resumed(true)
        let due = session.due(at: start)
        session.rereadBegan(due[0])
        #expect(session.reread(due[0], in: [page(after: 0, events(1...1))], at: start) == nil)
        session.rereadBegan(due[0])
        #expect(session.reread(due[0], in: [page(after: 0, events(1...2))], at: start)?.ids == [1, 2])
    }

    // MARK: Barriers

    @Test func `a session that began before there was a barrier begins anew`() {
        var session = session()
        #expect(session.kept(isPaused: false, barrier: EventID.none) == .beginsAnew)
    }

    @Test func `nothing beyond the barrier is sent, wherever groups end, and what is not wanted is passed over up to it`() {
        for end in 0...10 {
            var session = session(barrier: EventID.none)
            let window = window(1...10)
            #expect(send(&session, window, rid: 0) == nil && session.nextRead(in: window) == nil)
            #expect(session.kept(isPaused: false, barrier: EventID(Int64(end))) == (end == 0 ? .asBefore : .mayGoOn))
            var (rid, last) = (UInt64(0), EventID.none)
            while let group = send(&session, window, rid: rid + 1) {
                (rid, last) = (rid + 1, group.last)
                _ = session.answered(rid, .processed, at: start)
            }
            #expect(last == EventID(Int64(end)) && session.position == EventID(Int64(end)))
            #expect(session.nextRead(in: window) == nil)
            #expect(session.kept(isPaused: false, barrier: nil) == .mayGoOn)
            #expect(send(&session, window, rid: rid + 1)?.after == (end == 10 ? nil : EventID(Int64(end))))
        }
    }

    private func failing(
        limit: Int, isPartial: Bool = true, failing: Attempts.Failing? = nil, requestMax: Int = 2, blockedKeys: [String]? = nil
    ) -> SessionMachine {
        SessionMachine(
            epoch: 7, want: .all, fields: [], isPartial: isPartial, limits: .init(events: 2, bytes: 10_000),
            lease: Lease(timeout: Self.timeout, at: start),
            delivery: ConsumerDelivery(after: 0, configuration: .init(requestMax: requestMax)),
            attempts: Attempts(limit: limit, failing: failing), blockedKeys: blockedKeys)
    }

    // MARK: What waits behind a parked event

    private func keyed(_ keys: [String?]) -> EventWindow {
        var window = EventWindow(after: 0, byteLimit: 1 << 20)
        window.append(page(after: 0, keys.enumerated().map { keyed(Int64($0 + 1), $1) }))
        return window
    }

    private func keyed(_ id: Int64, _ key: String?) -> Event {
        Event(id: EventID(id), type: EventType("A")!, data: .null, timestamp: EventTimestamp(microseconds: 0), key: key)
    }

    private func followers(_ session: inout SessionMachine, _ window: EventWindow) -> [EventID]? {
        guard case .follow(let events) = session.next(in: window) else { return nil }
        return events.map(\.id)
    }

    @Test func `what follows a parked event of its key is parked before anything is sent`() {
        var session = failing(limit: 1, blockedKeys: ["a"])
        let window = keyed([nil, "a", "b", "a"])
        #expect(followers(&session, window) == [2, 4])
        session.isFollowing = true
        #expect(send(&session, window, rid: 1) == nil)
        session.isFollowing = false
        session.followers.parked([keyed(2, "a")], position: 0)
        #expect(followers(&session, window) == [4])
        session.followers.parked([keyed(4, "a")], position: 0)
        let group = send(&session, window, rid: 1)
        #expect((group?.first, group?.last, group?.count) == (1, 3, 2))
        guard case .confirmed(4, events: 2, _) = session.answered(1, .processed, at: start) else {
            Issue.record("the position passes what is parked")
            return
        }
    }

    @Test func `a group that is sent again leaves the same events out`() {
        var session = failing(limit: 5, blockedKeys: ["a"])
        let window = keyed(["b", "a", "b"])
        session.followers.parked([keyed(2, "a")], position: 0)
        let group = send(&session, window, rid: 1)!
        _ = session.answered(1, .failed("no"), at: start)
        let again = session.reread(group, in: window.pages(after: 0), at: start + .seconds(1))
        #expect(again?.ids == [1, 3])
    }

    @Test func `a parked event blocks its key until none of the key is parked`() {
        var session = failing(limit: 1, blockedKeys: [])
        let window = keyed(["a", "a"])
        send(&session, window, rid: 1)
        _ = session.answered(1, .partly(through: nil, failed: 1, error: "no"), at: start)
        session.parked(1, key: "a", epoch: 8)
        #expect(followers(&session, window) == [2])
        session.followers.unblock("a", position: 1)
        #expect(send(&session, window, rid: 2)?.first == 2)
    }

    @Test func `what was delivered as parked does not come again as an event of the stream`() {
        var session = failing(limit: 5, requestMax: 1, blockedKeys: ["a"])
        let window = keyed(["b", "a", "b", "a", "a"])
        session.followers.parked([keyed(2, "a"), keyed(4, "a")], position: 0)
        let group = send(&session, window, rid: 1)!
        _ = session.answered(1, .failed("no"), at: start)
        // Both were processed as parked meanwhile.
        session.followers.unblock("a", position: session.position)
        let again = session.reread(group, in: window.pages(after: 0), at: start + .seconds(1))
        #expect(again?.ids == [1, 3])
        session.sent(0, rid: 2, at: start)
        _ = session.answered(2, .processed, at: start)
        #expect(send(&session, window, rid: 3)?.first == 5)
    }

    @Test func `no event waits where keys are of no account`() {
        var session = failing(limit: 1)
        let window = keyed(["a", "a"])
        send(&session, window, rid: 1)
        _ = session.answered(1, .partly(through: nil, failed: 1, error: "no"), at: start)
        session.parked(1, key: "a", epoch: 8)
        #expect(send(&session, window, rid: 2)?.first == 2)
    }

    // MARK: What fails

    @Test func `an event that failed as often as it may is parked, and the session goes on behind it`() {
        var session = failing(limit: 1)
        let window = window(1...4)
        send(&session, window, rid: 1)
        guard case .retry(_, _, 1, events: 1, .park) = session.answered(1, .partly(through: 1, failed: 2, error: "no"), at: start)
        else {
            Issue.record("must be parked")
            return
        }
        #expect(session.isParking)
        #expect(session.nextDeadline == nil)
        #expect(send(&session, window, rid: 2) == nil)
        session.parked(2, key: nil, epoch: 8)
        #expect((session.epoch, session.position) == (8, 2))
        let group = send(&session, window, rid: 3)
        #expect((group?.sequence, group?.first) == (0, 3))
        guard case .unknown = session.answered(1, .processed, at: start) else {
            Issue.record("groups of before are void")
            return
        }
    }

    @Test func `what cannot be parked is sent again`() {
        var session = failing(limit: 1)
        send(&session, window(1...2), rid: 1)
        _ = session.answered(1, .partly(through: nil, failed: 1, error: "no"), at: start)
        session.parkingFailed()
        #expect(session.due(at: start + .seconds(1)).map(\.first) == [1])
    }

    @Test func `a group that fails comes one by one until the culprit is known`() {
        var session = failing(limit: 1, isPartial: false)
        let window = window(1...4)
        send(&session, window, rid: 1)
        guard case .retry(_, _, 0, events: 0, .isolate) = session.answered(1, .failed("no"), at: start) else {
            Issue.record("must be taken apart")
            return
        }
        let first = send(&session, window, rid: 2)
        #expect((first?.sequence, first?.first, first?.count) == (0, 1, 1))
        #expect(send(&session, window, rid: 3) == nil, "one is in flight")
        _ = session.answered(2, .processed, at: start)
        let second = send(&session, window, rid: 4)
        #expect((second?.sequence, second?.first, second?.count) == (1, 2, 1))
        guard case .retry(_, _, 1, events: 0, .park) = session.answered(4, .failed("no"), at: start) else {
            Issue.record("must be parked")
            return
        }
        session.parked(2, key: nil, epoch: 8)
        #expect(send(&session, window, rid: 5)?.count == 2, "what follows is not to blame")
    }

    @Test func `an event that failed in an earlier session is sent alone`() {
        var session = failing(limit: 3, failing: .init(1, isAlone: true, count: 1, error: ""))
        #expect(send(&session, window(1...4), rid: 1)?.count == 1)
    }

    @Test func `a connection that closes counts for an event alone`() {
        var session = failing(limit: 1, failing: .init(1, isAlone: false, count: 1, error: ""))
        send(&session, window(1...4), rid: 1)
        _ = session.disconnected(at: start)
        #expect(session.isParking)
        var several = failing(limit: 1)
        send(&several, window(1...4), rid: 1)
        _ = several.disconnected(at: start)
        #expect(!several.isParking)
    }

    @Test func `a parked event that is delivered again does not move the position`() {
        var session = failing(limit: 1)
        let window = window(1...2)
        send(&session, window, rid: 1)
        _ = session.answered(1, .processed, at: start)
        #expect(session.mayRetryParked)
        let group = session.tookParked(1, at: start)
        session.sent(group.sequence, rid: 2, at: start)
        #expect((group.sequence, group.isParked) == (1, true))
        #expect(!session.mayRetryParked, "one at a time")
        guard case .parked(1, error: nil, 2) = session.answered(2, .processed, at: start) else {
            Issue.record("must be done")
            return
        }
        let again = session.tookParked(1, at: start)
        session.sent(again.sequence, rid: 3, at: start)
        guard case .parked(1, error: "no", 2) = session.answered(3, .failed("no"), at: start) else {
            Issue.record("must have failed")
            return
        }
        #expect(session.mayRetryParked, "the row goes on")
    }

    @Test func `a parked event does not wait for the end of a backlog, and what follows does not wait for it for ever`() {
        var session = failing(limit: 1, requestMax: 1)
        let window = window(1...4)
        send(&session, window, rid: 1)
        #expect(send(&session, window, rid: 2) == nil)
        session.awaitsParked = true
        #expect(!session.mayRetryParked)
        _ = session.answered(1, .processed, at: start)
        #expect(send(&session, window, rid: 2) == nil, "the place is kept")
        #expect(session.mayRetryParked)
        let group = session.tookParked(9, at: start)
        session.sent(group.sequence, rid: 2, at: start)
        session.awaitsParked = false
        #expect(session.overdueParked(at: start + .seconds(29)) == nil)
        #expect(session.overdueParked(at: start + .seconds(30)) == 9)
        #expect(session.overdueParked(at: start + .seconds(30)) == nil)
        #expect(session.position == 2)
        #expect(send(&session, window, rid: 3)?.first == 3)
        guard case .unknown = session.answered(2, .processed, at: start) else {
            Issue.record("it was given up")
            return
        }
    }
}
