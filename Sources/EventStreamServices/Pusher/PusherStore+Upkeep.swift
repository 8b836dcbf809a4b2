import EventLoop
import EventStore
import EventStream
import Logging
import Postgres

/// Small tables that stay small, and marks of when the stream was settled.
extension PusherStore {
    /// Looks how large the tables are that are written all the time: every sign of life does, and what is written, too, for
    /// that may be much.
    func lookAtSizes(on connection: Connection) {
        guard let info, sizesLookedAt.map({ MonotonicTime.now - $0 > .milliseconds(500) }) ?? true else { return }
        sizesLookedAt = .now
        let tables = TableRewriting.hotTables(of: info)
        TableRewriting.sizes(of: tables, on: connection) { [weak self] result in
            switch result {
            case .success(let sizes): self?.upkeep.saw(Dictionary(zip(tables, sizes), uniquingKeysWith: { $1 }))
            case .failure(let error): self?.endFrozen(because: error, on: connection)
            }
        }
    }

    /// Somebody has a table locked: perhaps a pusher that was making it anew, and is frozen.
    func endFrozen(because error: PostgresError, on connection: Connection) {
        guard error.sqlState == "55P03", let info else { return }
        TableRewriting.endFrozen(info.rewritingKey, on: connection) { [weak self] ended in self?.tellFrozen(ended) }
    }

    /// The same while a connection is prepared.
    func endFrozen(_ info: StreamInfo, because error: any Error, on connection: Connection) async {
        guard (error as? PostgresError)?.sqlState == "55P03", connection.isOpen else { return }
        tellFrozen((try? await TableRewriting(info.tables.consumers, of: info).endFrozen(on: connection)) ?? 0)
    }

    private func tellFrozen(_ ended: Int) {
        guard ended > 0 else { return }
        logger.warning("a frozen process had a table of the stream locked; its connection was ended")
    }

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
