import EventStream
import Logging
import PosixLoop
import TestSupport

/// A mistake planted in what pushers and archivers stand on, to see that the simulation would notice it.
enum PlantedFault: CaseIterable {
    /// The rows are read, then the locks are looked at.
    case locksAfterRead
    /// A group's position is stored when it is sent.
    case positionBeforeAnswer
    /// The window takes over from history one id before what it covers.
    case rejoinOffByOne
    /// History is read up to the newest visible event, not up to what is settled.
    case historyBeyondSettled
    /// A group that is sent again is read as far as a filter looks at a time.
    case resendCutShort
    /// Positions are stored whoever has the consumer.
    case epochNotChecked
    /// What a session before has confirmed counts although an operator has set the position since.
    case knowledgeOfAnotherEpoch
    /// The latch is taken after the last read before a sleep.
    case latchAfterRead
    /// A beat that fails on a living connection is the last one.
    case noBeatAfterFailure
    /// The database went back, and the generation of the stream goes on.
    case generationGoesOn
    /// What is discarded is looked at before the page is read, not afterwards.
    case discardedBeforePage
    /// The same at the head, where ids are missing.
    case gapNotCompared
    /// The archive is read as far as it was asked for, however far it is complete.
    case archiveBeyondPosition
    /// What was committed before a live session was asked for is not known.
    case liveKnowsNothing
    /// An event is set aside under whatever epoch.
    case parkedWithoutEpoch
    /// A parked event that failed again is taken for processed.
    case parkedForgotten
    /// What follows a parked event of the same key is passed over, and not set aside.
    case followersForgotten
    /// Of which keys events are parked is not asked.
    case keysNotRead
    /// A consumer is to stop where ids are when it is stopped, whoever does not know of that.
    case barrierTooSoon
    /// The warehouse stores a position without what was copied up to it.
    case positionWithoutRows
    /// Over a new connection to the warehouse the archiver goes on where it was.
    case standingOfBefore
}

/// What everyone in a simulated world shares: the time, chance, and what was broken first.
final class Surroundings {
    var now = start
    var random: SplitMix
    let fault: PlantedFault?
    /// Whether statements fail, queues are full, receivers refuse.
    var hasTrouble = true
    private(set) var violation: String?
    /// What happened, for people; nil while nobody wants to know.
    private(set) var trace: [String]?
    /// How often a peer's queue is full.
    let fullQueuesInHundred: Int
    /// Steps so far.
    var steps = 0
    /// How many poll, and how many listen live.
    var polls = 0
    var live = 0
    /// How many archivers there may be, of one name.
    var archivers = 0
    /// Whether pushers read an archive; and how many ids a consumer may be behind before it holds nothing, if it may not hold all.
    var hasArchive = false
    var maxLag: Int64?
    /// How often an event may fail before it is parked; 0 for any number.
    var maxAttempts = 0
    /// Whether events wait behind a parked one of the same key.
    var parksKeys = false

    init(seed: UInt64, fault: PlantedFault?, isTracing: Bool) {
        // A seed names the same world as in earlier runs.
        random = SplitMix(seed: seed &* 0x9E37_79B9_7F4A_7C15 &+ 0xD1B5_4A32_D192_ED03)
        fullQueuesInHundred = random.chance(20) ? 20 : 1
        self.fault = fault
        trace = isTracing ? [] : nil
    }

    func broken(_ text: @autoclosure () -> String) {
        guard violation == nil else { return }
        violation = "step \(steps): \(text())"
    }

    func note(_ text: @autoclosure () -> String) {
        guard trace != nil else { return }
        let time = (now - start).components
        trace?.append("\(steps) \(time.seconds * 1000 + time.attoseconds / 1_000_000_000_000_000) ms: \(text())")
    }

    /// What a pusher says in its log is a part of the trace.
    func logger(of run: Int64) -> Logger {
        guard trace != nil else { return Logger(label: "evt") { _ in SwiftLogNoOpLogHandler() } }
        let shared = Unchecked(self)
        return Logger(label: "evt") { _ in TracingLogHandler { shared.value.note("pusher \(run): \($0)") } }
    }

    func chance(_ percent: Int) -> Bool { random.chance(percent) }
    /// Trouble of some kind happens now.
    func trouble(_ percent: Int) -> Bool { hasTrouble && random.chance(percent) }
    func milliseconds(_ range: ClosedRange<Int>) -> Duration { .milliseconds(random.pick(range)) }
}

private struct TracingLogHandler: LogHandler {
    let write: @Sendable (String) -> Void
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.debug

    init(_ write: @escaping @Sendable (String) -> Void) { self.write = write }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let more = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        write("\(event.message) \(more)")
    }
}

/// A process's timers.
final class SimulatedTimers {
    private var entries: [(due: MonotonicTime, number: Int, action: () -> Void)] = []
    private var last = 0
    /// When the next one is due.
    private(set) var next: MonotonicTime?

    func schedule(at due: MonotonicTime, _ action: @escaping () -> Void) -> Int {
        last += 1
        entries.append((due, last, action))
        if next.map({ due < $0 }) ?? true { next = due }
        return last
    }

    func cancel(_ number: Int?) {
        guard let number, let index = entries.firstIndex(where: { $0.number == number }) else { return }
        entries.remove(at: index)
        findNext()
    }

    func cancelAll() {
        entries = []
        next = nil
    }

    /// Runs the one that is due first, if any is.
    func fire(at now: MonotonicTime) -> Bool {
        guard let next, next <= now, let index = entries.firstIndex(where: { $0.due == next }) else { return false }
        let action = entries.remove(at: index).action
        findNext()
        action()
        return true
    }

    private func findNext() {
        next = nil
        for entry in entries where next.map({ entry.due < $0 }) ?? true { next = entry.due }
    }
}
