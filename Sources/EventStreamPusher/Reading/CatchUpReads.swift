import EventStream
import EventStreamDatabase
import EventStreamServer
import Logging

/// Reads older events for sessions that are behind the shared window: a few at a time, each in its turn.
final class CatchUpReads {
    private let stream: SharedStream
    private let table: SessionTable
    private let reads: EventReads
    private let outbox: Outbox
    private let ticker: SessionTicker
    private let logger: Logger
    private let limits: QueueReader.Limits
    private var queue = CatchUpQueue<ConsumerIdentity>()
    /// A session has another page.
    var onPage: (ReliableSession) -> Void = { _ in }
    /// What a session needs cannot be read here.
    var onUnavailable: (ReliableSession, EventStreamError) -> Void = { _, _ in }

    init(
        _ limits: GroupLimits, stream: SharedStream, table: SessionTable, reads: EventReads, outbox: Outbox,
        ticker: SessionTicker, logger: Logger
    ) {
        // A little less than a group has, so that a page makes one.
        self.limits = QueueReader.Limits(rows: limits.events, bytes: limits.bytes * 7 / 8)
        self.stream = stream
        self.table = table
        self.reads = reads
        self.outbox = outbox
        self.ticker = ticker
        self.logger = logger
    }

    /// Begins the next read, if the session needs one and it is its turn.
    func begin(for session: ReliableSession) {
        guard let read = next(session), queue.mayBegin(session.consumer) else { return }
        begin(read, session)
    }

    private func next(_ session: ReliableSession) -> ConsumerFeed.Read? {
        guard !session.isOver, let window = stream.window, let (read, room) = session.machine.nextRead(in: window) else {
            return nil
        }
        guard outbox.hasRoom(for: room, to: session) else {
            ticker.keepTime(within: .milliseconds(20))
            return nil
        }
        return read
    }

    private func begin(_ read: ConsumerFeed.Read, _ session: ReliableSession) {
        session.machine.readBegan(read)
        reads.read(after: read.after, through: read.through, want: session.want, limits: limits) { result in
            switch result {
            case .success(let rows):
                session.machine.readReturned(read, through: rows.through)
                // First the next read: the database works on it while this page is put into its wire form and sent.
                self.ended()
                self.begin(for: session)
                guard !session.isOver else { return }
                session.machine.add(rows.page())
                self.onPage(session)
            case .failure(let failure): self.failed(read, session, failure)
            }
        }
    }

    private func failed(_ read: ConsumerFeed.Read, _ session: ReliableSession, _ failure: EventReads.Failure) {
        session.machine.readFailed(read)
        ended()
        logger.debug("older events could not be read", metadata: [.error: "\(failure.error)"])
        if case .unavailable(let error) = failure, !session.isOver { return onUnavailable(session, error) }
        ticker.keepTime(within: .milliseconds(100))
    }

    private func ended() {
        while let next = queue.ended() {
            if let session = table.reliable(next), let read = self.next(session) { return begin(read, session) }
        }
    }
}
