import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

protocol HeartbeatDelegate: AnyObject {
    /// Up to here the stream is settled, and how long ago the last look at its head began that has ended.
    var settled: EventID { get }
    var sinceLook: Duration? { get }
    /// The sessions there are, asked before the database is asked which of them are ours still.
    var sessionsServed: [(ConsumerIdentity, epoch: Int64)] { get }
    /// Whether there is a session for the consumer, or one is being claimed.
    func isServed(_ consumer: ConsumerIdentity) -> Bool
    /// The database has acknowledged that the stream is settled up to here.
    func settledStored(_ settled: EventID)
    /// The session with this epoch has ended: another has the consumer, or it is gone.
    func fenced(_ consumer: ConsumerIdentity, epoch: Int64)
    /// Up to here events are discarded.
    func discarded(through id: EventID)
    /// The session with this epoch is ours still.
    func kept(_ consumer: ConsumerIdentity, _ owned: PusherRegistry.Owned)
    /// Others have given this pusher up for dead; every session may be theirs.
    func declaredDead()
    /// Data was erased: what was read before must not be kept.
    func dataErased()
    func othersPresent(_ isSo: Bool)
    func databaseDisagrees(_ reason: String)
}

/// Signs of life, and what is learned with each.
final class Heartbeat {
    private let port: any ConsumerPort
    private let loop: any LoopPort
    private let logger: Logger
    private let sessionTimeout: Duration
    weak var delegate: (any HeartbeatDelegate)?
    private var generation: StreamGeneration?
    private var timer: (any ScheduledCall)?
    private var liveliness = PusherLiveliness()
    /// The settled id that the database is known to have stored.
    private var stored = EventID.none
    /// The pass of erasing after which everything was read anew.
    private var erased: Int64 = 0
    /// Whether somebody waits for further signs of life; and how many are still given at once.
    private var (isAwaited, hurries) = (false, 0)
    /// Whether another pusher reads the archive.
    private(set) var othersReadArchive = false
    /// Whether the stream takes wide event types; nil before that is known.
    private(set) var takesWideTypes: Bool?
    /// When the last sign of life reached the database.
    private var lastBeat: MonotonicTime?

    init(_ port: any ConsumerPort, loop: any LoopPort, sessionTimeout: Duration, logger: Logger) {
        self.port = port
        self.loop = loop
        self.sessionTimeout = sessionTimeout
        self.logger = logger
    }

    private var interval: Duration { Heartbeat.interval(sessionTimeout) }
    /// How often a pusher gives a sign of life.
    static func interval(_ sessionTimeout: Duration) -> Duration { sessionTimeout / 5 }

    /// The connection may be used, for the stream of this generation.
    func start(in generation: StreamGeneration) {
        self.generation = generation
        beat()
    }

    /// Nobody knows at the moment which stream the connection leads to.
    func pause() {
        generation = nil
        timer?.cancel()
    }

    /// The connection is gone, and with it what was learned over it.
    func lost() {
        pause()
        liveliness = PusherLiveliness()
    }

    /// What was stored was of another generation.
    func beginAnew() { (stored, erased) = (.none, 0) }

    /// Others may take over the sessions of a pusher whose signs of life they miss; it must have let go of them by then.
    func mayBeGivenUp(at now: MonotonicTime) -> Bool { lastBeat.map { now - $0 > sessionTimeout / 2 } ?? false }

    /// Whether signs of life do not reach the database although there is a connection.
    func isSilent(at now: MonotonicTime) -> Bool {
        generation != nil && lastBeat.map { now - $0 > interval * 2 + .seconds(1) } ?? false
    }

    /// Pushers whose sessions may be taken over.
    var dead: [Int64] { liveliness.dead(besides: port.pusher) }

    private func beat() {
        timer?.cancel()
        guard let generation, let delegate else { return }
        let begun = loop.now
        let (present, settled) = (delegate.sessionsServed, delegate.settled)
        port.beat(
            settled: settled, stored: stored, looked: delegate.sinceLook, erased: erased, generation: generation
        ) { result in
            // The connection was lost meanwhile, or leads to another generation now.
            guard self.generation == generation else { return }
            // A lost connection begins anew with a sign of life; a statement that failed is tried again soon.
            switch result {
            case .failure(let error):
                // Not permitted: a new connection finds out what is so, such as a policy that would hide rows.
                if error.isOfRowSecurity { return self.port.restart(because: error) }
                self.beat(after: min(self.interval, .milliseconds(500)))
            case .success(let pulse):
                self.beat(after: self.interval)
                self.learned(pulse, at: begun, serving: present)
            }
        }
    }

    private func beat(after pause: Duration) {
        timer?.cancel()
        timer = loop.after(pause) { [weak self] in self?.beat() }
    }

    private func learned(
        _ pulse: PusherRegistry.Pulse, at begun: MonotonicTime, serving present: [(ConsumerIdentity, epoch: Int64)]
    ) {
        guard let delegate else { return }
        guard let stored = pulse.stored else {
            return delegate.databaseDisagrees("the database is not in the state it was in")
        }
        self.stored = stored
        delegate.settledStored(stored)
        guard pulse.isAlive else {
            logger.warning("other pushers gave this one up for dead; its sessions begin anew")
            delegate.declaredDead()
            return port.restart(because: LookAgain(description: "declared dead"))
        }
        lastBeat = begun
        liveliness.saw(pulse.beats, at: begun)
        delegate.discarded(through: pulse.discarded)
        if pulse.erased != erased {
            delegate.dataErased()
            erased = pulse.erased
            // Somebody waits for this to be noted.
            beat(after: .milliseconds(1))
        }
        if pulse.isAwaited, !isAwaited { hurries = Int(PusherWatch.beats) }
        isAwaited = pulse.isAwaited
        if hurries > 0 {
            hurries -= 1
            beat(after: .milliseconds(1))
        }
        takesWideTypes = pulse.takesWideTypes
        othersReadArchive = pulse.archiveReaders.contains { $0 != port.pusher }
        delegate.othersPresent(pulse.beats.keys.contains { $0 != port.pusher })
        for (consumer, epoch) in present {
            if let owned = pulse.owned[consumer], owned.epoch == epoch {
                delegate.kept(consumer, owned)
            } else {
                delegate.fenced(consumer, epoch: epoch)
            }
        }
        // What a lost answer or an outage left behind would keep other pushers out for ever.
        for (consumer, owned) in pulse.owned.sorted(by: { $0.value.epoch < $1.value.epoch }) where !delegate.isServed(consumer) {
            port.release(consumer, epoch: owned.epoch) { _ in }
        }
    }
}
