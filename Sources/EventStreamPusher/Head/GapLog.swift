import EventStream
import EventStreamServer
import Glibc
import Logging

/// Says in the log what the stream waits for: once a gap has lasted a while, and rarely after that.
struct GapLog {
    let logger: Logger
    private var reportedAt: MonotonicTime?
    private var openedAt: MonotonicTime?

    init(logger: Logger) { self.logger = logger }

    mutating func isDue(_ gap: SettledHorizon.Gap, at now: MonotonicTime) -> Bool {
        guard now - gap.openedAt >= .seconds(1), reportedAt.map({ now - $0 >= .seconds(30) }) ?? true else { return false }
        reportedAt = now
        openedAt = gap.openedAt
        return true
    }

    func waiting(_ gap: SettledHorizon.Gap, for holders: String, at now: MonotonicTime) {
        logger.warning(
            "events wait for a transaction that has recorded earlier ones and is still open",
            metadata: [
                .position: "\(gap.after)", .holders: "\(holders)", .since: "\(wallClock(of: gap.openedAt, now))",
            ])
    }

    /// What the clock on the wall said, to the second.
    private func wallClock(of moment: MonotonicTime, _ now: MonotonicTime) -> EventTimestamp {
        EventTimestamp(microseconds: (Int64(time(nil)) - (now - moment).components.seconds) * 1_000_000)
    }

    mutating func closed(at now: MonotonicTime) {
        if let openedAt {
            logger.info(
                "events flow again", metadata: [.seconds: "\((now - openedAt).components.seconds)"])
        }
        reportedAt = nil
        openedAt = nil
    }
}
