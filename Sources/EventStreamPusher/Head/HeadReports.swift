import EventStream
import EventStreamDatabase
import EventStreamServer
import LibPQ
import Logging

/// What the log says of the head: which stream it is, what it waits for, what is wrong.
struct HeadReports {
    private let logger: Logger
    private var gapLog: GapLog
    private var trouble = TroubleLog()
    private let reconnects = Metric.reconnects.counter()
    private(set) var table: String?

    init(logger: Logger) {
        self.logger = logger
        gapLog = GapLog(logger: logger)
    }

    mutating func found(_ start: HeadStart, before known: StreamGeneration?) {
        table = start.table
        let finding = start.finding
        if let reason = finding.reason {
            // Where events are known to be missing, this is said as loudly as can be.
            logger.log(
                level: finding.lacksEvents ? .error : .warning,
                """
                the active database went back, or may have: a new generation of the stream begins. Every consumer goes on from its \
                position in this database; nothing recorded later is skipped
                """, metadata: [.reason: "\(reason)", .generation: "\(finding.identity.generation)"])
        } else if let known, known != finding.identity.generation {
            logger.warning(
                "a new generation of the stream has begun: sessions begin anew; `evt status` tells why",
                metadata: [.generation: "\(finding.identity.generation)"])
        }
        if let complaint = finding.complaint { logger.error("\(complaint)") }
    }

    mutating func following(_ identity: GenerationStore.Identity, at settled: EventID) {
        guard trouble.isGoodNews() else { return }
        logger.info("following the stream", metadata: [.settled: "\(settled)", .generation: "\(identity.generation)"])
    }

    mutating func failed(_ error: any Error) {
        if error is LookAgain {
            return logger.debug("looking at the database again", metadata: [.reason: "\(error)"])
        }
        reconnects.add()
        if trouble.isNews("\(error)") { logger.warning("no database; trying again", metadata: [.error: "\(error)"]) }
    }

    mutating func isDue(_ gap: SettledHorizon.Gap, at now: MonotonicTime) -> Bool { gapLog.isDue(gap, at: now) }
    func waiting(_ gap: SettledHorizon.Gap, for holders: String, at now: MonotonicTime) {
        gapLog.waiting(gap, for: holders, at: now)
    }
    mutating func gapClosed(at now: MonotonicTime) { gapLog.closed(at: now) }

    static func notPermitted(_ id: EventID) -> PostgresError {
        PostgresError(
            .invalidInput,
            """
            event \(id) has an id that its sequence has not given, and nothing after it can be delivered before the sequence goes \
            on beyond it; this role may not do that: GRANT USAGE, UPDATE on it, or set it yourself
            """)
    }
}
