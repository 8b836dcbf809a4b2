import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// Marks of when the stream was settled.
extension PusherStore {
    /// The stream is settled further than before.
    ///
    /// - Parameter since: when the look began that did not find it yet.
    func settled(through id: EventID, since: MonotonicTime?) {
        let now = EventTimestamp.now
        let age = since.map { Int64((MonotonicTime.now - $0) / .microseconds(1)) } ?? 0
        times.settled(SettledMark(id: id, since: EventTimestamp(microseconds: now.microseconds - max(0, age)), at: now))
    }

    /// Now and then marks are thinned out.
    ///
    /// - Parameter settled: what was stored.
    func keepMarks(_ settled: EventID, on connection: Connection) {
        guard settled > markedAt, let info else { return }
        markedAt = settled
        marksAdded += 1
        guard marksAdded >= SettledMarks.period else { return }
        marksAdded = 0
        SettledMarks(info).thinOut(on: connection) { [weak self] result in
            guard case .failure(let error) = result else { return }
            self?.logger.warning("marks of when the stream was settled could not be thinned out", metadata: [.error: "\(error)"])
        }
    }
}
