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
    /// Whoever reads the event table does not wait for a warehouse.
    private var queues: [Source: CatchUpQueue<ConsumerIdentity>] = [.table: .init(), .archive: .init()]
    private var pace: ReplayPace
    private let loop: any LoopPort
    private enum Source { case table, archive }
    /// A session has another page.
    var onPage: (ReliableSession) -> Void = { _ in }
    /// What a session needs cannot be read here.
    var onUnavailable: (ReliableSession, EventStreamError) -> Void = { _, _ in }

    init(
        _ limits: GroupLimits, pace: ReplayPace, loop: any LoopPort, stream: SharedStream, table: SessionTable, reads: EventReads,
        outbox: Outbox,
        ticker: SessionTicker, logger: Logger
    ) {
        // A little less than a group has, so that a page makes one.
        self.limits = QueueReader.Limits(rows: limits.events, bytes: limits.bytes * 7 / 8)
        (self.pace, self.loop) = (pace, loop)
        self.stream = stream
        self.table = table
        self.reads = reads
        self.outbox = outbox
        self.ticker = ticker
        self.logger = logger
    }

    private func source(of read: ConsumerFeed.Read) -> Source { read.after < reads.discarded ? .archive : .table }

    /// Begins the next read, if the session needs one and it is its turn.
    func begin(for session: ReliableSession) {
        guard let read = next(session), case let source = source(of: read),
            queues[source]?.mayBegin(session.consumer) ?? false
        else { return }
        begin(read, session, source)
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

    private func begin(_ read: ConsumerFeed.Read, _ session: ReliableSession, _ source: Source) {
        session.machine.readBegan(read)
        guard source == .table else {
            return reads.read(after: read.after, through: read.through, want: session.want, limits: limits) { result in
                switch result {
                case .success(let rows): self.arrive(rows, read, session)
                case .failure(let failure): self.failed(read, session, source, failure)
                }
            }
        }
        reads.readTable(after: read.after, through: read.through, want: session.want, limits: limits) { result in
            switch result {
            case .success(let page) where page.discarded <= read.after: self.arrived(page.rows, read, session, source)
            case .success(let page):
                // Not here any more: its turn at the archive comes.
                self.reads.saw(discarded: page.discarded)
                session.machine.readFailed(read)
                self.ended(source)
                self.begin(for: session)
            case .failure(let failure): self.failed(read, session, source, failure)
            }
        }
    }

    /// A page of the archive waits until the ones before have had their share of the time.
    private func arrive(_ rows: any FetchedRows, _ read: ConsumerFeed.Read, _ session: ReliableSession) {
        let pause = pace.pause(at: loop.now)
        guard pause > .zero else { return arrived(rows, read, session, .archive) }
        loop.after(pause) { self.arrive(rows, read, session) }
    }

    private func arrived(_ rows: any FetchedRows, _ read: ConsumerFeed.Read, _ session: ReliableSession, _ source: Source) {
        let begun = loop.now
        session.machine.readReturned(read, through: rows.through)
        // First the next read: the database works on it while this page is put into its wire form and sent.
        ended(source)
        begin(for: session)
        guard !session.isOver else { return }
        session.machine.add(rows.page())
        onPage(session)
        let now = loop.now
        if source == .archive { pace.worked(now - begun, until: now) }
    }

    private func failed(
        _ read: ConsumerFeed.Read, _ session: ReliableSession, _ source: Source, _ failure: EventReads.Failure
    ) {
        session.machine.readFailed(read)
        ended(source)
        logger.debug("older events could not be read", metadata: [.error: "\(failure.error)"])
        switch failure {
        case .unavailable(let error): if !session.isOver { onUnavailable(session, error) }
        case .waiting: ticker.keepTime(within: .milliseconds(500))
        case .database: ticker.keepTime(within: .milliseconds(100))
        }
    }

    private func ended(_ source: Source) {
        while let next = queues[source]?.ended() {
            guard let session = table.reliable(next), let read = self.next(session) else { continue }
            // It may have come to the event table meanwhile, or fallen behind it.
            guard self.source(of: read) == source else {
                begin(for: session)
                continue
            }
            return begin(read, session, source)
        }
    }
}
