import EventStream
import TestSupport

/// A process with a connection to a pusher, this one or whichever comes after it: opens it, calls, and gives it up.
class SimulatedClient {
    let surroundings: Surroundings
    let oracle: Oracle
    let timers = SimulatedTimers()
    private let connect: (SimulatedClient, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    private(set) var link: SimulatedLink?
    private(set) var isDown = true
    /// The peer that the pusher knows.
    private(set) var peer = 0
    private var endpoint: Int
    private var lastRid = 0
    private var calls: [(rid: Int, timer: Int, completion: (SimulatedLink.Outcome?) -> Void)] = []
    /// Answers that have not been sent yet.
    var answers: [(rid: UInt64, answer: GroupAnswer)] = []

    init(
        _ surroundings: Surroundings, _ oracle: Oracle,
        connect: @escaping (SimulatedClient, _ peer: Int, _ endpoint: Int) -> SimulatedLink
    ) {
        self.surroundings = surroundings
        self.oracle = oracle
        self.connect = connect
        endpoint = surroundings.random.below(3)
        _ = timers.schedule(at: surroundings.now + surroundings.milliseconds(0...1500)) { [unowned self] in self.start() }
    }

    // What each kind does.

    /// Another life of the process begins.
    func started() {}
    /// The handshake with the pusher is done.
    func connected() {}
    /// The connection is given up, or lost.
    func disconnected() {}
    func received(_ call: SimulatedCall, session: Int64) {}
    /// Whether it names itself to the pusher, so that it is the same peer over another connection.
    var keepsName: Bool { false }
    /// Whether the application or its answers have something to do.
    var hasWork: Bool { !isDown && !answers.isEmpty }
    /// The application goes on, or an answer is sent.
    func step() { sendAnswer() }

    // MARK: Lives

    private func start() {
        isDown = false
        peer = surroundings.random.below(1 << 30)
        started()
        open()
    }

    /// The process is killed, and started again after a while.
    func crash() {
        guard !isDown else { return }
        closeLink()
        isDown = true
        timers.cancelAll()
        (calls, answers) = ([], [])
        disconnected()
        _ = timers.schedule(at: surroundings.now + surroundings.milliseconds(0...400)) { [unowned self] in self.start() }
    }

    // MARK: The connection

    private func open() {
        if !keepsName { peer = surroundings.random.below(1 << 30) }
        let link = connect(self, peer, endpoint)
        self.link = link
        // Nobody there, or somebody who does not shake hands: another may be.
        _ = timers.schedule(at: surroundings.now + .milliseconds(100)) { [unowned self] in
            guard self.link === link, !link.isUp else { return }
            self.closeLink()
            self.endpoint += 1
            self.openLater()
        }
    }

    private func openLater() {
        _ = timers.schedule(at: surroundings.now + .milliseconds(20)) { [unowned self] in self.open() }
    }

    private func closeLink() {
        link?.isCutByReceiver = true
        link?.toReceiver = []
        // What has been sent may still arrive, or a part of it.
        if let count = link?.toPusher.count, count > 0 { link?.toPusher.removeLast(surroundings.random.below(count + 1)) }
        link = nil
    }

    /// The connection is given up, and the next pusher is tried.
    func reset() {
        guard link != nil, !isDown else { return }
        closeLink()
        endpoint += surroundings.random.below(3)
        let failed = calls
        (calls, answers) = ([], [])
        for call in failed {
            timers.cancel(call.timer)
            call.completion(nil)
        }
        guard !isDown else { return }
        disconnected()
        openLater()
    }

    // MARK: Messages

    func call(
        _ call: Call, timeout: Duration = .milliseconds(1500), _ completion: @escaping (SimulatedLink.Outcome?) -> Void
    ) {
        lastRid += 1
        let rid = lastRid
        let timer = timers.schedule(at: surroundings.now + timeout) { [unowned self] in
            guard let index = self.calls.firstIndex(where: { $0.rid == rid }) else { return }
            self.calls.remove(at: index).completion(nil)
        }
        calls.append((rid, timer, completion))
        link?.toPusher.append(.call(call, rid: rid))
    }

    func received(_ message: SimulatedLink.ToReceiver) {
        switch message {
        case .answer(let rid, let outcome):
            guard let index = calls.firstIndex(where: { $0.rid == rid }) else { return }
            let call = calls.remove(at: index)
            timers.cancel(call.timer)
            call.completion(outcome)
        case .events(let call, let session): received(call, session: session)
        }
    }

    /// In any order, now and then not at all, or twice.
    func sendAnswer() {
        guard !answers.isEmpty else { return }
        let answer = answers.remove(at: surroundings.trouble(20) ? surroundings.random.below(answers.count) : 0)
        guard !surroundings.trouble(2) else { return }
        link?.toPusher.append(.answer(rid: answer.rid, answer.answer))
        if surroundings.trouble(2) { link?.toPusher.append(.answer(rid: answer.rid, answer.answer)) }
    }
}
