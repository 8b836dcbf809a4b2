import EventStream
import EventStreamDatabase
import EventStreamServer

/// Takes what the database shows, which is read once for everyone, to whom it concerns.
final class StreamFollower: HeadDelegate, MembershipDelegate, HeartbeatDelegate {
    private let services: PusherServices
    private let loop: any LoopPort
    /// Called when calls that need the database can be served.
    private let ready: () -> Void
    private var hasStarted = false
    /// Where the head stood when more was discarded than it had read.
    private var behind: EventID?

    init(_ services: PusherServices, ready: @escaping () -> Void) {
        (self.services, self.ready) = (services, ready)
        loop = services.ports.loop
    }

    // MARK: The head

    func headStarted(_ identity: GenerationStore.Identity, at position: EventID, isAnew: Bool, isBehind: Bool) {
        if isAnew { beginAnew(after: position) }
        // Whoever has not come so far catches up, from the archive if need be.
        if isBehind { services.stream.begin(after: position) }
        // A crash can bring back what was discarded.
        services.reads.beginAnew()
        services.membership.trust(identity, isAnew: isAnew)
        databaseOpened()
    }

    /// The stream is another than before, or this is the start: nothing that was read or confirmed means anything any more.
    private func beginAnew(after position: EventID) {
        services.table.removeAll()
        services.polls.beginAnew()
        services.positions.beginAnew()
        services.stream.begin(after: position)
        // What was loaded before anything was known is of this one.
        if hasStarted { services.stream.times = SettledTimes() }
        hasStarted = true
    }

    func headRead(_ page: EventPage, completeAfter complete: EventID?) {
        services.metrics.read.add(page.count)
        // Whoever has not come so far catches up, from the archive if need be.
        if let complete { services.stream.begin(after: min(complete, page.through)) }
        let age = services.head.watch.lookedBefore.map { loop.now - $0 }
        services.stream.append(page, age: age, at: loop.wallClock)
        services.ports.broadcast?.send(page)
        services.live.arrived(page)
        pumpAll()
    }

    private func pumpAll() {
        services.deliveries.pumpAll()
        services.live.pumpAll()
    }

    func headLost() { services.membership.distrust() }

    // MARK: Connections

    func databaseOpened() {
        services.positions.flush()
        pumpAll()
        if services.isReady { ready() }
    }

    func databaseDisagrees(_ reason: String) { services.head.lookAgain(because: reason) }

    // MARK: Signs of life

    var settled: EventID { services.head.settled ?? .none }
    var sinceLook: Duration? { services.head.watch.lookedAt.map { loop.now - $0 } }

    var sessionsServed: [(ConsumerIdentity, epoch: Int64)] {
        services.table.reliable.filter { !$0.machine.isReleased }.map { ($0.consumer, $0.machine.epoch) }
    }

    func isServed(_ consumer: ConsumerIdentity) -> Bool { services.isServed(consumer) }
    func settledStored(_ settled: EventID) { services.head.stored(settled) }
    func fenced(_ consumer: ConsumerIdentity, epoch: Int64) { services.sessions.fenced(consumer, epoch: epoch) }
    func kept(_ consumer: ConsumerIdentity, _ owned: PusherRegistry.Owned) {
        services.sessions.kept(consumer, owned)
        if owned.hasRetries { services.parking.retry(consumer, epoch: owned.epoch) }
    }
    func discarded(through id: EventID) {
        services.reads.saw(discarded: id)
        let settled = services.head.settled ?? id
        // What is discarded it will never read. Others may have been quicker for a moment.
        if id > settled, behind == settled { services.head.lookAgain(because: "events were discarded before they were read") }
        behind = id > settled ? settled : nil
    }
    func dataErased() {
        services.reads.forget()
        services.head.forget()
        if let window = services.stream.window { services.stream.begin(after: window.end) }
        for session in services.table.reliable { services.deliveries.dataErased(session) }
        pumpAll()
    }
    func declaredDead() { services.sessions.endAll() }
    func othersPresent(_ isSo: Bool) { services.head.hasListeners = isSo }
}
